/**
 * The topic table (design.md §4.1): every topic Sluice reads or writes, with the settings a guarantee rests on.
 *
 * Owns: logical names, timestamp type (W1: windowed inputs carry append time), cleanup, default partitions and retention, and the
 * `.late`/`.dlq` companions. `sluice topics apply` and `sluice start` create from here; nothing relies on auto-creation.
 */
import type { LogRecord, TopicSpec } from './log.ts'

export interface TopicRow {
  readonly name: string
  readonly timestampType: 'CreateTime' | 'LogAppendTime'
  readonly cleanup: 'delete' | 'compact'
  /** `late`: a windowed input; `dlq`: an input of any function. */
  readonly companions: readonly ('late' | 'dlq')[]
  /** 'default' follows `log.topics.partitions`; 'requests' = same fixed count for requests and results (R1); 'partials' follows it up to `PARTIALS_PARTITIONS_MAX`. */
  readonly partitions: 'default' | 'requests' | 'partials'
  readonly retentionMs: number
  readonly value: string
}

const HOUR = 3_600_000
/**
 * Every source partition marks every window in every partition of the partials (W7): with 64 of both that is 4,096 markers a window. Stage 2 is shared by
 * partitions, and costs about 20 µs a partial: eight members can take in 400,000 a second.
 */
export const PARTIALS_PARTITIONS_MAX = 8
export const COMPANION_HEADER_BYTES = 64 * 1024
/** A row with the usual settings. */
export const topicRow = (name: string, value: string, more: Partial<TopicRow> = {}): TopicRow => ({
  name,
  value,
  timestampType: 'LogAppendTime',
  cleanup: 'delete',
  companions: ['dlq'],
  partitions: 'default',
  retentionMs: 24 * HOUR,
  ...more,
})

/** The name of a topic without the prefix of the site; one of somebody else's is left as it is. */
export const logicalName = (topic: string, prefix: string): string => (topic.startsWith(prefix) ? topic.slice(prefix.length) : topic)

/** A record of the logical `topic`, under that name. */
export const localise = (record: LogRecord, topic: string): LogRecord => (record.topic === topic ? record : { ...record, topic })

export const topics: readonly TopicRow[] = [
  topicRow('telemetry.dcgm', 'Prometheus text as dcgm-exporter prints it'),
  topicRow('telemetry.neuron', 'neuron-monitor JSON'),
  topicRow('hardware.telemetry', 'Avro NodeBatch', { companions: ['late', 'dlq'] }),
  topicRow('hardware.health', 'Avro HealthEvent', { retentionMs: 168 * HOUR }),
  topicRow('device.health', 'Avro DeviceHealth', { cleanup: 'compact', retentionMs: -1 }),
  topicRow('pool.health', 'Avro EndpointHealth', { cleanup: 'compact', retentionMs: -1 }),
  topicRow('metrics.partials', 'Avro WindowPartial, WindowMarker', { companions: ['late', 'dlq'], partitions: 'partials', retentionMs: 168 * HOUR }),
  topicRow('metrics.windows', 'Avro WindowSummary', { retentionMs: 168 * HOUR }),
  topicRow('inference.requests', 'Avro InferenceRequest or JSON of the same shape', { partitions: 'requests' }),
  topicRow('inference.results', 'Avro InferenceResult or JSON', { partitions: 'requests', retentionMs: 72 * HOUR }),
  topicRow('egress.receipts', 'Avro EgressReceipt', { retentionMs: 720 * HOUR }),
]

export interface TopicSettings {
  readonly prefix: string
  readonly partitions: number
  readonly replication: number
  readonly maxMessageBytes: number
}

/** Every topic to create, companions included, with broker names, each once. */
export function topicSpecs(settings: TopicSettings, rows: readonly TopicRow[] = topics): TopicSpec[] {
  const spec = (row: TopicRow, suffix: '' | '.late' | '.dlq'): TopicSpec => ({
    name: settings.prefix + row.name + suffix,
    partitions: row.partitions === 'partials' ? Math.min(settings.partitions, PARTIALS_PARTITIONS_MAX) : settings.partitions,
    replication: settings.replication,
    // Companions keep the timestamp of the source record (D2) and must fit its bytes plus our headers.
    timestampType: suffix === '' ? row.timestampType : 'CreateTime',
    cleanup: suffix === '' ? row.cleanup : 'delete',
    retentionMs: suffix === '' ? row.retentionMs : 168 * HOUR,
    maxMessageBytes: settings.maxMessageBytes + (suffix === '' ? 0 : COMPANION_HEADER_BYTES),
  })
  const specs = new Map<string, TopicSpec>()
  // A handler may read another's dead letters: they stay what they are.
  for (const each of rows.flatMap((row) => [spec(row, ''), ...row.companions.map((c) => spec(row, `.${c}`))])) if (!specs.has(each.name)) specs.set(each.name, each)
  return [...specs.values()]
}
