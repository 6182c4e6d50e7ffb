/**
 * What the contestants of `npm run bench -- runtime` read.
 *
 * Owns: NodeBatches of 30 samples (6 GPUs × 5 gauges) and the same samples as JSON, 1 KiB values, task records; where each goes; how many samples must
 * come out. Deterministic. Gauges only, so that every contestant folds the very same samples: a counter's first sample has no delta.
 * The last record of each partition is a sentinel, hours later: it closes every window before it and is not counted.
 */
import { partitionOf } from '../../infra/log/partitioner.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import type { LogRecord, OutRecord } from '../../schemas/log.ts'
import { createPseudonyms } from '../../schemas/pseudonym.ts'
import type { NodeLayout } from '../../schemas/records.ts'
import { codecs, START_MS } from '../scrapes.ts'

export const DEVICES = 6
export const SAMPLES_PER_RECORD = 30
const SENTINEL_AFTER_MS = 36_000_000

const GAUGES = [
  { name: 'hw.temperature', unit: 'Cel', attributes: { sensor: 'gpu' } },
  { name: 'hw.power', unit: 'W', attributes: {} },
  { name: 'hw.gpu.utilization', unit: '1', attributes: {} },
  { name: 'hw.gpu.memory.usage', unit: 'By', attributes: {} },
  { name: 'sluice.gpu.clock', unit: 'Hz', attributes: {} },
] as const

const pseudonyms = createPseudonyms(nodeHashing, Buffer.from('bench'))

/** Plausible and slowly moving, as sensors are: whole degrees, watts with three digits, clocks in steps. */
function valueOf(gauge: number, node: number, device: number, turn: number): number {
  const wave = Math.sin((turn + node * 7 + device * 13) / 20)
  const noise = ((node * 31 + device * 17 + turn * 101) % 97) / 97
  if (gauge === 0) return Math.round(58 + wave * 12 + noise * 4)
  if (gauge === 1) return Math.round((620 + wave * 240 + noise * 30) * 1000) / 1000
  if (gauge === 2) return Math.round((0.6 + wave * 0.35 + noise * 0.05) * 100) / 100
  if (gauge === 3) return (140 + device + Math.round(wave * 20)) * 2 ** 30
  return (1_200 + 15 * Math.round(wave * 40)) * 1e6
}

interface Node {
  readonly key: Buffer
  readonly name: string
  readonly pool: string
  readonly devices: readonly string[]
  readonly layout: Buffer
}

function nodeOf(index: number): Node {
  const host = `tray-${index}`
  const name = pseudonyms.node(host)
  const pool = `blackwell-${'abcd'[index % 4]}`
  const devices = Array.from({ length: DEVICES }, (_, d) => pseudonyms.device(host, 'gpu', d))
  const layout: NodeLayout = {
    devices: devices.map((id) => ({ id, type: 'gpu', vendor: 'NVIDIA', model: 'GB200', parent: name, tenant: pseudonyms.tenant(`t${index % 20}`), pool })),
    metrics: GAUGES.map((g) => ({ ...g, kind: 'gauge', startMs: null })),
  }
  return { key: Buffer.from(name), name, pool, devices, layout: codecs.encodeBare('NodeLayout', layout) }
}

const column16 = (of: (row: number) => number): Buffer => {
  const bytes = Buffer.alloc(SAMPLES_PER_RECORD * 2)
  for (let row = 0; row < SAMPLES_PER_RECORD; row++) bytes.writeUInt16LE(of(row), row * 2)
  return bytes
}
const deviceIndex = column16((row) => Math.floor(row / GAUGES.length))
const metricIndex = column16((row) => row % GAUGES.length)

export type ValueForm = 'avro' | 'json'

function batchValue(form: ValueForm, node: Node, index: number, turn: number, observedMs: number): Buffer {
  const values = Array.from({ length: SAMPLES_PER_RECORD }, (_, row) => valueOf(row % GAUGES.length, index, Math.floor(row / GAUGES.length), turn))
  if (form === 'json') {
    const samples = values.map((v, row) => ({ d: node.devices[Math.floor(row / GAUGES.length)], m: GAUGES[row % GAUGES.length]?.name, v }))
    return Buffer.from(JSON.stringify({ node: node.name, pool: node.pool, ts: observedMs, samples }))
  }
  return codecs.encode('NodeBatch', {
    site: 'bench',
    node: node.name,
    rack: 'rack-1',
    source: { kind: 'dcgm-exporter', version: '4.4.0' },
    observedMs,
    part: 0,
    layout: node.layout,
    deviceIndex,
    metricIndex,
    value: Buffer.from(Float64Array.from(values).buffer),
    offsetMs: null,
  })
}

export interface BatchSet {
  readonly form: ValueForm
  readonly nodes: number
  /** Records in all, without the sentinels. */
  readonly records: number
  readonly partitions: number
  /** Of event time between two scrapes of a node. */
  readonly scrapeMs: number
}

/** Epoch ms at which the windows that are counted end. */
const countedThroughMs = START_MS + SENTINEL_AFTER_MS

/** One scrape of every node in turn, then the sentinels. */
export function* batchRecords(topic: string, set: BatchSet): Generator<OutRecord> {
  const nodes = Array.from({ length: set.nodes }, (_, i) => nodeOf(i))
  for (let i = 0; i < set.records; i++) {
    const at = i % set.nodes
    const turn = Math.floor(i / set.nodes)
    const node = nodes[at] as Node
    yield { topic, key: node.key, value: batchValue(set.form, node, at, turn, START_MS + turn * set.scrapeMs + ((at * 37) % set.scrapeMs)) }
  }
  const [first] = nodes as [Node]
  for (let partition = 0; partition < set.partitions; partition++)
    yield { topic, partition, key: first.key, value: batchValue(set.form, first, 0, 0, countedThroughMs + partition) }
}

export const MAP_BYTES = 1024

/** Values of 1 KiB that do not repeat, keys in turn. */
export function* mapRecords(topic: string, records: number, keys: number): Generator<OutRecord> {
  const block = Buffer.from(Array.from({ length: MAP_BYTES * 2 }, (_, i) => (i * 2_654_435_761) >>> 24))
  for (let i = 0; i < records; i++) {
    const value = Buffer.from(block.subarray(i % MAP_BYTES, (i % MAP_BYTES) + MAP_BYTES))
    value.writeUInt32LE(i, 4)
    yield { topic, key: Buffer.from(`key-${i % keys}`), value }
  }
}

/** Keys that fall into the partitions in turn, so that as many partitions as can be are busy whatever the number of keys. */
export function* taskRecords(topic: string, records: number, keys: number, partitions: number): Generator<OutRecord> {
  const names: Buffer[] = []
  const perPartition = Array.from({ length: partitions }, () => 0)
  const most = Math.ceil(keys / partitions)
  for (let n = 0; names.length < keys; n++) {
    const key = Buffer.from(`key-${n}`)
    const partition = partitionOf(key, partitions)
    if ((perPartition[partition] as number) >= most) continue
    perPartition[partition] = (perPartition[partition] as number) + 1
    names.push(key)
  }
  for (let i = 0; i < records; i++) yield { topic, key: names[i % keys] as Buffer, value: Buffer.from(`record-${i}`) }
}

/** Samples that a summary says were folded before the sentinels. */
export function countOfSummary(record: LogRecord): number {
  const { windowEndMs, count } = codecs.decode('WindowSummary', record.value as Buffer)
  return windowEndMs <= countedThroughMs ? count : 0
}
