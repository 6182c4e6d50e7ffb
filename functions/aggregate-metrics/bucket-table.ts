/**
 * Counts by contributor and bucket, for one cell: most of the pairs there could be are empty.
 *
 * Owns: an open-addressed table in two columns (a pair beside the other, counts apart), its growth, and its fall to a coarser scale. A table rather than
 * arrays per contributor: a cell has hundreds of contributors, a window all of them anew. Bounded by contributors × 160 buckets.
 */

const SLOTS_MIN = 64

/** Pairs and their counts, side by side. */
export interface Pairs {
  readonly numbers: Int32Array
  readonly buckets: Int32Array
  readonly counts: Float64Array
}

export class BucketTable {
  /** How many pairs. */
  size = 0
  /** Two a slot: number + 1 (0 = free), bucket. */
  private pairs: Int32Array
  private counts: Float64Array

  /** `slots` = a power of two, of which half will be used; it grows beyond. */
  constructor(slots = SLOTS_MIN) {
    this.pairs = new Int32Array(2 * slots)
    this.counts = new Float64Array(slots)
  }

  /** Slots for as many pairs and a quarter more. */
  get slots(): number {
    return Math.max(SLOTS_MIN, 2 ** Math.ceil(Math.log2(2.5 * this.size + 1)))
  }

  /** `number` ≥ 0; `bucket` any int32. */
  add(number: number, bucket: number, count: number): void {
    const { pairs, counts } = this
    const mask = counts.length - 1
    let slot = (Math.imul(number, 0x9e37_79b1) ^ Math.imul(bucket, 0x85eb_ca6b)) >>> 7
    for (slot &= mask; ; slot = (slot + 1) & mask) {
      const owner = pairs[2 * slot] as number
      if (owner === number + 1 && pairs[2 * slot + 1] === bucket) {
        counts[slot] = (counts[slot] as number) + count
        return
      }
      if (owner === 0) break
    }
    pairs[2 * slot] = number + 1
    pairs[2 * slot + 1] = bucket
    counts[slot] = count
    if (++this.size * 2 > counts.length) this.rebuild(counts.length * 2, 0)
  }

  /** Halves the resolution `steps` times. */
  coarsen(steps: number): void {
    if (this.size > 0) this.rebuild(this.counts.length, steps)
  }

  /** All pairs, in no order that means anything. */
  all(): Pairs {
    const { pairs, counts, size } = this
    const all = { numbers: new Int32Array(size), buckets: new Int32Array(size), counts: new Float64Array(size) }
    let at = 0
    for (let slot = 0; at < size; slot++) {
      const owner = pairs[2 * slot] as number
      if (owner === 0) continue
      all.numbers[at] = owner - 1
      all.buckets[at] = pairs[2 * slot + 1] as number
      all.counts[at++] = counts[slot] as number
    }
    return all
  }

  private rebuild(slots: number, steps: number): void {
    const { pairs, counts } = this
    this.pairs = new Int32Array(2 * slots)
    this.counts = new Float64Array(slots)
    this.size = 0
    for (let slot = 0; slot < counts.length; slot++)
      if (pairs[2 * slot] !== 0) this.add((pairs[2 * slot] as number) - 1, (pairs[2 * slot + 1] as number) >> steps, counts[slot] as number)
  }
}
