/**
 * Who contributed what to a cell (egress.md §2): stays inside the site, so that the gate can apply its rules.
 *
 * Owns: sum, count and positive buckets per contributor, at the scale of the cell's histogram; the bound (beyond it the overflow flag holds the cell
 * at the gate). Contributors go by their numbers in the cell's roster.
 * A contributor's zero and negative values count in `sum` and `count` only: its buckets are those of the histogram's positive side.
 */
import { BucketTable, type Pairs } from './bucket-table.ts'
import { NOT_POSITIVE, SCALE_MAX } from './exponential-histogram.ts'
import type { Taken } from './taken.ts'

/** Numbers a contributor has in `columns`, side by side: a value touches both. */
const WIDTH = 2
/** 0: it contributed nothing yet; NaN: the bound leaves it out. */
const COUNT = 0
const SUM = 1

export class Contributors {
  isOverflown = false
  size = 0
  private readonly max: number
  /** By number. */
  private columns = new Float64Array(0)
  private readonly table: BucketTable
  /** That of the table. */
  private scale = SCALE_MAX

  /** `table` is empty. */
  constructor(max: number, table = new BucketTable()) {
    this.max = max
    this.table = table
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
    this.fall(scale)
    const { columns, table } = this
    const shift = SCALE_MAX - scale
    for (let i = 0; i < n; i++) {
      const number = contributors[i] as number
      const at = number * WIDTH
      const count = columns[at + COUNT] as number
      if (count !== count || (count === 0 && !this.enter(number))) continue
      columns[at + COUNT] = count + 1
      columns[at + SUM] = (columns[at + SUM] as number) + (values[i] as number)
      const index = indexes[i] as number
      if (index !== NOT_POSITIVE) table.add(number, index >> shift, 1)
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

  /** Who has how many values in which bucket, at `scale`, the cell's last. As `BucketTable.all`. */
  buckets(scale: number): Pairs {
    this.fall(scale)
    return this.table.all()
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

  /** Scales only fall, and a few times a window. */
  private fall(scale: number): void {
    if (this.scale === scale) return
    this.table.coarsen(this.scale - scale)
    this.scale = scale
  }
}
