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

/** Numbers a contributor has in `columns`, side by side: a value touches all of them. */
const WIDTH = 4
/** 0: it contributed nothing yet; NaN: the bound leaves it out. */
const COUNT = 0
const SUM = 1
/** The bucket, at `scale`, of its last positive value, and how many went to it in a row; not among `buckets` yet. */
const LAST_BUCKET = 2
const IN_A_ROW = 3
/** More in a row are settled in between: as small integers they need no object. */
const IN_A_ROW_MAX = 2 ** 30

export class Contributors {
  isOverflown = false
  size = 0
  private readonly max: number
  /** That of the last buckets. */
  private scale = SCALE_MAX
  /** By number. */
  private columns = new Float64Array(0)
  private readonly buckets: (Buckets | undefined)[] = []

  constructor(max: number) {
    this.max = max
  }

  /** Makes room for the numbers below `numbers`. */
  reserve(numbers: number): void {
    if (numbers * WIDTH <= this.columns.length) return
    const grown = new Float64Array(Math.max(numbers * WIDTH, this.columns.length * 2))
    grown.set(this.columns)
    this.columns = grown
  }

  /** Adds the values of one cell of a record, for whose contributors there is room; `scale` = the cell's with them in it. */
  addAll({ n, values, indexes, contributors }: Taken, scale: number): void {
    if (this.scale !== scale) this.fall(scale)
    const { columns } = this
    const shift = SCALE_MAX - scale
    for (let i = 0; i < n; i++) {
      const number = contributors[i] as number
      const at = number * WIDTH
      const count = columns[at + COUNT] as number
      if (count !== count || (count === 0 && !this.enter(number))) continue
      columns[at + COUNT] = count + 1
      columns[at + SUM] = (columns[at + SUM] as number) + (values[i] as number)
      const index = indexes[i] as number
      if (index === NOT_POSITIVE) continue
      const bucket = index >> shift
      const inARow = columns[at + IN_A_ROW] as number
      if (columns[at + LAST_BUCKET] === bucket && inARow < IN_A_ROW_MAX) columns[at + IN_A_ROW] = inARow + 1
      else {
        if (inARow > 0) this.settle(number)
        columns[at + LAST_BUCKET] = bucket
        columns[at + IN_A_ROW] = 1
      }
    }
  }

  /** Those of `order` that contributed, in that order. */
  present(order: readonly number[]): number[] {
    const { columns } = this
    return order.filter((number) => (columns[number * WIDTH + COUNT] ?? 0) > 0)
  }

  sumOf(number: number): number {
    return this.columns[number * WIDTH + SUM] as number
  }

  countOf(number: number): number {
    return this.columns[number * WIDTH + COUNT] as number
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
    this.columns[number * WIDTH + COUNT] = NaN
    this.isOverflown = true
    return false
  }

  /** Puts what is counted in columns among the buckets. */
  private settle(number: number): Buckets {
    const { columns } = this
    const buckets = (this.buckets[number] ??= { scale: this.scale, indexes: [], counts: [] })
    lower(buckets, this.scale)
    const inARow = (columns[number * WIDTH + IN_A_ROW] as number) | 0
    if (inARow > 0) bump(buckets, (columns[number * WIDTH + LAST_BUCKET] as number) | 0, inARow)
    columns[number * WIDTH + IN_A_ROW] = 0
    return buckets
  }

  /** Scales only fall, and a few times a window. */
  private fall(scale: number): void {
    const { columns } = this
    for (let at = LAST_BUCKET; at < columns.length; at += WIDTH) columns[at] = (columns[at] as number) >> (this.scale - scale)
    this.scale = scale
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
