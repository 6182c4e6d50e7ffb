/**
 * Leases of endpoint slots: mechanism only, the route chooses (style.md, boundary 5).
 *
 * Owns: how many slots of an endpoint are taken. A lease is released exactly once; releasing again changes nothing.
 */
export interface Lease {
  readonly endpoint: string
  release(): void
}

export interface Leases {
  /** Null when every slot is taken. */
  take(endpoint: string): Lease | null
  inFlight(endpoint: string): number
  onRelease(listener: () => void): void
}

export function createLeases(slots: ReadonlyMap<string, number>): Leases {
  const taken = new Map<string, number>()
  const listeners: (() => void)[] = []
  const inFlight = (endpoint: string): number => taken.get(endpoint) ?? 0
  return {
    inFlight,
    take: (endpoint) => {
      if (inFlight(endpoint) >= (slots.get(endpoint) ?? 0)) return null
      taken.set(endpoint, inFlight(endpoint) + 1)
      let isReleased = false
      const release = (): void => {
        if (isReleased) return
        isReleased = true
        taken.set(endpoint, inFlight(endpoint) - 1)
        for (const listener of listeners) listener()
      }
      return { endpoint, release }
    },
    onRelease: (listener) => {
      listeners.push(listener)
    },
  }
}
