/**
 * Which record of a partition may start next (T2).
 *
 * Owns: a lane per key (order `key`), one lane for all (`partition`) or a lane per record (`unordered`, and records without a key);
 * at most one record of a lane is in flight, at most `concurrency` records in all. A record that waits for its next try rests: it keeps
 * its lane shut (later records of the key wait, D1) but gives its place back, so that other keys go on.
 * Pure: it starts nothing, it only says what may start.
 * Where an entry stands is kept at the entry. A set or map of all in flight, one in and one out for every record, is copied again and again, and V8 keeps what
 * stood in the copies: a third of all that a task allocates outlived its record.
 */

/** Of the order alone; null and false for an entry that was not given out. */
export interface Ordered {
  lane: object | null
  isResting: boolean
}

export interface KeyOrder<T> {
  add(key: string | null, entry: T): void
  /** The next entry that may start; it is in flight from now on. Lanes take turns in the order they became ready. */
  next(): T | undefined
  /** Whether `next` would give one. */
  hasNext(): boolean
  /** In flight, waits for another try. */
  rest(entry: T): void
  /** A resting entry wants to start again, before the later ones of its lane. */
  again(entry: T): void
  /** In flight or resting: it is over, its lane opens. */
  finish(entry: T): void
  /** In flight. */
  running(): number
  /** Not started, or resting. */
  waiting(): number
}

interface Lane<T> {
  readonly key: string | null
  entries: T[]
}

export function createKeyOrder<T extends Ordered>(order: 'partition' | 'key' | 'unordered', concurrency: number): KeyOrder<T> {
  const lanes = new Map<string, Lane<T>>()
  let ready: Lane<T>[] = []
  let head = 0
  let running = 0
  let waiting = 0
  const placesMax = order === 'partition' ? 1 : concurrency

  const offer = (lane: Lane<T>): void => {
    ready.push(lane)
    if (head > 1024 && head * 2 > ready.length) {
      ready = ready.slice(head)
      head = 0
    }
  }

  return {
    add: (recordKey, entry) => {
      waiting++
      const key = order === 'partition' ? '' : order === 'key' ? recordKey : null
      const open = key === null ? undefined : lanes.get(key)
      if (open !== undefined) {
        open.entries.push(entry)
        return
      }
      const lane = { key, entries: [entry] }
      if (key !== null) lanes.set(key, lane)
      offer(lane)
    },
    next: () => {
      if (running >= placesMax) return undefined
      const lane = ready[head]
      if (lane === undefined) return undefined
      head++
      const entry = lane.entries.shift() as T
      entry.lane = lane
      running++
      waiting--
      return entry
    },
    hasNext: () => running < placesMax && head < ready.length,
    rest: (entry) => {
      if (entry.lane === null || entry.isResting) return
      entry.isResting = true
      running--
      waiting++
    },
    again: (entry) => {
      const lane = entry.lane as Lane<T> | null
      if (lane === null || !entry.isResting) return
      entry.lane = null
      entry.isResting = false
      lane.entries.unshift(entry)
      offer(lane)
    },
    finish: (entry) => {
      const lane = entry.lane as Lane<T> | null
      if (lane === null) return
      if (entry.isResting) waiting--
      else running--
      entry.lane = null
      entry.isResting = false
      if (lane.entries.length > 0) offer(lane)
      else if (lane.key !== null) lanes.delete(lane.key)
    },
    running: () => running,
    waiting: () => waiting,
  }
}
