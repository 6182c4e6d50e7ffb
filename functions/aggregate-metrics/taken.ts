/**
 * What of one record goes into one cell, as columns: the finite values and, beside each, its bucket, time, contributor and device.
 *
 * Owns: the columns, which are reused for every cell of every record (folding is synchronous), and how rows become values: as they stand, or counters'
 * deltas against the predecessor. Why columns: a double that is handed from function to function is an object each time.
 */
import type { FoldBatch } from './batch-reader.ts'
import type { CellFacts } from './cell-key.ts'
import { bucketIndexes } from './exponential-histogram.ts'
import { PLACE, type FoldPlan } from './fold-plan.ts'

export class Taken {
  /** The cell. */
  facts: CellFacts | null = null
  /** How many. */
  n = 0
  values = new Float64Array(0)
  /** At scale 20; NOT_POSITIVE for a value without a bucket. */
  indexes = new Int32Array(0)
  atMs = new Float64Array(0)
  /** Numbers of the cell's roster. */
  contributors = new Int32Array(0)
  devices = new Int32Array(0)
  private places = new Int32Array(0)
  private bits = new Int32Array(0)

  /** Takes the finite values of the plan's cell `cell`. `before` = counters of the predecessor in the order of the plan, NaN where it has none. Returns how many. */
  take({ plan, observedMs, values, valuesAt, offsetsMs }: FoldBatch, cell: number, before: Float64Array | null): number {
    const { places, startOfCell, counterOfRow } = plan
    this.facts = plan.cells[cell] as CellFacts
    const end = startOfCell[cell + 1] as number
    const start = startOfCell[cell] as number
    if (end - start > this.values.length) this.grow(end - start)
    const hasCounters = plan.hasCounters[cell] === true
    let n = 0
    for (let place = start; place < end; place++) {
      const row = places[place * PLACE] as number
      let value = values.getFloat64(valuesAt + row * 8, true)
      const counter = hasCounters ? (counterOfRow[row] as number) : -1
      if (counter >= 0) {
        const earlier = before === null ? NaN : (before[counter] as number)
        value = value < earlier ? value : earlier === earlier ? value - earlier : NaN
      }
      if (!Number.isFinite(value)) continue
      this.values[n] = value
      this.atMs[n] = offsetsMs === null ? observedMs : observedMs + (offsetsMs[row] as number)
      this.places[n++] = place
    }
    this.n = n
    bucketIndexes(this.values, this.bits, n, this.indexes)
    return n
  }

  /** Says who, once the roster's numbers stand in the plan. */
  identify({ places }: FoldPlan): void {
    for (let i = 0; i < this.n; i++) {
      const place = (this.places[i] as number) * PLACE
      this.contributors[i] = places[place + 1] as number
      this.devices[i] = places[place + 2] as number
    }
  }

  private grow(rows: number): void {
    const length = Math.max(rows, 64)
    this.values = new Float64Array(length)
    this.bits = new Int32Array(this.values.buffer)
    this.indexes = new Int32Array(length)
    this.atMs = new Float64Array(length)
    this.contributors = new Int32Array(length)
    this.devices = new Int32Array(length)
    this.places = new Int32Array(length)
  }
}
