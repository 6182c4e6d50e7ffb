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
  /** Ascending; beside each whether it is done. Those before `head` are below the mark. */
  let offsets: bigint[] = []
  let isDone: boolean[] = []
  let head = 0
  let pending = 0
  let position = start

  /** Place of an offset; -1 = it was never taken, or is below the mark. */
  const placeOf = (offset: bigint): number => {
    const first = offsets[head]
    if (first === undefined || offset < first) return -1
    let low = head
    // No further than where it stands without gaps, and mostly there.
    let high = Math.min(offsets.length - 1, head + Number(offset - first))
    if (offsets[high] === offset) return high
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((offsets[middle] as bigint) < offset) low = middle + 1
      else high = middle
    }
    return offsets[low] === offset ? low : -1
  }

  return {
    take: (offset) => {
      if (offset < position) throw new SluiceError('SLU_INTERNAL', `C1: offset ${offset} taken below position ${position}`)
      offsets.push(offset)
      isDone.push(false)
      pending++
      position = offset + 1n
    },
    readTo: (nextOffset) => {
      if (nextOffset > position) position = nextOffset
    },
    done: (offset) => {
      const place = placeOf(offset)
      if (place < 0 || isDone[place] === true) throw new SluiceError('SLU_INTERNAL', `C1: offset ${offset} done twice or never taken`)
      isDone[place] = true
      pending--
      while (isDone[head] === true) head++
      if (head >= COMPACT_AT && head * 2 >= offsets.length) {
        offsets = offsets.slice(head)
        isDone = isDone.slice(head)
        head = 0
      }
    },
    mark: () => offsets[head] ?? position,
    pending: () => pending,
    tracked: () => offsets.length - head,
  }
}
