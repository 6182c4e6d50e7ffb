/** Cells without records, for the tests of the metrics functions. */
import type { CellFacts } from '../../functions/aggregate-metrics/cell-key.ts'
import { Cell } from '../../functions/aggregate-metrics/cell.ts'
import { bucketIndexes } from '../../functions/aggregate-metrics/exponential-histogram.ts'
import { Roster } from '../../functions/aggregate-metrics/roster.ts'
import { Taken } from '../../functions/aggregate-metrics/taken.ts'
import type { WindowPartial } from '../../schemas/records.ts'
import { unfolded, type ReadPartial } from './metrics.ts'
import { codecs } from './telemetry.ts'

export const facts: CellFacts = { key: 'p|hw.power|', pool: 'p', metric: 'hw.power', unit: 'W', attributes: {}, contributorKind: 'tenant' }
export const newCell = (contributorsMax = 10, roster = new Roster()): Cell => new Cell(facts, roster, contributorsMax)

/** One value, as of a record of its own. */
export function add(cell: Cell, value: number, atMs: number, contributor: string, device: string): void {
  const taken = new Taken()
  taken.n = 1
  taken.values = Float64Array.of(value)
  taken.atMs = Float64Array.of(atMs)
  taken.contributors = Int32Array.of(cell.roster.contributors.numberOf(contributor))
  taken.devices = Int32Array.of(cell.roster.devices.numberOf(device))
  taken.indexes = new Int32Array(1)
  bucketIndexes(taken.values, new Int32Array(taken.values.buffer), 1, taken.indexes)
  cell.add(taken)
}

/** What it says, as far as numbers go. */
export const saidOf = (cell: Cell, source = 0): ReadPartial => unfolded(cell.aggregate(source, codecs) as unknown as WindowPartial)
