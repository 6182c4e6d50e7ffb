/**
 * What a log kept in this process must store, apart from how groups, tails and producers behave on it.
 *
 * Owns: the port between `local-driver.ts` (groups, tails, producers: the same for every store) and a store (SQLite here, memory in
 * tests), and the checks every append passes first: the topic exists, the partition exists, the record fits (all or nothing).
 */
import { SluiceError } from '../../../schemas/errors.ts'
import type { Appended, Committed, LogRecord, OutRecord, PartitionRange, TopicPartition, TopicSpec, TransactionOffsets } from '../../../schemas/log.ts'
import { partitionOf } from '../partitioner.ts'

/** Holder of a fenced producer's name; an append under an epoch that is not the newest is refused (C8, R1). */
export interface Fence {
  readonly name: string
  readonly epoch: number
}

export interface FetchLimits {
  readonly recordsMax: number
  /** At least one record is returned even if it alone is larger. */
  readonly bytesMax: number
}

export interface Fetched {
  readonly records: LogRecord[]
  /** Position after the fetch; passes over offsets that hold no record (compaction, control records). */
  readonly readTo: bigint
}

export interface OffsetEntry extends TopicPartition, Committed {}

export interface LogStore {
  topic(name: string): TopicSpec | undefined
  topics(): TopicSpec[]
  /** False when it exists already. */
  createTopic(spec: TopicSpec): boolean
  /** Of an existing partition. */
  range(at: TopicPartition): PartitionRange
  /** Records of `[from, below)` within limits; `from` must lie in the range. */
  fetch(at: TopicPartition, from: bigint, below: bigint, limits: FetchLimits): Fetched
  /** All or nothing, `offsets` included, durable when it resolves. Partitions are chosen already. */
  append(records: readonly PlacedRecord[], fence: Fence | null, offsets?: TransactionOffsets): Promise<Appended[]>
  /** Opens a new epoch of the name; durable when it resolves. */
  openFence(name: string): Promise<Fence>
  committed(group: string, at: TopicPartition): Committed | null
  /** `check` runs at the moment of writing and throws when the entries are void by then (C3). */
  commit(group: string, entries: readonly OffsetEntry[], check: () => void): Promise<void>
  /** Called after anything was appended; the returned function ends it. */
  onAppend(listener: () => void): () => void
}

export interface PlacedRecord extends OutRecord {
  readonly partition: number
}

/** Bytes a record counts for: key, value, header names and values. */
export function recordBytes(record: Pick<OutRecord, 'key' | 'value' | 'headers'>): number {
  let bytes = (record.key?.length ?? 0) + (record.value?.length ?? 0)
  for (const [name, value] of record.headers ?? []) bytes += Buffer.byteLength(name) + value.length
  return bytes
}

/** The topic, or SLU_LOG_TOPIC_MISSING. */
export function topicOf(store: Pick<LogStore, 'topic'>, name: string): TopicSpec {
  const spec = store.topic(name)
  if (spec === undefined) throw new SluiceError('SLU_LOG_TOPIC_MISSING', name)
  return spec
}

/** Chooses partitions and refuses what cannot be appended, before anything is. `anyPartition` serves records without a key. */
export function place(store: Pick<LogStore, 'topic'>, records: readonly OutRecord[], anyPartition: (partitions: number) => number): PlacedRecord[] {
  return records.map((record) => {
    const spec = topicOf(store, record.topic)
    const bytes = recordBytes(record)
    if (bytes > spec.maxMessageBytes) throw new SluiceError('SLU_LOG_RECORD_TOO_LARGE', `${record.topic}: ${bytes} bytes, at most ${spec.maxMessageBytes}`)
    if (spec.cleanup === 'compact' && record.key === null) throw new SluiceError('SLU_LOG_FAILED', `${record.topic} is compacted: a record needs a key`)
    if (record.timestampMs !== undefined && !Number.isSafeInteger(record.timestampMs))
      throw new SluiceError('SLU_LOG_FAILED', `${record.topic}: the timestamp is no whole number of milliseconds`)
    const partition = record.partition ?? (record.key === null ? anyPartition(spec.partitions) : partitionOf(record.key, spec.partitions))
    if (!Number.isInteger(partition) || partition < 0 || partition >= spec.partitions)
      throw new SluiceError('SLU_LOG_FAILED', `${record.topic} has partitions 0 to ${spec.partitions - 1}, not ${partition}`)
    return { ...record, partition }
  })
}
