/** NodeBatch records for tests: rows as written by hand, dictionaries made from them. */
import type { Codecs } from '../../schemas/codec.ts'
import { metricByName } from '../../schemas/metrics.ts'
import type { LayoutDevice, LayoutMetric, NodeBatch } from '../../schemas/records.ts'

export interface TestRow {
  readonly device: string
  readonly metric: string
  readonly value: number
  readonly attributes?: Readonly<Record<string, string>>
}

export interface TestBatch {
  readonly node: string
  readonly observedMs: number
  readonly rows: readonly TestRow[]
  /** Devices without rows too; default: those of the rows. */
  readonly devices?: readonly (Partial<LayoutDevice> & { readonly id: string })[]
  readonly pool?: string | null
  readonly source?: string
  readonly part?: number
}

export function nodeBatch(codecs: Codecs, batch: TestBatch): NodeBatch {
  const devices: LayoutDevice[] = []
  const metrics: LayoutMetric[] = []
  const add = (device: Partial<LayoutDevice> & { readonly id: string }): number => {
    const at = devices.findIndex((d) => d.id === device.id)
    if (at >= 0) return at
    const type = device.id.startsWith('neuron') ? 'neuron' : 'gpu'
    devices.push({ type, vendor: null, model: null, parent: null, tenant: null, pool: batch.pool ?? null, ...device })
    return devices.length - 1
  }
  for (const device of batch.devices ?? []) add(device)
  const metricOf = (row: TestRow): number => {
    const attributes = row.attributes ?? {}
    const at = metrics.findIndex((m) => m.name === row.metric && JSON.stringify(m.attributes) === JSON.stringify(attributes))
    if (at >= 0) return at
    const known = metricByName.get(row.metric)
    metrics.push({ name: row.metric, unit: known?.unit ?? '1', kind: known?.kind ?? 'gauge', attributes, startMs: null })
    return metrics.length - 1
  }
  const deviceIndex = Buffer.alloc(batch.rows.length * 2)
  const metricIndex = Buffer.alloc(batch.rows.length * 2)
  const value = Buffer.alloc(batch.rows.length * 8)
  batch.rows.forEach((row, i) => {
    deviceIndex.writeUInt16LE(add({ id: row.device }), i * 2)
    metricIndex.writeUInt16LE(metricOf(row), i * 2)
    value.writeDoubleLE(row.value, i * 8)
  })
  return {
    site: 'hall-1',
    node: batch.node,
    rack: null,
    source: { kind: batch.source ?? 'dcgm-exporter', version: null },
    observedMs: batch.observedMs,
    part: batch.part ?? 0,
    layout: codecs.encodeBare('NodeLayout', { devices, metrics }),
    deviceIndex,
    metricIndex,
    value,
    offsetMs: null,
  }
}
