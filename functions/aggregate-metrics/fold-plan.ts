/**
 * How the rows of a node's batches go into cells: worked out once per shape, used for every batch of that shape.
 *
 * Owns: decoding of layout and index columns, the check that they fit together (SLU_RECORD_UNDECODABLE), cell → rows, row → contributor, device, counter. Rows of devices without a pool, of metrics that are not
 * aggregated, of kind `state` and of metrics unknown here have no cell.
 */
import type { Codecs } from '../../schemas/codec.ts'
import { SluiceError } from '../../schemas/errors.ts'
import { metricByName } from '../../schemas/metrics.ts'
import type { LayoutDevice, LayoutMetric, NodeBatch } from '../../schemas/records.ts'
import { cellKey, type CellFacts } from './cell-key.ts'

/** The contributor that all devices of a pool without a tenant are (egress.md §2). */
export const UNATTRIBUTED = 'unattributed'

/** Numbers a place of `FoldPlan.places`. */
export const PLACE = 3

export interface FoldPlan {
  /** Node and source: whose batches these are, as one text. */
  readonly owner: string
  readonly rows: number
  /** Distinct cells of this shape. */
  readonly cells: readonly CellFacts[]
  /**
   * All rows that have a cell, cell by cell, each cell's ascending, `PLACE` numbers each: row, contributor, device. Cell i has the places from
   * `startOfCell[i]` to `startOfCell[i + 1]`. One array, because a record of each node in turn finds none of it in the cache.
   */
  readonly places: Int32Array
  readonly startOfCell: readonly number[]
  /** Per cell: the roster whose numbers stand in `places`; the roster writes both. */
  readonly rosterOfCell: (object | undefined)[]
  /** Per cell: whether any of its rows is a counter. */
  readonly hasCounters: readonly boolean[]
  readonly contributorOfRow: readonly string[]
  readonly deviceOfRow: readonly string[]
  /** Per row: index among the counters, or -1 where the value is taken as it stands. */
  readonly counterOfRow: Int32Array
  /** Row of each counter. */
  readonly counterRows: Int32Array
  /** Names each counter across shapes: device, metric, attributes. */
  readonly counterKeys: readonly string[]
  readonly counterStartMs: readonly (number | null)[]
}

const undecodable = (why: string): SluiceError => new SluiceError('SLU_RECORD_UNDECODABLE', `NodeBatch: ${why}`)

/** Copied, so that the view is aligned. */
export function uint16Column(bytes: Buffer): Uint16Array {
  const column = new Uint16Array(bytes.length >> 1)
  Buffer.from(column.buffer).set(bytes)
  return column
}

/** Row i at byte `at` + 8·i of a view, little endian: the bytes lie unaligned in a fetch. Throws SLU_RECORD_UNDECODABLE if it is not `rows` long. */
export function float64Column(bytes: Buffer, rows: number): { readonly view: DataView; readonly at: number } {
  if (bytes.length !== rows * 8) throw undecodable(`${bytes.length} bytes of values for ${rows} rows`)
  return { view: new DataView(bytes.buffer), at: bytes.byteOffset }
}

export function int32Column(bytes: Buffer, rows: number): Int32Array {
  if (bytes.length !== rows * 4) throw undecodable(`${bytes.length} bytes of time offsets for ${rows} rows`)
  const column = new Int32Array(rows)
  Buffer.from(column.buffer).set(bytes)
  return column
}

function contributorOf(kind: CellFacts['contributorKind'], device: LayoutDevice, node: string): string {
  if (kind === 'device') return device.id
  return kind === 'facility' ? node : (device.tenant ?? UNATTRIBUTED)
}

export function makeFoldPlan(batch: NodeBatch, codecs: Codecs): FoldPlan {
  const { deviceIndex, metricIndex } = batch
  if (deviceIndex.length !== metricIndex.length || deviceIndex.length % 2 !== 0) throw undecodable('index columns differ in length')
  const layout = codecs.decodeBare('NodeLayout', batch.layout)
  const devices = uint16Column(deviceIndex)
  const metrics = uint16Column(metricIndex)
  const rows = devices.length
  const cells: CellFacts[] = []
  const cellByKey = new Map<string, number>()
  const rowsOfCell: number[][] = []
  const counterOfRow = new Int32Array(rows).fill(-1)
  const contributorOfRow: string[] = []
  const deviceOfRow: string[] = []
  const counters: { row: number; key: string; startMs: number | null }[] = []

  for (let row = 0; row < rows; row++) {
    const device = layout.devices[devices[row] as number]
    const metric = layout.metrics[metrics[row] as number]
    if (device === undefined || metric === undefined) throw undecodable(`row ${row} names a device or metric that the layout lacks`)
    deviceOfRow.push(device.id)
    const facts = cellFactsOf(device, metric)
    contributorOfRow.push(facts === null ? '' : contributorOf(facts.contributorKind, device, batch.node))
    if (facts === null) continue
    let cell = cellByKey.get(facts.key)
    if (cell === undefined) {
      cell = cells.push(facts) - 1
      cellByKey.set(facts.key, cell)
      rowsOfCell.push([])
    }
    rowsOfCell[cell]?.push(row)
    if (metric.kind !== 'counter') continue
    counterOfRow[row] = counters.length
    counters.push({ row, key: `${device.id}|${cellKey('', metric.name, metric.attributes)}`, startMs: metric.startMs })
  }
  const startOfCell = [0]
  for (const list of rowsOfCell) startOfCell.push((startOfCell.at(-1) as number) + list.length)
  return {
    owner: `${batch.node}|${batch.source.kind}`,
    rows,
    cells,
    places: Int32Array.from(rowsOfCell.flatMap((list) => list.flatMap((row) => [row, 0, 0]))),
    startOfCell,
    rosterOfCell: [],
    hasCounters: rowsOfCell.map((list) => list.some((row) => (counterOfRow[row] as number) >= 0)),
    contributorOfRow,
    deviceOfRow,
    counterOfRow,
    counterRows: Int32Array.from(counters, (c) => c.row),
    counterKeys: counters.map((c) => c.key),
    counterStartMs: counters.map((c) => c.startMs),
  }
}

/** The cell of a device and metric; null if it has none. */
function cellFactsOf(device: LayoutDevice, metric: LayoutMetric): CellFacts | null {
  const row = metricByName.get(metric.name)
  if (device.pool === null || row === undefined || !row.isAggregated || metric.kind === 'state') return null
  const attributes: Record<string, string> = {}
  for (const name of row.keptAttributes) if (Object.hasOwn(metric.attributes, name)) attributes[name] = metric.attributes[name] as string
  return { key: cellKey(device.pool, metric.name, attributes), pool: device.pool, metric: metric.name, unit: row.unit, attributes, contributorKind: row.contributor }
}
