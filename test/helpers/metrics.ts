/** Windows without a runtime, for the tests of the metrics functions. */
import type { Cell } from '../../functions/aggregate-metrics/cell.ts'
import type { FoldBatch } from '../../functions/aggregate-metrics/batch-reader.ts'
import { bytesOf, createBatchColumns } from '../../functions/normalize-telemetry/batch-columns.ts'
import { factsOf, readColumns } from '../../functions/aggregate-metrics/contributor-columns.ts'
import type { ContributorFact, LayoutDevice, NodeBatch, WindowPartial } from '../../schemas/records.ts'
import type { ClosedGroup, OpenWindow, WindowFunction } from '../../streams/define-function.ts'
import { codecs, OBSERVED_MS } from './telemetry.ts'

export type Aggregate = WindowFunction<FoldBatch, Cell, { readonly values: Float64Array }>

export interface Row {
  readonly device: string
  readonly metric: string
  readonly value: number
  readonly attributes?: Readonly<Record<string, string>>
  readonly tenant?: string
  readonly pool?: string | null
}

/** A NodeBatch of these rows, as bytes. */
export function batchBytes(rows: readonly Row[], more: Partial<NodeBatch> = {}): Buffer {
  const columns = createBatchColumns()
  for (const r of rows) {
    const device: LayoutDevice = { id: r.device, type: 'gpu', vendor: null, model: null, parent: null, tenant: r.tenant ?? null, pool: r.pool === undefined ? 'pool-a' : r.pool }
    columns.row(columns.device(r.device, () => device) as number, r.metric, r.attributes ?? {})
  }
  const { layout, deviceIndex, metricIndex } = columns.shape(codecs)
  const value = bytesOf(Float64Array.from(rows, (r) => r.value))
  const source = { kind: 'dcgm-exporter', version: null }
  return codecs.encode('NodeBatch', {
    site: 'hall-1',
    node: 'node-1',
    rack: null,
    source,
    observedMs: OBSERVED_MS,
    part: 0,
    layout,
    deviceIndex,
    metricIndex,
    value,
    offsetMs: null,
    ...more,
  })
}

export interface TestWindow extends OpenWindow<Cell> {
  readonly groups: Map<string, Cell>
}

export function openWindow(startMs = OBSERVED_MS, endMs = OBSERVED_MS + 60_000): TestWindow {
  const groups = new Map<string, Cell>()
  return {
    startMs,
    endMs,
    groups,
    group: (key, create) => {
      const cell = groups.get(key) ?? create()
      groups.set(key, cell)
      return cell
    },
  }
}

function closedGroup(key: string, state: Cell, more: Partial<ClosedGroup<Cell>> = {}): ClosedGroup<Cell> {
  return {
    functionName: 'aggregate-metrics',
    sourcePartition: 0,
    key,
    startMs: OBSERVED_MS,
    endMs: OBSERVED_MS + 60_000,
    firstOffset: 5n,
    lastOffset: 9n,
    partial: false,
    parametersHash: 'hash',
    state,
    ...more,
  }
}

export interface ReadPartial extends WindowPartial {
  readonly contributorFacts: readonly ContributorFact[]
  readonly deviceIds: readonly string[]
}

/** A partial as stage 2 reads it, its members and columns unfolded. */
export function unfolded(partial: WindowPartial): ReadPartial {
  const members = codecs.decodeBare('CellMembers', partial.members)
  const columns = readColumns(partial, members.contributors.length, partial.histogram)
  return { ...partial, contributorFacts: factsOf(columns, members), deviceIds: members.devices }
}

/** The partial that `definition` would send for a cell. */
export function partialOf(definition: Pick<Aggregate, 'encodePartial'>, key: string, cell: Cell, more: Partial<ClosedGroup<Cell>> = {}): ReadPartial {
  return unfolded(codecs.decode('WindowPartial', definition.encodePartial(closedGroup(key, cell, more), { codecs, site: 'hall-1' }).value))
}
