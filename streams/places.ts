/**
 * The member's pool of places for tasks, shared by its partitions (C5, C6).
 *
 * Owns: a count. A record that finds no place waits in its partition; nothing is retried and nothing fails because the pool is full.
 */

export interface Places {
  /** True = taken. */
  take(): boolean
  giveBack(): void
  free(): number
}

/** `onFree` hears of every place given back while all were taken. */
export function createPlaces(placesMax: number, onFree: () => void): Places {
  let free = placesMax
  return {
    take: () => {
      if (free === 0) return false
      free--
      return true
    },
    giveBack: () => {
      free++
      if (free === 1) onFree()
    },
    free: () => free,
  }
}
