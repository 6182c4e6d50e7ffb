/**
 * The low-water mark of one partition (C1): the lowest offset whose effects are not all acknowledged.
 *
 * Owns: which offsets were taken and which are done; records may finish in any order. Offsets may have gaps (control records,
 * compaction). Invariant C1: `mark()` never passes a taken offset that is not done. Pure; broken use is an assertion.
 */
import { SluiceError } from '../schemas/errors.ts'

export interface LowWaterMark {
  /** A record handed over; ascending. */
  take(offset: bigint): void
  /** The position after the last fetch, control records included. */
  readTo(nextOffset: bigint): void
  /** All effects of the record are acknowledged. */
  done(offset: bigint): void
  /** The next offset that may be committed. */
  mark(): bigint
  /** Taken and not done. */
  pending(): number
  /** Taken and at or above the mark, done ones included: what memory holds. */
  tracked(): number
}

const COMPACT_AT = 1024

/** `start` = the position before the first record. */
export function createLowWaterMark(start: bigint): LowWaterMark {
  let offsets: bigint[] = []
  let head = 0
  let position = start
  const finished = new Set<bigint>()
  const waiting = new Set<bigint>()

  return {
    take: (offset) => {
      if (offset < position) throw new SluiceError('SLU_INTERNAL', `C1: offset ${offset} taken below position ${position}`)
      offsets.push(offset)
      waiting.add(offset)
      position = offset + 1n
    },
    readTo: (nextOffset) => {
      if (nextOffset > position) position = nextOffset
    },
    done: (offset) => {
      if (!waiting.delete(offset)) throw new SluiceError('SLU_INTERNAL', `C1: offset ${offset} done twice or never taken`)
      finished.add(offset)
      for (let first = offsets[head]; first !== undefined && finished.delete(first); first = offsets[head]) head++
      if (head >= COMPACT_AT && head * 2 >= offsets.length) {
        offsets = offsets.slice(head)
        head = 0
      }
    },
    mark: () => offsets[head] ?? position,
    pending: () => waiting.size,
    tracked: () => offsets.length - head,
  }
}
