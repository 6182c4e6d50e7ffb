/**
 * Requests that wait for a slot (R8): earliest deadline first, then first come.
 *
 * Owns: who waits, how many of each tenant, and the order in which they are offered what became free. A waiter leaves exactly once: with what it
 * took, at its deadline, or when it is aborted; whichever way, its timer and listener are gone. An offer asks one waiter of a kind for which nothing
 * is left, not all of them: with many waiters and endpoints that is the difference between microseconds and milliseconds a request.
 */
import type { Clock } from '../../schemas/ports.ts'

export type WaitEnding<T> = { readonly kind: 'taken'; readonly value: T } | { readonly kind: 'deadline' } | { readonly kind: 'aborted' }

/** `not-me`: others of this kind may take what is free. `none-left`: nobody of this kind can. */
export type Refused = 'not-me' | 'none-left'

interface Waiter {
  readonly deadlineMs: number
  readonly kind: string
  hasLeft: boolean
  offer(): 'taken' | Refused
}

export interface WaitAsk<T> {
  readonly deadlineMs: number
  readonly tenant: string
  /** Waiters of one kind can use the same things. */
  readonly kind: string
  readonly signal: AbortSignal
  take(): { readonly value: T } | Refused
}

export interface Waiting {
  /** `take` is tried whenever something may have become free. */
  wait<T>(ask: WaitAsk<T>): Promise<WaitEnding<T>>
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
    waiter.hasLeft = true
    waiters = waiters.filter((w) => w !== waiter)
    const left = (tenants.get(tenant) ?? 1) - 1
    if (left === 0) tenants.delete(tenant)
    else tenants.set(tenant, left)
  }

  return {
    wait: ({ deadlineMs, tenant, kind, signal, take }) =>
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
          kind,
          hasLeft: false,
          offer: () => {
            const taken = take()
            if (typeof taken === 'string') return taken
            end({ kind: 'taken', value: taken.value })
            return 'taken'
          },
        }
        const cancelTimer = clock.setTimer(deadlineMs - clock.nowMs(), () => end({ kind: 'deadline' }))
        signal.addEventListener('abort', onAbort, { once: true })
        enter(waiter, tenant)
      }),
    offer: () => {
      const exhausted = new Set<string>()
      for (const waiter of waiters.slice()) {
        if (waiter.hasLeft || exhausted.has(waiter.kind)) continue
        if (waiter.offer() === 'none-left') exhausted.add(waiter.kind)
      }
    },
    ofTenant: (tenant) => tenants.get(tenant) ?? 0,
    depth: () => waiters.length,
  }
}
