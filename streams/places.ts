/**
 * The member's pool of places for tasks, shared by its partitions (C5, C6).
 *
 * Owns: how many places are free and who may take one. A record that finds no place waits in its partition; nothing is retried and nothing fails
 * because the pool is full. No partition keeps another from going on (B6), though all its effects hang until their deadline, or its writes for ever:
 * - Whoever holds none may take any free place. For those an eighth of the places is kept, at least one and no more than there are such partitions;
 *   a pool of one has nothing to keep. So a lone busy partition has all places but these.
 * - Whoever holds its fair share, the places divided by the partitions that have work, takes no further one while another waits below its own.
 * The bound: as long as no more partitions than places are kept for wake up beside one that holds all others, each begins at once. One more waits
 * until any place is given back.
 */

/** One partition's part of the pool. */
export interface Share {
  take(): boolean
  giveBack(): void
  /** Whether `take` would be refused now. */
  isRefused(): boolean
  /** Work could begin and was refused: it waits, and hears of places that come free. */
  wait(): void
  /** Nothing could begin: it does not wait. */
  rest(): void
  /** It takes no place any more and none is kept for it; what it holds it still gives back. */
  leave(): void
}

export interface Places {
  join(): Share
}

/** Of how many places one is kept for partitions that hold none. */
const KEPT_OF = 8

/** `onFree` hears whenever a partition that waits may find a place. Why over 70 lines: shares are counted together. */
export function createPlaces(placesMax: number, onFree: () => void): Places {
  let free = placesMax
  const keptMax = placesMax > 1 ? Math.max(1, Math.floor(placesMax / KEPT_OF)) : 0
  /** Joined and without a place. */
  let empty = 0
  /** Joined, and holding a place or waiting for one. */
  let busy = 0
  /** A flag each: a set that shares enter and leave with every record would be copied all the time. */
  const shares = new Set<{ held: number; isWaiting: boolean }>()
  let waiting = 0
  let isTelling = false
  let isStale = false

  /** What `onFree` starts may let somebody else begin: asked again rather than from within. */
  const tell = (): void => {
    isStale = true
    if (isTelling) return
    isTelling = true
    while (isStale && waiting > 0 && free > 0) {
      isStale = false
      onFree()
    }
    isTelling = false
  }

  const join = (): Share => {
    const own = { held: 0, isWaiting: false }
    let isJoined = true
    shares.add(own)
    empty++

    const isRefused = (): boolean => {
      if (free === 0 || !isJoined) return true
      if (own.held === 0) return false
      if (free <= Math.min(empty, keptMax)) return true
      const fair = Math.max(1, Math.floor(placesMax / Math.max(1, busy)))
      if (own.held < fair) return false
      for (const other of shares) if (other.isWaiting && other !== own && other.held < fair) return true
      return false
    }
    const isBusy = (): boolean => isJoined && (own.held > 0 || own.isWaiting)
    /** Keeps the counts while `act` changes what they count. */
    const counted = (act: () => void): void => {
      if (isJoined && own.held === 0) empty--
      if (isBusy()) busy--
      act()
      if (isJoined && own.held === 0) empty++
      if (isBusy()) busy++
    }
    const setWaiting = (isWaiting: boolean): void => {
      if (own.isWaiting === isWaiting) return
      own.isWaiting = isWaiting
      waiting += isWaiting ? 1 : -1
    }
    const rest = (): void => {
      if (!own.isWaiting) return
      counted(() => setWaiting(false))
      tell()
    }

    return {
      isRefused,
      wait: () => {
        if (isJoined && !own.isWaiting) counted(() => setWaiting(true))
      },
      take: () => {
        if (isRefused()) return false
        free--
        counted(() => own.held++)
        return true
      },
      giveBack: () => {
        free++
        counted(() => own.held--)
        tell()
      },
      rest,
      leave: () => {
        if (!isJoined) return
        counted(() => {
          setWaiting(false)
          isJoined = false
        })
        shares.delete(own)
        tell()
      },
    }
  }
  return { join }
}
