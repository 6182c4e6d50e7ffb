/** Slots of a simulated model server and the queue before them, first come first served. Owns: counts; a waiter that leaves frees its place. */

export interface Slots {
  /** Resolves with the release of a slot, `full` at once if the queue is, `left` if the waiter went away first. `onLeave` is told whom to call then. */
  take(onLeave: (leave: () => void) => void): Promise<(() => void) | 'full' | 'left'>
  counts(): { readonly running: number; readonly waiting: number }
}

export function createSlots(slotsMax: number, queueMax: number): Slots {
  let running = 0
  const queue = new Set<() => void>()
  const release = (): (() => void) => {
    let isReleased = false
    return () => {
      if (isReleased) return
      isReleased = true
      const next = queue.values().next()
      if (next.done === true) {
        running--
        return
      }
      queue.delete(next.value)
      next.value()
    }
  }
  return {
    counts: () => ({ running, waiting: queue.size }),
    take: (onLeave) => {
      if (running < slotsMax) {
        running++
        return Promise.resolve(release())
      }
      if (queue.size >= queueMax) return Promise.resolve('full')
      return new Promise((resolve) => {
        const start = (): void => resolve(release())
        queue.add(start)
        onLeave(() => {
          if (queue.delete(start)) resolve('left')
        })
      })
    },
  }
}
