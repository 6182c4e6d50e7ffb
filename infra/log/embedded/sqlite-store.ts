/**
 * The embedded log's store: topics, records, committed offsets and fences in one SQLite file.
 *
 * Stages of a write: queued → all writes queued in this turn share one transaction (group commit, bounded) → durable → ends of
 * partitions move in memory → promises resolve → readers are told. A failed transaction moves nothing and rejects all it held.
 * Over 300 lines because statements, queue and what memory knows of the file must agree at every step.
 * Invariants: C2 (offset and metadata are one row), C3 and C8 (ownership and fence are checked inside the transaction that writes).
 */
import type { SQLInputValue, StatementSync } from 'node:sqlite'
import { SluiceError } from '../../../schemas/errors.ts'
import type { Appended, Committed, LogRecord, PartitionRange, TopicPartition, TopicSpec, TransactionOffsets } from '../../../schemas/log.ts'
import type { Clock } from '../../../schemas/ports.ts'
import type { OpenedDatabase } from './database.ts'
import { OFFSETS_PER_PARTITION, PARTITION_COUNT_MAX, storageError } from './database.ts'
import { decodeHeaders, encodeHeaders } from './headers.ts'
import type { Fence, FetchLimits, Fetched, LogStore, OffsetEntry, PlacedRecord } from './store.ts'
import { recordBytes, topicOf } from './store.ts'

/** What a partition's bounds are; offsets below 2^40 are exact as numbers. */
export interface PartitionState {
  readonly id: number
  readonly topic: string
  readonly partition: number
  startOffset: number
  endOffset: number
}

interface Topic {
  readonly spec: TopicSpec
  readonly partitions: PartitionState[]
}

/** One queued write. `write` runs inside the transaction; what it throws rejects this write alone and must come before it has written. */
interface Write {
  readonly bytes: number
  write(): void
  done(): void
  failed(error: SluiceError): void
}

/** A transaction takes queued writes until it holds this much, so that one flush never blocks the loop for long. */
const TRANSACTION_BYTES_MAX = 4 << 20
/** Bytes a row counts for besides its content. */
const ROW_BYTES = 32

type Row = [id: number, timestampMs: number, key: Uint8Array | null, headers: Uint8Array | null, value: Uint8Array | null]

const asBuffer = (bytes: Uint8Array | null): Buffer | null => (bytes === null ? null : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
const firstId = (partition: PartitionState): number => partition.id * OFFSETS_PER_PARTITION

export class SqliteStore implements LogStore {
  readonly opened: OpenedDatabase
  private readonly clock: Clock
  private readonly byName = new Map<string, Topic>()
  private readonly listeners = new Set<() => void>()
  private readonly statements: Record<'insert' | 'fetch' | 'moveEnd' | 'committed' | 'commit' | 'fence' | 'openFence', StatementSync>
  private partitionCount = 0
  private queue: Write[] = []
  private isFlushing = false
  private isClosed = false

  constructor(opened: OpenedDatabase, clock: Clock) {
    this.opened = opened
    this.clock = clock
    try {
      const { db } = opened
      this.statements = {
        insert: db.prepare('INSERT INTO records (id, timestamp_ms, is_compact, key, headers, value) VALUES (?, ?, ?, ?, ?, ?)'),
        fetch: db.prepare('SELECT id, timestamp_ms, key, headers, value FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?'),
        moveEnd: db.prepare('UPDATE partitions SET end_offset = ? WHERE id = ?'),
        committed: db.prepare('SELECT next_offset, metadata FROM offsets WHERE consumer_group = ? AND topic = ? AND partition = ?'),
        commit: db.prepare('INSERT OR REPLACE INTO offsets (consumer_group, topic, partition, next_offset, metadata) VALUES (?, ?, ?, ?, ?)'),
        fence: db.prepare('SELECT epoch FROM fences WHERE name = ?'),
        openFence: db.prepare('INSERT INTO fences (name, epoch) VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1'),
      }
      this.statements.fetch.setReturnArrays(true)
      this.statements.committed.setReadBigInts(true)
      this.load()
    } catch (error) {
      throw storageError(opened.file, error)
    }
  }

  private load(): void {
    const { db } = this.opened
    for (const row of db.prepare('SELECT name, spec FROM topics ORDER BY name').all())
      this.byName.set(row['name'] as string, { spec: JSON.parse(row['spec'] as string) as TopicSpec, partitions: [] })
    for (const row of db.prepare('SELECT id, topic, partition, start_offset, end_offset FROM partitions ORDER BY id').all()) {
      const topic = row['topic'] as string
      const partition = row['partition'] as number
      const state = { id: row['id'] as number, topic, partition, startOffset: row['start_offset'] as number, endOffset: row['end_offset'] as number }
      const known = this.byName.get(topic)
      if (known === undefined) throw new SluiceError('SLU_LOG_STORAGE', `${this.opened.file}: partition ${partition} of a topic that is not listed, ${topic}`)
      known.partitions[partition] = state
      this.partitionCount += 1
    }
  }

  topic(name: string): TopicSpec | undefined {
    return this.byName.get(name)?.spec
  }

  topics(): TopicSpec[] {
    return [...this.byName.values()].map((topic) => topic.spec)
  }

  createTopic(spec: TopicSpec): boolean {
    if (this.byName.has(spec.name)) return false
    if (!Number.isInteger(spec.partitions) || spec.partitions < 1 || this.partitionCount + spec.partitions >= PARTITION_COUNT_MAX)
      throw new SluiceError('SLU_LOG_FAILED', `${spec.name}: ${spec.partitions} partitions; at least 1, and fewer than ${PARTITION_COUNT_MAX} in the whole log`)
    const states = Array.from({ length: spec.partitions }, (_, partition) => ({
      id: this.partitionCount + partition,
      topic: spec.name,
      partition,
      startOffset: 0,
      endOffset: 0,
    }))
    this.inTransaction((db) => {
      db.prepare('INSERT INTO topics (name, spec) VALUES (?, ?)').run(spec.name, JSON.stringify(spec))
      const insert = db.prepare('INSERT INTO partitions (id, topic, partition, start_offset, end_offset) VALUES (?, ?, ?, 0, 0)')
      for (const state of states) insert.run(state.id, spec.name, state.partition)
    })
    this.byName.set(spec.name, { spec, partitions: states })
    this.partitionCount += spec.partitions
    return true
  }

  range(at: TopicPartition): PartitionRange {
    const { startOffset, endOffset } = this.state(at)
    return { partition: at.partition, startOffset: BigInt(startOffset), endOffset: BigInt(endOffset) }
  }

  /** Bounds of every partition, for housekeeping. */
  *states(): Generator<{ readonly spec: TopicSpec; readonly state: PartitionState }> {
    for (const { spec, partitions } of this.byName.values()) for (const state of partitions) yield { spec, state }
  }

  fetch(at: TopicPartition, from: bigint, below: bigint, limits: FetchLimits): Fetched {
    const state = this.state(at)
    const isAppendTime = topicOf(this, at.topic).timestampType === 'LogAppendTime'
    const base = firstId(state)
    const records: LogRecord[] = []
    let bytes = 0
    try {
      const rows = this.statements.fetch.iterate(base + Number(from), base + Number(below), limits.recordsMax) as unknown as Iterable<Row>
      for (const [id, timestampMs, key, headers, value] of rows) {
        const record: LogRecord = {
          topic: at.topic,
          partition: at.partition,
          offset: BigInt(id - base),
          timestampMs,
          appendMs: isAppendTime ? timestampMs : null,
          key: asBuffer(key),
          value: asBuffer(value),
          headers: decodeHeaders(asBuffer(headers)),
        }
        bytes += recordBytes(record)
        if (records.length > 0 && bytes > limits.bytesMax) return { records, readTo: after(records) }
        records.push(record)
      }
    } catch (error) {
      throw storageError(this.opened.file, error)
    }
    return { records, readTo: records.length < limits.recordsMax ? below : after(records) }
  }

  async append(records: readonly PlacedRecord[], fence: Fence | null, offsets?: TransactionOffsets): Promise<Appended[]> {
    let appended: Appended[] = []
    let bytes = 0
    for (const record of records) bytes += recordBytes(record) + ROW_BYTES
    await this.enqueue(bytes, () => {
      if (fence !== null && this.statements.fence.get(fence.name)?.['epoch'] !== fence.epoch) throw new SluiceError('SLU_LOG_FENCED', fence.name)
      const appendMs = this.clock.nowMs()
      appended = records.map((record) => this.insert(record, appendMs))
      for (const entry of offsets?.entries ?? []) this.statements.commit.run(offsets?.group as string, entry.topic, entry.partition, entry.nextOffset, entry.metadata)
    })
    return appended
  }

  async openFence(name: string): Promise<Fence> {
    let epoch = 0
    await this.enqueue(ROW_BYTES, () => {
      this.statements.openFence.run(name)
      epoch = this.statements.fence.get(name)?.['epoch'] as number
    })
    return { name, epoch }
  }

  committed(group: string, at: TopicPartition): Committed | null {
    try {
      const row = this.statements.committed.get(group, at.topic, at.partition)
      return row === undefined ? null : { nextOffset: row['next_offset'] as bigint, metadata: row['metadata'] as string }
    } catch (error) {
      throw storageError(this.opened.file, error)
    }
  }

  async commit(group: string, entries: readonly OffsetEntry[], check: () => void): Promise<void> {
    await this.enqueue(entries.length * ROW_BYTES, () => {
      check()
      for (const entry of entries) this.statements.commit.run(group, entry.topic, entry.partition, entry.nextOffset, entry.metadata)
    })
  }

  onAppend(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Runs work in a transaction of its own, now; nothing of it stays if it throws. */
  inTransaction(work: (db: OpenedDatabase['db']) => void): void {
    const { db, file } = this.opened
    try {
      db.exec('BEGIN IMMEDIATE')
      work(db)
      db.exec('COMMIT')
    } catch (error) {
      if (db.isOpen && db.isTransaction) db.exec('ROLLBACK')
      throw storageError(file, error)
    }
  }

  /** Writes what is queued, then closes the file. */
  async close(): Promise<void> {
    if (this.isClosed) return
    while (this.queue.length > 0) this.flush()
    this.isClosed = true
    try {
      this.opened.db.close()
    } catch (error) {
      throw storageError(this.opened.file, error)
    }
  }

  private state(at: TopicPartition): PartitionState {
    topicOf(this, at.topic)
    const state = this.byName.get(at.topic)?.partitions[at.partition]
    if (state === undefined) throw new SluiceError('SLU_LOG_FAILED', `${at.topic} has no partition ${at.partition}`)
    return state
  }

  /** Ends reached inside the transaction under way; they count once it is durable. */
  private readonly movedEnds = new Map<PartitionState, number>()

  private insert(record: PlacedRecord, appendMs: number): Appended {
    const state = this.state(record)
    const { spec } = this.byName.get(record.topic) as Topic
    const offset = this.movedEnds.get(state) ?? state.endOffset
    const timestampMs = spec.timestampType === 'LogAppendTime' ? appendMs : (record.timestampMs ?? appendMs)
    const row: SQLInputValue[] = [firstId(state) + offset, timestampMs, spec.cleanup === 'compact' ? 1 : 0, record.key, encodeHeaders(record.headers), record.value]
    this.statements.insert.run(...row)
    this.movedEnds.set(state, offset + 1)
    return { topic: record.topic, partition: record.partition, offset: BigInt(offset) }
  }

  private enqueue(bytes: number, write: () => void): Promise<void> {
    if (this.isClosed) return Promise.reject(new SluiceError('SLU_LOG_STORAGE', `${this.opened.file}: closed`))
    return new Promise<void>((resolve, reject) => {
      this.queue.push({ bytes, write, done: resolve, failed: reject })
      this.flushSoon()
    })
  }

  private flushSoon(): void {
    if (this.isFlushing || this.queue.length === 0) return
    this.isFlushing = true
    setImmediate(() => {
      this.isFlushing = false
      this.flush()
      this.flushSoon()
    })
  }

  /** One transaction over the writes at the head of the queue. */
  private flush(): void {
    let bytes = 0
    let count = 0
    while (count < this.queue.length && (count === 0 || bytes < TRANSACTION_BYTES_MAX)) {
      bytes += (this.queue[count] as Write).bytes
      count += 1
    }
    const writes = this.queue.splice(0, count)
    if (writes.length === 0) return
    const refused = new Map<Write, SluiceError>()
    this.movedEnds.clear()
    try {
      this.inTransaction(() => {
        for (const write of writes) {
          try {
            write.write()
          } catch (error) {
            if (!(error instanceof SluiceError)) throw error
            refused.set(write, error)
          }
        }
        for (const [state, endOffset] of this.movedEnds) this.statements.moveEnd.run(endOffset, state.id)
      })
    } catch (error) {
      const failure = storageError(this.opened.file, error)
      for (const write of writes) write.failed(refused.get(write) ?? failure)
      return
    }
    for (const [state, endOffset] of this.movedEnds) state.endOffset = endOffset
    for (const write of writes) {
      const error = refused.get(write)
      if (error === undefined) write.done()
      else write.failed(error)
    }
    if (this.movedEnds.size > 0) for (const listener of this.listeners) listener()
  }
}

const after = (records: readonly LogRecord[]): bigint => (records.at(-1) as LogRecord).offset + 1n
