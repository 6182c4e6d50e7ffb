/**
 * One member of a consumer group on a log kept in this process.
 *
 * Stages: joined → assigned (positions asked for, awaited) → delivering batch by batch, partition by partition, with a yield
 * between batches → released. No polling: it sleeps until something is appended, resumed or assigned.
 * Invariants: C3 (commits are checked at the moment of writing), C4 (`revoked` is awaited and nothing is delivered after it was
 * called), C6 (a batch never exceeds the limits unless one record alone does; a paused partition is not read), C7 (an offset the
 * log does not hold stops the partition, never jumps).
 */
import { asSluiceError, SluiceError } from '../../../schemas/errors.ts'
import type { CommitEntry, ConsumerEvents, LogConsumer, StartAt, TopicPartition } from '../../../schemas/log.ts'
import { COMMIT_METADATA_BYTES_MAX } from '../../../schemas/log.ts'
import type { Group, GroupMember } from './group.ts'
import { partitionId } from './group.ts'
import type { LocalLog } from './local-log.ts'
import { topicOf } from './store.ts'

interface Owned {
  readonly at: TopicPartition
  readonly epoch: number
  /** Null until it is open, and again once held. */
  position: bigint | null
  isBegun: boolean
  isPaused: boolean
}

export interface ConsumerOptions {
  readonly group: string
  readonly topics: readonly string[]
  readonly bytesInFlightMax?: number
  readonly recordsInFlightMax?: number
  readonly sessionMs?: number
}

export class LocalConsumer implements LogConsumer, GroupMember {
  readonly topics: readonly string[]
  readonly sessionMs: number
  private readonly log: LocalLog
  private readonly onClosed: () => void
  private readonly groupName: string
  private readonly bytesInFlightMax: number
  private readonly recordsInFlightMax: number
  private readonly owned = new Map<string, Owned>()
  private group: Group | null = null
  private events: ConsumerEvents | null = null
  private stopListening: () => void = () => {}
  private isScheduled = false
  private isClosed = false

  constructor(log: LocalLog, options: ConsumerOptions, onClosed: () => void) {
    this.log = log
    this.onClosed = onClosed
    this.groupName = options.group
    this.topics = options.topics
    this.bytesInFlightMax = options.bytesInFlightMax ?? Number.MAX_SAFE_INTEGER
    this.recordsInFlightMax = options.recordsInFlightMax ?? Number.MAX_SAFE_INTEGER
    this.sessionMs = options.sessionMs ?? 45_000
  }

  async start(events: ConsumerEvents): Promise<void> {
    if (this.events !== null) throw new SluiceError('SLU_INTERNAL', 'a consumer is started once')
    for (const topic of this.topics) topicOf(this.log.store, topic)
    this.events = events
    this.stopListening = this.log.store.onAppend(() => this.wake())
    this.group = this.log.group(this.groupName)
    this.group.join(this)
  }

  pause(partitions: readonly TopicPartition[]): void {
    for (const at of partitions) this.setPaused(at, true)
  }

  resume(partitions: readonly TopicPartition[]): void {
    for (const at of partitions) this.setPaused(at, false)
    this.wake()
  }

  async commit(entries: readonly CommitEntry[]): Promise<void> {
    for (const entry of entries) {
      const bytes = Buffer.byteLength(entry.metadata)
      if (bytes > COMMIT_METADATA_BYTES_MAX) throw new SluiceError('SLU_LOG_METADATA_TOO_LARGE', `${entry.topic}/${entry.partition}: ${bytes} bytes`)
    }
    const check = (): void => {
      for (const entry of entries) {
        if (this.group === null) throw new SluiceError('SLU_LOG_STALE_EPOCH', `${entry.topic}/${entry.partition}: not a member`)
        this.group.check(this, entry, entry.epoch)
      }
    }
    check()
    await this.log.store.commit(this.groupName, entries, check)
  }

  endOffset(at: TopicPartition): bigint | null {
    const owned = this.owned.get(partitionId(at))
    return owned === undefined || owned.position === null ? null : this.log.store.range(at).endOffset
  }

  async stop(): Promise<void> {
    if (this.group !== null && !this.isClosed) await this.group.leave(this)
    this.close()
  }

  /** As if the process had died: leaves without a word, and no event is ever raised again. */
  kill(): void {
    this.close()
    this.group?.evict(this)
  }

  /** Thrown out of the group without being told; goes on reading, as a process does that slept through its session. */
  evict(): void {
    this.group?.evict(this)
  }

  /** An evicted member finds out and joins again. */
  async rejoin(): Promise<void> {
    await this.release(true)
    if (!this.isClosed) this.group?.join(this)
  }

  async release(isLost: boolean): Promise<void> {
    const partitions = [...this.owned.values()].map((owned) => owned.at)
    this.owned.clear()
    if (partitions.length === 0 || this.isClosed || this.events === null) return
    try {
      await this.events.revoked(partitions, isLost)
    } catch (error) {
      this.fail(error)
    }
  }

  assign(partitions: readonly TopicPartition[], epoch: number): void {
    if (this.isClosed || this.events === null) return
    const { events } = this
    for (const at of partitions) this.owned.set(partitionId(at), { at, epoch, position: null, isBegun: false, isPaused: false })
    const begin = (start: StartAt): void => {
      this.begin(start, epoch)
      this.wake()
    }
    const assign = async (): Promise<void> => {
      const assignments = partitions.map((at) => ({ ...at, epoch, committed: this.log.store.committed(this.groupName, at) }))
      const starts = new Map((await events.assigned(assignments, begin)).map((start) => [partitionId(start), start]))
      for (const { topic, partition, committed } of assignments)
        begin(starts.get(partitionId({ topic, partition })) ?? { topic, partition, nextOffset: committed?.nextOffset ?? 'start' })
    }
    assign().catch((error: unknown) => this.fail(error))
  }

  /** Once: what is taken back while it opens, or has begun, is left alone. */
  private begin({ topic, partition, nextOffset }: StartAt, epoch: number): void {
    const owned = this.owned.get(partitionId({ topic, partition }))
    if (owned === undefined || owned.epoch !== epoch || owned.isBegun || this.isClosed) return
    owned.isBegun = true
    owned.position = nextOffset === 'start' ? this.log.store.range(owned.at).startOffset : nextOffset
    this.holdIfOutOfRange(owned)
  }

  /** True when the log does not hold the position: the partition stands until assigned anew (C7). */
  private holdIfOutOfRange(owned: Owned): boolean {
    const { position } = owned
    if (position === null) return true
    const { startOffset, endOffset } = this.log.store.range(owned.at)
    if (position >= startOffset && position <= endOffset) return false
    owned.position = null
    const detail = `${owned.at.topic}/${owned.at.partition}: offset ${position}, the log holds ${startOffset} to ${endOffset}`
    this.events?.held(owned.at, new SluiceError('SLU_LOG_TRUNCATED', detail))
    return true
  }

  private setPaused(at: TopicPartition, isPaused: boolean): void {
    const owned = this.owned.get(partitionId(at))
    if (owned !== undefined) owned.isPaused = isPaused
  }

  private wake(): void {
    if (this.isScheduled || this.isClosed || this.owned.size === 0) return
    this.isScheduled = true
    this.log.later(() => {
      this.isScheduled = false
      try {
        this.deliver()
      } catch (error) {
        this.fail(error)
      }
    })
  }

  /** One batch of the first partition that has something; it then goes to the back of the line. */
  private deliver(): void {
    if (this.isClosed || this.events === null) return
    for (const [id, owned] of this.owned) {
      if (owned.position === null || owned.isPaused || this.holdIfOutOfRange(owned)) continue
      const from = owned.position
      const { endOffset } = this.log.store.range(owned.at)
      if (from >= endOffset) continue
      this.owned.delete(id)
      this.owned.set(id, owned)
      const { recordsMax, bytesMax } = this.log.limits()
      const limits = { recordsMax: Math.min(recordsMax, this.recordsInFlightMax), bytesMax: Math.min(bytesMax, this.bytesInFlightMax) }
      const fetched = this.log.store.fetch(owned.at, from, endOffset, limits)
      owned.position = fetched.readTo
      this.wake()
      this.events.records(owned.at, owned.epoch, fetched.records, fetched.readTo)
      return
    }
  }

  private fail(error: unknown): void {
    if (this.isClosed) return
    const { events } = this
    this.close()
    this.group?.evict(this)
    events?.failed(asSluiceError(error, 'SLU_LOG_FAILED'))
  }

  private close(): void {
    this.isClosed = true
    this.onClosed()
    this.stopListening()
    this.owned.clear()
  }
}
