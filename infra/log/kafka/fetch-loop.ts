/**
 * The poll loop under the group member and the readers: fetches partitions from their leaders and hands over what came.
 *
 * Owns: positions, per-partition pause, one request in flight per leader, leadership moves (new metadata, no rejoin), truncation (C7), back-off.
 * Stages of a turn: which partitions does this leader have that are not paused → fetch → hand over in the order of the answer.
 * Invariants: C4 (a partition that was removed or added anew gets nothing of an older fetch), C6 (a request asks for at most `bytesMax`; a paused
 * partition is not asked for, and what was under way for it is thrown away and asked for again), fairness (kafkajs shuffles the partitions of
 * a request, KIP-74).
 */
import type { LogRecord, TopicPartition } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { typeOf } from './errors.ts'
import { appendMsOf, headersOf, readFetched, type Broker, type Cluster, type FetchedPartition, type RawMessage } from './kafkajs.ts'

export interface FetchLoopOptions {
  readonly cluster: Cluster
  readonly committedOnly: boolean
  readonly bytesMax: number
  readonly onFetched: (tp: TopicPartition, records: readonly LogRecord[], readTo: bigint) => void
  readonly onTruncated: (tp: TopicPartition, error: SluiceError) => void
  /** What a leader or the metadata (`source`) met. The loop goes on trying. */
  readonly onProblem: (error: unknown, source: string) => void
  /** A source that had a problem answered, or nothing is wanted of it any more. */
  readonly onWell?: (source: string) => void
}

interface Position extends TopicPartition {
  next: bigint
  end: bigint | null
  isPaused: boolean
  isHeld: boolean
}

const PARTITION_BYTES_MAX = 1 << 20
const WAIT_MS = 500
const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 1000

const METADATA = 'metadata'
const leaderName = (nodeId: number): string => `leader ${nodeId}`

const keyOf = (tp: TopicPartition): string => `${tp.topic}/${tp.partition}`

const toRecord = (tp: TopicPartition, m: RawMessage): LogRecord => ({
  topic: tp.topic,
  partition: tp.partition,
  offset: BigInt(m.offset),
  timestampMs: Number(m.timestamp),
  appendMs: appendMsOf(m),
  key: m.key,
  value: m.value,
  headers: headersOf(m.headers),
})

export class FetchLoop {
  readonly #options: FetchLoopOptions
  readonly #positions = new Map<string, Position>()
  readonly #running = new Map<number, Promise<void>>()
  /** A pause may come before the partition is added: while its owner still opens it. */
  readonly #paused = new Set<string>()
  /** Leaders whose newest request failed. */
  readonly #failing = new Set<number>()
  #isStopped = false
  #backoffMs = BACKOFF_MIN_MS
  #retryTimer: NodeJS.Timeout | null = null

  constructor(options: FetchLoopOptions) {
    this.#options = options
  }

  add(tp: TopicPartition, next: bigint): void {
    this.#positions.set(keyOf(tp), { topic: tp.topic, partition: tp.partition, next, end: null, isPaused: this.#paused.has(keyOf(tp)), isHeld: false })
    this.#wake()
  }

  remove(tp: TopicPartition): void {
    this.#positions.delete(keyOf(tp))
    this.#paused.delete(keyOf(tp))
    this.#forgetLeaders()
  }

  pause(tp: TopicPartition): void {
    this.#paused.add(keyOf(tp))
    const position = this.#positions.get(keyOf(tp))
    if (position !== undefined) position.isPaused = true
  }

  resume(tp: TopicPartition): void {
    this.#paused.delete(keyOf(tp))
    const position = this.#positions.get(keyOf(tp))
    if (position === undefined) return
    position.isPaused = false
    this.#wake()
  }

  endOffset(tp: TopicPartition): bigint | null {
    return this.#positions.get(keyOf(tp))?.end ?? null
  }

  /** Nothing is handed over after the call; requests under way end with the connection. */
  stop(): void {
    this.#isStopped = true
    this.#positions.clear()
    if (this.#retryTimer !== null) clearTimeout(this.#retryTimer)
  }

  #leaderOf(p: Position): number | null {
    const leader = this.#options.cluster.findTopicPartitionMetadata(p.topic).find((m) => m.partitionId === p.partition)?.leader
    return leader === undefined || leader < 0 ? null : leader
  }

  #well(nodeId: number): void {
    if (this.#failing.delete(nodeId)) this.#options.onWell?.(leaderName(nodeId))
  }

  /** Those that failed and lead nothing of ours any more. */
  #forgetLeaders(): void {
    if (this.#failing.size === 0) return
    const leaders = new Set([...this.#positions.values()].map((p) => this.#leaderOf(p)))
    for (const nodeId of this.#failing) if (!leaders.has(nodeId)) this.#well(nodeId)
  }

  #wanted(): Position[] {
    return [...this.#positions.values()].filter((p) => !p.isPaused && !p.isHeld)
  }

  /** Starts a loop for every leader that has something to read and none running. */
  #wake(): void {
    if (this.#isStopped) return
    let isHomeless = false
    for (const position of this.#wanted()) {
      const leader = this.#leaderOf(position)
      if (leader === null) isHomeless = true
      else if (!this.#running.has(leader))
        this.#running.set(
          leader,
          this.#run(leader).finally(() => {
            this.#running.delete(leader)
            this.#wakeIfNeeded()
          }),
        )
    }
    if (isHomeless) this.#retryLater()
  }

  /** A resume may have come between a loop's last look and its end. */
  #wakeIfNeeded(): void {
    if (!this.#isStopped && this.#retryTimer === null && this.#wanted().length > 0) this.#wake()
  }

  #retryLater(): void {
    if (this.#retryTimer !== null || this.#isStopped) return
    this.#retryTimer = setTimeout(() => {
      void this.#options.cluster
        .refreshMetadata()
        .then(
          () => this.#options.onWell?.(METADATA),
          (error: unknown) => this.#options.onProblem(error, METADATA),
        )
        .then(() => {
          this.#retryTimer = null
          this.#forgetLeaders()
          this.#wake()
        })
    }, this.#backoffMs)
    this.#backoffMs = Math.min(BACKOFF_MAX_MS, this.#backoffMs * 2)
  }

  async #run(nodeId: number): Promise<void> {
    while (!this.#isStopped) {
      const mine = this.#wanted().filter((p) => this.#leaderOf(p) === nodeId)
      if (mine.length === 0) return
      try {
        const broker = await this.#options.cluster.findBroker({ nodeId })
        await this.#fetch(broker, mine)
        this.#backoffMs = BACKOFF_MIN_MS
        this.#well(nodeId)
      } catch (error) {
        if (this.#isStopped) return
        if (this.#isTruncation(error, mine)) continue
        this.#failing.add(nodeId)
        this.#options.onProblem(error, leaderName(nodeId))
        this.#retryLater()
        return
      }
    }
  }

  async #fetch(broker: Broker, mine: readonly Position[]): Promise<void> {
    const topics = [...new Set(mine.map((p) => p.topic))]
    const asked = new Map(mine.map((p) => [keyOf(p), { position: p, at: p.next }]))
    const { responses } = await broker.fetch({
      maxWaitTime: WAIT_MS,
      minBytes: 1,
      maxBytes: this.#options.bytesMax,
      isolationLevel: this.#options.committedOnly ? 1 : 0,
      topics: topics.map((topic) => ({
        topic,
        partitions: mine
          .filter((p) => p.topic === topic)
          .map((p) => ({ partition: p.partition, fetchOffset: p.next.toString(), maxBytes: Math.min(PARTITION_BYTES_MAX, this.#options.bytesMax) })),
      })),
    })
    for (const { topicName, partitions } of responses)
      for (const fetched of partitions) {
        const entry = asked.get(keyOf({ topic: topicName, partition: fetched.partition }))
        if (entry !== undefined) this.#take(entry.position, entry.at, fetched)
      }
  }

  #take(position: Position, at: bigint, fetched: FetchedPartition): void {
    // Removed, added anew, paused or moved meanwhile: what came is void (C4, C6).
    if (this.#isStopped || this.#positions.get(keyOf(position)) !== position || position.isPaused || position.next !== at) return
    position.end = BigInt(fetched.highWatermark)
    const read = readFetched(at, fetched)
    if (read === null) return
    position.next = read.readTo
    if (read.readTo > position.end) position.end = read.readTo
    this.#options.onFetched(
      { topic: position.topic, partition: position.partition },
      read.messages.map((m) => toRecord(position, m)),
      read.readTo,
    )
  }

  /** C7: the partition stands; the others go on. */
  #isTruncation(error: unknown, mine: readonly Position[]): boolean {
    if (typeOf(error) !== 'OFFSET_OUT_OF_RANGE') return false
    const { topic, partition } = error as { topic?: string; partition?: number }
    const position = mine.find((p) => p.topic === topic && p.partition === partition)
    if (position === undefined) return false
    position.isHeld = true
    if (this.#positions.get(keyOf(position)) === position)
      this.#options.onTruncated({ topic: position.topic, partition: position.partition }, new SluiceError('SLU_LOG_TRUNCATED', `${keyOf(position)} at ${position.next}`, error))
    return true
  }
}
