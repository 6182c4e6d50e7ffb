/**
 * The log seam: the only shape in which the rest of Sluice sees a log (Kafka, the embedded log, the in-memory twin).
 *
 * Owns: the types of records, consumers, producers, readers and admin, and what each promises. No client type passes it.
 * Must hold for every driver (one conformance suite): C2, C3, C4, C6, C7, C8 and the fencing that R1 rests on.
 * Topic names here are the broker's own (with `topicPrefix`); the prefix is put on by the runner.
 */

export interface TopicPartition {
  readonly topic: string
  readonly partition: number
}

/** Header order is kept; a header name may repeat. */
export type LogHeaders = readonly (readonly [name: string, value: Buffer])[]

/** One message of the log. `timestampMs` is what the log stores (create or append time); `appendMs` is the broker's append time, null where the topic keeps the producer's. */
export interface LogRecord extends TopicPartition {
  readonly offset: bigint
  readonly timestampMs: number
  readonly appendMs: number | null
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers: LogHeaders
}

/** A record to append. Without `partition` it is chosen as Kafka's default partitioner does (murmur2 of the key; a null key: any). */
export interface OutRecord {
  readonly topic: string
  readonly partition?: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: LogHeaders
  /** Epoch ms; ignored by the log where the topic keeps append time. */
  readonly timestampMs?: number
  /** Where the log refuses it as too large it may be packed: it keeps the bytes of a record that may have come packed (D2). */
  readonly mayPack?: true
}

/** Where one `OutRecord` landed, in the order sent. */
export interface Appended extends TopicPartition {
  readonly offset: bigint
}

export interface Committed {
  readonly nextOffset: bigint
  readonly metadata: string
}

/** A partition handed to this member. `epoch` rises with every assignment; work of an older epoch is void (C3). Offset and metadata come from one read (C2). */
export interface Assignment extends TopicPartition {
  readonly epoch: number
  readonly committed: Committed | null
}

/** Where to begin. `'start'` = the log's first record. A number below the log's start holds the partition with SLU_LOG_TRUNCATED (C7). */
export interface StartAt extends TopicPartition {
  readonly nextOffset: bigint | 'start'
}

export interface CommitEntry extends TopicPartition {
  readonly epoch: number
  readonly nextOffset: bigint
  /** At most 3,500 bytes of UTF-8 (C2). */
  readonly metadata: string
}

export interface ConsumerEvents {
  /**
   * No record of a partition is delivered before `begin` is called for it, or the promise resolves with where it begins: one that takes long to open
   * keeps no other from going on (B6). It may be revoked while it opens; what comes of that is void.
   */
  assigned(assignments: readonly Assignment[], begin?: (start: StartAt) => void): Promise<readonly StartAt[]>
  /** Awaited before the group may go on. `lost` = we were thrown out: drop state, do not commit (C4). */
  revoked(partitions: readonly TopicPartition[], lost: boolean): Promise<void>
  /** `readTo` = position after this fetch, control records included; `records` may be empty. Never called after `revoked` for that epoch. */
  records(partition: TopicPartition, epoch: number, records: readonly LogRecord[], readTo: bigint): void
  /** The partition stands still until re-assigned, e.g. SLU_LOG_TRUNCATED (C7). */
  held(partition: TopicPartition, error: Error): void
  /** What keeps one partition from being read though it is tried again, told when it begins or becomes something else; null = it is over. The others go on. */
  stalled?(partition: TopicPartition, error: Error | null): void
  /** What keeps it from the log though it goes on trying, told when it begins or becomes something else; null = it is over. */
  troubled?(error: Error | null): void
  /** The consumer has ended by itself and will not go on (bad credentials, missing topic…). */
  failed(error: Error): void
}

export interface LogConsumer {
  /** Resolves when the member has joined; a missing topic or an unreachable log rejects with a SluiceError. */
  start(events: ConsumerEvents): Promise<void>
  pause(partitions: readonly TopicPartition[]): void
  resume(partitions: readonly TopicPartition[]): void
  /** Rejects with SLU_LOG_STALE_EPOCH when an entry's epoch is no longer ours; retried inside only while it is (C3). */
  commit(entries: readonly CommitEntry[]): Promise<void>
  /** Position of the end (next offset to be written, committed or not) as last seen; null before the first fetch answered. */
  endOffset(partition: TopicPartition): bigint | null
  /** Revokes (not lost), leaves the group, closes. */
  stop(): Promise<void>
}

export interface LogProducer {
  /** Resolves when every record is acknowledged by all in-sync replicas; order per partition is kept; idempotent. Rejects with SLU_LOG_RECORD_TOO_LARGE, SLU_LOG_UNREACHABLE, SLU_LOG_NOT_READY… */
  send(records: readonly OutRecord[]): Promise<Appended[]>
  close(): Promise<void>
}

/** Committed offsets that move together with the records of a transaction, or not at all. */
export interface TransactionOffsets {
  readonly group: string
  readonly entries: readonly (TopicPartition & Committed)[]
}

/** One holder per name: opening it fences every earlier holder, whose next write rejects with SLU_LOG_FENCED (C8, R1). */
export interface FencedProducer {
  /**
   * All or nothing, `offsets` included. Offsets returned are those given by the log. Whether the partitions of `offsets` are ours is not asked
   * (there is no KIP-447 here): the name of the producer is the fence, so one name per input partition.
   */
  transaction(records: readonly OutRecord[], offsets?: TransactionOffsets): Promise<Appended[]>
  close(): Promise<void>
}

export interface TailBatch extends TopicPartition {
  readonly records: readonly LogRecord[]
  /** Position after this fetch, control records included. */
  readonly readTo: bigint
}

export interface TailOptions {
  readonly topic: string
  readonly partitions: readonly number[] | 'all'
  /** `'start'`, `'end'`, or a next offset per partition (a partition left out starts at the start). Below the log's start: rejects with SLU_LOG_TRUNCATED. */
  readonly from: 'start' | 'end' | ReadonlyMap<number, bigint>
  /** Leave out records of open and aborted transactions. */
  readonly committedOnly: boolean
  /** End the iteration at the ends seen when the tail was opened; otherwise it follows. */
  readonly untilEnd: boolean
}

/** Group-less reading: tables and tails. Iterate once. */
export interface LogTail extends AsyncIterable<TailBatch> {
  /** Resolves once everything up to the ends seen at opening has been yielded. */
  readonly caughtUp: Promise<void>
  close(): Promise<void>
}

export interface LogReader {
  open(options: TailOptions): Promise<LogTail>
  close(): Promise<void>
}

export interface TopicSpec {
  readonly name: string
  readonly partitions: number
  readonly replication: number
  readonly timestampType: 'CreateTime' | 'LogAppendTime'
  readonly cleanup: 'delete' | 'compact'
  /** Milliseconds; -1 = for ever. */
  readonly retentionMs: number
  readonly maxMessageBytes: number
}

export interface TopicInfo {
  readonly name: string
  readonly partitions: number
  /** Settings; null = we may not see them. */
  readonly timestampType: 'CreateTime' | 'LogAppendTime' | null
  readonly cleanup: string | null
  readonly retentionMs: number | null
  readonly maxMessageBytes?: number | null
}

export interface PartitionRange {
  readonly partition: number
  /** First offset still held. */
  readonly startOffset: bigint
  /** Next offset to be written. */
  readonly endOffset: bigint
}

export interface LogAdmin {
  /** Those whose names begin with `prefix` that we may see. A right that is lacking hides a topic, or its settings. */
  topics(prefix: string): Promise<TopicInfo[]>
  /** Creates what is missing and waits until every partition has a leader; existing topics are left alone and listed. */
  createTopics(specs: readonly TopicSpec[]): Promise<{ created: string[]; existing: string[] }>
  /** Rejects with SLU_LOG_TOPIC_MISSING. */
  ranges(topic: string): Promise<PartitionRange[]>
  committed(group: string, topic: string): Promise<Map<number, Committed>>
  /** Whether we may write to the topic; writes nothing. Rejects with SLU_LOG_TOPIC_MISSING. */
  mayAppend(topic: string): Promise<boolean>
  close(): Promise<void>
}

export interface LogCapabilities {
  /** Records and committed offsets in one transaction of a fenced producer. */
  readonly transactions: boolean
  readonly commitMetadata: boolean
  readonly perPartitionPause: 'native' | 'emulated'
  readonly codecs: readonly string[]
}

export interface LogDriver {
  readonly name: 'kafka' | 'embedded' | 'memory'
  readonly capabilities: LogCapabilities
  /**
   * One member of `group`. Groups begin at the start of the log unless committed (C7).
   * C6: a delivery has at most `bytesInFlightMax` bytes and one batch, and aims at no more than `recordsInFlightMax` records of a partition.
   */
  consumer(options: { group: string; topics: readonly string[]; bytesInFlightMax?: number; recordsInFlightMax?: number; sessionMs?: number }): LogConsumer
  producer(): LogProducer
  /** Resolves once every earlier holder of `name` is refused. */
  fencedProducer(name: string): Promise<FencedProducer>
  reader(): LogReader
  admin(): LogAdmin
  /** Closes what it handed out too. */
  close(): Promise<void>
}

/** Commit metadata above this is refused before it is sent; brokers stop at 4,096 (C2). */
export const COMMIT_METADATA_BYTES_MAX = 3500
