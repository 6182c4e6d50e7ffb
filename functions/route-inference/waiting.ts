/**
 * Requests that wait for a slot (R8): earliest deadline first, then first come.
 *
 * Owns: who waits, how many of each tenant, and the order in which they are offered what became free. A waiter leaves exactly once: with what it
 * took, at its deadline, or when it is aborted; whichever way, its timer and listener are gone.
 */
import type { Clock } from '../../schemas/ports.ts'

export type WaitEnding<T> = { readonly kind: 'taken'; readonly value: T } | { readonly kind: 'deadline' } | { readonly kind: 'aborted' }

interface Waiter {
  readonly deadlineMs: number
  offer(): boolean
}

export interface Waiting {
  /** `take` is tried whenever something may have become free; null = not for me. */
  wait<T>(ask: { readonly deadlineMs: number; readonly tenant: string; readonly signal: AbortSignal; take(): T | null }): Promise<WaitEnding<T>>
  /** Offers what may be free to all waiters in order. */
  offer(): void
  ofTenant(tenant: string): number
  depth(): number
}

export function createWaiting(clock: Clock): Waiting {
  const tenants = new Map<string, number>()
  let waiters: Waiter[] = []

  const enter = (waiter: Waiter, tenant: string): void => {
    const at = waiters.findIndex((w) => w.deadlineMs > waiter.deadlineMs)
    waiters.splice(at < 0 ? waiters.length : at, 0, waiter)
    tenants.set(tenant, (tenants.get(tenant) ?? 0) + 1)
  }
  const leave = (waiter: Waiter, tenant: string): void => {
    waiters = waiters.filter((w) => w !== waiter)
    const left = (tenants.get(tenant) ?? 1) - 1
    if (left === 0) tenants.delete(tenant)
    else tenants.set(tenant, left)
  }

  return {
    wait: ({ deadlineMs, tenant, signal, take }) =>
      new Promise((resolve) => {
        if (signal.aborted) {
          resolve({ kind: 'aborted' })
          return
        }
        const end = (ending: Parameters<typeof resolve>[0]): void => {
          leave(waiter, tenant)
          cancelTimer()
          signal.removeEventListener('abort', onAbort)
          resolve(ending)
        }
        const onAbort = (): void => end({ kind: 'aborted' })
        const waiter: Waiter = {
          deadlineMs,
          offer: () => {
            const value = take()
            if (value === null) return false
            end({ kind: 'taken', value })
            return true
          },
        }
        const cancelTimer = clock.setTimer(deadlineMs - clock.nowMs(), () => end({ kind: 'deadline' }))
        signal.addEventListener('abort', onAbort, { once: true })
        enter(waiter, tenant)
      }),
    offer: () => {
      for (const waiter of waiters.slice()) if (waiters.includes(waiter)) waiter.offer()
    },
    ofTenant: (tenant) => tenants.get(tenant) ?? 0,
    depth: () => waiters.length,
  }
}
