/**
 * Who contributed what to a cell (egress.md §2): stays inside the site, so that the gate can apply its rules.
 *
 * Owns: sum, count and positive buckets per contributor, at the scale of the cell's histogram; the bound (beyond it the overflow flag holds the cell
 * at the gate). Contributors go by their numbers in the cell's roster: sums and counts are columns. Buckets are sparse, for a contributor has few of
 * a cell's; the one that its values last went to is counted in columns too and put among the others when a value goes elsewhere.
 * A contributor's zero and negative values count in `sum` and `count` only: its buckets are those of the histogram's positive side.
 */
import { NOT_POSITIVE, SCALE_MAX } from './exponential-histogram.ts'
import type { Taken } from './taken.ts'

/** A contributor's buckets at `scale`; `counts[i]` values in `indexes[i]`. */
export interface Buckets {
  scale: number
  readonly indexes: number[]
  readonly counts: number[]
}

const COLUMN = 16

export class Contributors {
  isOverflown = false
  size = 0
  private readonly max: number
  /** That of `lastIndex`. */
  private scale = SCALE_MAX
  /** By number. A count of 0: it contributed nothing yet; NaN: the bound leaves it out. */
  private counts = new Float64Array(COLUMN)
  private sums = new Float64Array(COLUMN)
  /** The bucket, at `scale`, of the last positive value, and how many went to it in a row; not among `buckets` yet. */
  private lastIndex = new Int32Array(COLUMN)
  private lastCount = new Float64Array(COLUMN)
  private readonly buckets: (Buckets | undefined)[] = []

  constructor(max: number) {
    this.max = max
  }

  /** Adds the values of one cell of a record; `scale` = the cell's with them in it. */
  addAll({ n, values, indexes, contributors }: Taken, scale: number): void {
    if (this.scale !== scale) this.fall(scale)
    const shift = SCALE_MAX - scale
    for (let i = 0; i < n; i++) {
      const number = contributors[i] as number
      if (number >= this.counts.length) this.grow(number)
      const count = this.counts[number] as number
      if (count !== count) continue
      if (count === 0 && !this.enter(number)) continue
      this.counts[number] = count + 1
      this.sums[number] = (this.sums[number] as number) + (values[i] as number)
      const index = indexes[i] as number
      if (index === NOT_POSITIVE) continue
      const at = index >> shift
      const inARow = this.lastCount[number] as number
      if (this.lastIndex[number] !== at) {
        if (inARow > 0) this.settle(number)
        this.lastIndex[number] = at
        this.lastCount[number] = 1
      } else this.lastCount[number] = inARow + 1
    }
  }

  /** Those of `order` that contributed, in that order. */
  present(order: readonly number[]): number[] {
    const { counts } = this
    return order.filter((number) => (counts[number] ?? 0) > 0)
  }

  sumOf(number: number): number {
    return this.sums[number] as number
  }

  countOf(number: number): number {
    return this.counts[number] as number
  }

  /** Buckets of one that contributed, at `scale`, the cell's last. */
  bucketsOf(number: number, scale: number): Buckets {
    if (this.scale !== scale) this.fall(scale)
    return this.settle(number)
  }

  private enter(number: number): boolean {
    if (this.size < this.max) {
      this.size++
      return true
    }
    this.counts[number] = NaN
    this.isOverflown = true
    return false
  }

  /** Puts what is counted in columns among the buckets. */
  private settle(number: number): Buckets {
    const buckets = (this.buckets[number] ??= { scale: this.scale, indexes: [], counts: [] })
    lower(buckets, this.scale)
    const count = this.lastCount[number] as number
    if (count > 0) bump(buckets, this.lastIndex[number] as number, count)
    this.lastCount[number] = 0
    return buckets
  }

  /** Scales only fall, and a few times a window. */
  private fall(scale: number): void {
    for (let number = 0; number < this.lastIndex.length; number++) this.lastIndex[number] = (this.lastIndex[number] as number) >> (this.scale - scale)
    this.scale = scale
  }

  private grow(number: number): void {
    const length = Math.max(number + 1, this.counts.length * 2)
    const grown = <C extends Float64Array | Int32Array>(column: C, empty: C): C => {
      empty.set(column)
      return empty
    }
    this.counts = grown(this.counts, new Float64Array(length))
    this.sums = grown(this.sums, new Float64Array(length))
    this.lastIndex = grown(this.lastIndex, new Int32Array(length))
    this.lastCount = grown(this.lastCount, new Float64Array(length))
  }
}

/** Brings buckets down to `scale`, merging those that fall together. */
function lower(buckets: Buckets, scale: number): void {
  const steps = buckets.scale - scale
  if (steps <= 0) return
  buckets.scale = scale
  const { indexes, counts } = buckets
  const before = indexes.length
  const old = indexes.splice(0, before)
  const oldCounts = counts.splice(0, before)
  old.forEach((index, i) => bump(buckets, index >> steps, oldCounts[i] as number))
}

function bump({ indexes, counts }: Buckets, index: number, count: number): void {
  const at = indexes.indexOf(index)
  if (at >= 0) counts[at] = (counts[at] as number) + count
  else {
    indexes.push(index)
    counts.push(count)
  }
}
