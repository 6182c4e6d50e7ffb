/**
 * What a NodeBatch says about accelerators, restricted to the signals some rule reads.
 *
 * Owns: decoding of layout and columns, the check that they fit together (SLU_RECORD_UNDECODABLE), the parent of a part (MIG, core, link),
 * and a cache of the decoded plan per node and source while the bytes are equal (bounded; it changes no output).
 */
import type { Codecs } from '../../schemas/codec.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { AttributeMap, NodeBatch, NodeLayout } from '../../schemas/records.ts'

export interface SeenDevice {
  readonly id: string
  readonly pool: string | null
}

interface SignalRow {
  readonly row: number
  readonly device: string
  readonly metric: string
  readonly attributes: AttributeMap
  /** Names the series within its device. */
  readonly key: string
}

interface BatchPlan {
  readonly layout: Buffer
  readonly deviceIndex: Buffer
  readonly metricIndex: Buffer
  readonly devices: readonly SeenDevice[]
  readonly signals: readonly SignalRow[]
}

export interface Reading {
  readonly metric: string
  readonly attributes: AttributeMap
  readonly key: string
  readonly value: number
}

export interface BatchReading {
  readonly batch: NodeBatch
  readonly devices: readonly SeenDevice[]
  /** By device id; NaN (not supported) is left out. */
  readonly readings: ReadonlyMap<string, readonly Reading[]>
}

const PLANS_MAX = 50_000
const ACCELERATORS = new Set(['gpu', 'neuron'])
const undecodable = (why: string): SluiceError => new SluiceError('SLU_RECORD_UNDECODABLE', `NodeBatch: ${why}`)

export function seriesKey(metric: string, attributes: AttributeMap): string {
  const names = Object.keys(attributes).sort()
  return names.length === 0 ? metric : `${metric}{${names.map((name) => `${name}=${attributes[name]}`).join(',')}}`
}

function planOf(batch: NodeBatch, layout: NodeLayout, wanted: ReadonlySet<string>): BatchPlan {
  const rows = batch.deviceIndex.length / 2
  if (!Number.isInteger(rows) || batch.metricIndex.length !== rows * 2) throw undecodable('index columns differ in length')
  const devices = new Map<string, SeenDevice>()
  const subjects = layout.devices.map((device): string | null => {
    const subject = ACCELERATORS.has(device.type) ? device.id : device.parent
    if (subject !== null && !devices.has(subject)) devices.set(subject, { id: subject, pool: device.pool })
    return subject
  })
  const signals: SignalRow[] = []
  for (let row = 0; row < rows; row++) {
    const metric = layout.metrics[batch.metricIndex.readUInt16LE(row * 2)]
    const deviceAt = batch.deviceIndex.readUInt16LE(row * 2)
    if (metric === undefined || deviceAt >= layout.devices.length) throw undecodable('an index points outside the layout')
    const device = subjects[deviceAt] as string | null
    if (device !== null && wanted.has(metric.name))
      signals.push({ row, device, metric: metric.name, attributes: metric.attributes, key: seriesKey(metric.name, metric.attributes) })
  }
  return { layout: batch.layout, deviceIndex: batch.deviceIndex, metricIndex: batch.metricIndex, devices: [...devices.values()], signals }
}

/** `wanted` = canonical metrics that some rule reads. Throws SLU_RECORD_UNDECODABLE. */
export function createBatchReader(wanted: ReadonlySet<string>): (bytes: Buffer, codecs: Codecs) => BatchReading {
  const plans = new Map<string, BatchPlan>()
  return (bytes, codecs) => {
    const batch = codecs.decode('NodeBatch', bytes)
    const cacheKey = `${batch.node}\0${batch.source.kind}`
    let plan = plans.get(cacheKey)
    if (plan === undefined || !plan.layout.equals(batch.layout) || !plan.deviceIndex.equals(batch.deviceIndex) || !plan.metricIndex.equals(batch.metricIndex)) {
      plan = planOf(batch, codecs.decodeBare('NodeLayout', batch.layout), wanted)
      if (plans.size >= PLANS_MAX) plans.clear()
      plans.set(cacheKey, plan)
    }
    if (batch.value.length !== batch.deviceIndex.length * 4) throw undecodable('the value column has another length than the index columns')
    const readings = new Map<string, Reading[]>()
    for (const { row, device, metric, attributes, key } of plan.signals) {
      const value = batch.value.readDoubleLE(row * 8)
      if (Number.isNaN(value)) continue
      const reading = { metric, attributes, key, value }
      const list = readings.get(device)
      if (list === undefined) readings.set(device, [reading])
      else list.push(reading)
    }
    return { batch, devices: plan.devices, readings }
  }
}
