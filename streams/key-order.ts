/**
 * Which record of a partition may start next (T2).
 *
 * Owns: a lane per key (order `key`), one lane for all (`partition`) or a lane per record (`unordered`, and records without a key);
 * at most one record of a lane is in flight, at most `concurrency` records in all. A record that waits for its next try rests: it keeps
 * its lane shut (later records of the key wait, D1) but gives its place back, so that other keys go on.
 * Pure: it starts nothing, it only says what may start.
 */

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

export function createKeyOrder<T extends object>(order: 'partition' | 'key' | 'unordered', concurrency: number): KeyOrder<T> {
  const lanes = new Map<string, Lane<T>>()
  let ready: Lane<T>[] = []
  let head = 0
  const laneOf = new Map<T, Lane<T>>()
  const resting = new Set<T>()
  let waiting = 0
  const placesMax = order === 'partition' ? 1 : concurrency

  const offer = (lane: Lane<T>): void => {
    ready.push(lane)
    if (head > 1024 && head * 2 > ready.length) {
      ready = ready.slice(head)
      head = 0
    }
  }
  const runningNow = (): number => laneOf.size - resting.size

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
      if (runningNow() >= placesMax) return undefined
      const lane = ready[head]
      if (lane === undefined) return undefined
      head++
      const entry = lane.entries.shift() as T
      laneOf.set(entry, lane)
      waiting--
      return entry
    },
    hasNext: () => runningNow() < placesMax && head < ready.length,
    rest: (entry) => {
      if (laneOf.has(entry) && !resting.has(entry)) {
        resting.add(entry)
        waiting++
      }
    },
    again: (entry) => {
      const lane = laneOf.get(entry)
      if (lane === undefined || !resting.delete(entry)) return
      laneOf.delete(entry)
      lane.entries.unshift(entry)
      offer(lane)
    },
    finish: (entry) => {
      const lane = laneOf.get(entry)
      if (lane === undefined) return
      laneOf.delete(entry)
      if (resting.delete(entry)) waiting--
      if (lane.entries.length > 0) offer(lane)
      else if (lane.key !== null) lanes.delete(lane.key)
    },
    running: runningNow,
    waiting: () => waiting,
  }
}
