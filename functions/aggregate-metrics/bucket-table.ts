/**
 * Counts by contributor and bucket, for one cell: most of the pairs there could be are empty.
 *
 * Owns: an open-addressed table in two columns (a pair beside the other, counts apart), its growth, and its fall to a coarser scale. A table rather than
 * arrays per contributor: a cell has hundreds of contributors, a window all of them anew. Bounded by contributors × 160 buckets.
 */

const SLOTS_MIN = 64
/** A table so many times larger than what it held is not kept. */
const SPARE = 4

/** Pairs and their counts, side by side, at the places below `size`. */
export interface Pairs {
  readonly size: number
  readonly numbers: Int32Array
  readonly buckets: Int32Array
  readonly counts: Float64Array
}

/** What `all` fills: one for all tables, as it is read at once. */
let told: Pairs = { size: 0, numbers: new Int32Array(0), buckets: new Int32Array(0), counts: new Float64Array(0) }

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

  get slots(): number {
    return this.counts.length
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
    if (this.size > 0) this.rebuild(this.slots, steps)
  }

  /** All pairs, in no order that means anything. They stand until the next call, of whatever table. */
  all(): Pairs {
    const { pairs, counts, size } = this
    if (told.counts.length < size) told = { size, numbers: new Int32Array(2 * size), buckets: new Int32Array(2 * size), counts: new Float64Array(2 * size) }
    const all = { ...told, size }
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

  /** Itself, without its pairs; a smaller one where that will do for as many again and a quarter more. Nothing else may go on with this one. */
  emptied(): BucketTable {
    const slots = Math.max(SLOTS_MIN, 2 ** Math.ceil(Math.log2(2.5 * this.size + 1)))
    if (slots * SPARE < this.slots) return new BucketTable(slots)
    this.pairs.fill(0)
    this.size = 0
    return this
  }

  private rebuild(slots: number, steps: number): void {
    const { size, numbers, buckets, counts } = this.all()
    if (slots === this.slots) this.pairs.fill(0)
    else {
      this.pairs = new Int32Array(2 * slots)
      this.counts = new Float64Array(slots)
    }
    this.size = 0
    for (let i = 0; i < size; i++) this.add(numbers[i] as number, (buckets[i] as number) >> steps, counts[i] as number)
  }
}
