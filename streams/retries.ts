/**
 * Records of one partition that failed and are tried again (D1).
 *
 * Owns: how often each failed and since when, whether its tries are used up, and what `sluice ps` says of the one that has been tried longest (W9): while it
 * is, its key waits behind it, and in a map, fold or lambda the partition. Pure: the clock is an argument.
 */
import type { ErrorCode } from '../schemas/errors.ts'
import type { LogRecord } from '../schemas/log.ts'
import { formatDuration } from '../schemas/units.ts'
import type { Parked } from './processor.ts'

interface Failing {
  parked: Parked
  tries: number
  readonly sinceMs: number
}

export interface Retries {
  /** A try failed, with what the record would be parked with. Returns how many have by now. */
  failed(parked: Parked): number
  /** As `failed`, for who handles many records in one call: throws the error while tries are left, so that the call is made again; else what is parked. */
  again(parked: Parked): Parked
  /** What a record is parked with whose tries are used up: it is not tried once more because a later one of its call is. Null = it may be tried. */
  spent(record: LogRecord): Parked | null
  /** Tries of the record that failed last. */
  latest(): number
  /** It ended, one way or the other. */
  over(record: LogRecord): void
  clear(): void
  /** Why something waits; null = nothing is being tried again. */
  why(): { readonly code: ErrorCode; readonly message: string } | null
}

/** `triesMax` = tries of a record, the first included. */
export function createRetries(triesMax: number, nowMs: () => number): Retries {
  const failing = new Map<bigint, Failing>()
  let latest = 0

  const failed = (parked: Parked): number => {
    const { offset } = parked.record
    const known = failing.get(offset) ?? { parked, tries: 0, sinceMs: nowMs() }
    known.tries++
    known.parked = { ...parked, attempts: known.tries }
    failing.set(offset, known)
    latest = known.tries
    return latest
  }
  const spent = ({ offset }: LogRecord): Parked | null => {
    const known = failing.size === 0 ? undefined : failing.get(offset)
    return known === undefined || known.tries < triesMax ? null : known.parked
  }

  return {
    failed,
    again: (parked) => {
      if (failed(parked) < triesMax) throw parked.error
      return spent(parked.record) as Parked
    },
    spent,
    latest: () => latest,
    over: ({ offset }) => {
      if (failing.size > 0) failing.delete(offset)
    },
    clear: () => failing.clear(),
    why: () => {
      // Of one whose tries are used up the sink says what holds up its dead letter.
      const oldest = failing.values().find(({ tries }) => tries < triesMax)
      if (oldest === undefined) return null
      const { parked, tries, sinceMs } = oldest
      const agoMs = Math.max(0, nowMs() - sinceMs)
      const { code, message } = parked.error
      return { code, message: `${message}: offset ${parked.record.offset} failed ${tries} of ${triesMax} tries, the first ${formatDuration(agoMs)} ago` }
    },
  }
}
