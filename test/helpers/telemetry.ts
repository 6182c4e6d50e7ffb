/** Raw records in, NodeBatches as plain rows out, for the tests of the telemetry functions. */
import { readFileSync } from 'node:fs'
import type { AttributeMap, LayoutDevice, NodeBatch } from '../../schemas/records.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { createPseudonyms } from '../../schemas/pseudonym.ts'
import type { Emit, FunctionContext } from '../../streams/define-function.ts'
import { createMembership } from '../../functions/normalize-telemetry/membership.ts'
import { normalizeTelemetry, type NormalizeTelemetryOptions } from '../../functions/normalize-telemetry/normalize-telemetry.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import { testCodecs } from './codecs.ts'

export const OBSERVED_MS = 1_700_000_000_000

export const codecs = testCodecs()
export const pseudonyms = createPseudonyms(nodeHashing, Buffer.from('a key for tests'))
const pools = [
  { name: 'blackwell-a', rack: 'rack-5', members: [{ host: 'tray-*' }] },
  { name: 'trainium-a', members: [{ host: 'trn-*' }] },
]
const tenants = [{ match: { namespace: 'tenant-*' }, tenant: '$namespace' }]
export const scrapeContext = { codecs, pseudonyms, membership: createMembership(pools, tenants, pseudonyms) }
const functionContext: FunctionContext = { site: 'hall-1', codecs, nowMs: () => OBSERVED_MS }

export const sample = (name: string): Buffer => readFileSync(new URL(`../samples/${name}`, import.meta.url))

export function rawRecord(topic: string, key: string | null, value: Buffer | string | null, more: Partial<LogRecord> = {}): LogRecord {
  return {
    topic,
    partition: 0,
    offset: 0n,
    timestampMs: OBSERVED_MS,
    appendMs: OBSERVED_MS,
    key: key === null ? null : Buffer.from(key),
    value: typeof value === 'string' ? Buffer.from(value) : value,
    headers: [],
    ...more,
  }
}

export function normalizer(more: Partial<NormalizeTelemetryOptions> = {}): (record: LogRecord) => readonly Emit[] {
  const definition = normalizeTelemetry({
    site: 'hall-1',
    pseudonyms,
    pools,
    tenants,
    sources: [
      { topic: 'telemetry.dcgm', format: 'dcgm-exporter' },
      { topic: 'telemetry.neuron', format: 'neuron-monitor' },
    ],
    ...more,
  })
  return (record) => definition.handle(definition.decode(record, functionContext), record, functionContext)
}

interface PlainRow {
  readonly device: string
  readonly metric: string
  readonly attributes: AttributeMap
  readonly value: number
}

export interface PlainBatch {
  readonly batch: NodeBatch
  readonly devices: readonly LayoutDevice[]
  readonly rows: readonly PlainRow[]
}

function plainBatch(bytes: Buffer): PlainBatch {
  const batch = codecs.decode('NodeBatch', bytes)
  const layout = codecs.decodeBare('NodeLayout', batch.layout)
  const rows = Array.from({ length: batch.value.length / 8 }, (_, i) => {
    const metric = layout.metrics[batch.metricIndex.readUInt16LE(i * 2)]
    return {
      device: layout.devices[batch.deviceIndex.readUInt16LE(i * 2)]?.id ?? '?',
      metric: metric?.name ?? '?',
      attributes: metric?.attributes ?? {},
      value: batch.value.readDoubleLE(i * 8),
    }
  })
  return { batch, devices: layout.devices, rows }
}

/** The one batch among the emits. */
export function batchOf(emits: readonly Emit[]): PlainBatch {
  const found = emits.filter((e) => e.to === 'topic')
  if (found.length !== 1 || found[0]?.value == null) throw new Error(`${found.length} batches`)
  return plainBatch(found[0].value)
}

/** "metric{a=b}" → value of one device. */
export function valuesOf(batch: PlainBatch, device: string): Record<string, number> {
  const name = (row: PlainRow): string => {
    const attributes = Object.entries(row.attributes).map(([k, v]) => `${k}=${v}`)
    return attributes.length === 0 ? row.metric : `${row.metric}{${attributes.join(',')}}`
  }
  return Object.fromEntries(batch.rows.filter((row) => row.device === device).map((row) => [name(row), row.value]))
}
