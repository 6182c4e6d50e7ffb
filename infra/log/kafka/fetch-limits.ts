/**
 * How much a fetch asks for, and for how long the broker may hold it. Pure.
 *
 * Owns: the bytes of an answer and of a partition of it (C6), learnt from what came before; the time that a broker waits for something new.
 */
import type { Size } from './fetch-response.ts'

/** Of one answer: while it is handled the next is under way. */
export const ANSWER_BYTES_MAX: number = 8 << 20
/** Of one partition of it. */
export const PARTITION_BYTES_MAX: number = 1 << 20
/** Before the size of a partition's records is known. */
const FIRST_BYTES_MAX = 1 << 16
const WAIT_MAX_MS = 500
const WAIT_MIN_MS = 5
/** Of a pause. */
const WAIT_SHARE = 0.25

/** `recordsMax` = how many records of a partition are wanted at once; Infinity = as many as there are. */
export const firstAskBytes = (recordsMax: number): number => (recordsMax === Infinity ? PARTITION_BYTES_MAX : FIRST_BYTES_MAX)

/**
 * Bytes to ask for of a partition after an answer of `size`: as many as `recordsMax` of its records have, within its `shareBytes` of what may be in flight,
 * and no less than a batch of its. `isCut`: nothing came because its next batch is larger than what was `asked` for.
 */
export function nextAskBytes(asked: number, size: Size | null, isCut: boolean, { recordsMax, shareBytes }: { readonly recordsMax: number; readonly shareBytes: number }): number {
  if (size !== null) return Math.min(PARTITION_BYTES_MAX, Math.max(size.largestBatch, Math.min(shareBytes, Math.ceil((size.bytes / size.records) * recordsMax))))
  return isCut ? Math.min(PARTITION_BYTES_MAX, asked * 2) : asked
}

/**
 * Milliseconds that a broker with nothing new may hold a request. A partition that goes on must wait for the request under way, which is one for all of a
 * leader. So while any is paused a request is held for a part of the shortest pause only, `pausedMs` (null: none is paused): who resumes at half of a limit
 * has work for about as long again.
 */
export function waitMs(pausedMs: number | null): number {
  if (pausedMs === null) return WAIT_MAX_MS
  return Math.min(WAIT_MAX_MS, Math.max(WAIT_MIN_MS, Math.ceil(pausedMs * WAIT_SHARE)))
}
