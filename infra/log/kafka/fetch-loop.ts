/**
 * The poll loop under the group member and the readers: fetches partitions from their leaders and hands over what came.
 *
 * Owns: one request in flight per leader, leadership moves (new metadata, no rejoin), truncation (C7), back-off: of a leader
 * that does not answer, and of a partition that is refused or holds a batch that cannot be read, while the others go on (B6, D6).
 * Stages of a turn: which partitions does this leader have that are not paused → fetch → hand over in the order of the answer.
 * Invariants: C4 (a partition that was removed or added anew gets nothing of an older fetch), C6 (a request asks for at most `bytesMax`, and of a partition
 * for its share of them or as many as `recordsMax` of its records lately had; a paused partition is not asked for, and what was under way for it is thrown away and
 * asked for again), fairness (kafkajs shuffles the partitions of a request, KIP-74).
 */
import type { LogRecord, TopicPartition } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { typeOf } from './errors.ts'
import { ANSWER_BYTES_MAX, firstAskBytes, nextAskBytes, waitMs } from './fetch-limits.ts'
import { readFetched, refusalOf, sizeOf, unreadOf } from './fetch-response.ts'
import type { Broker, Cluster, FetchedPartition } from './kafkajs.ts'
import { keyOf, Positions, type Position } from './positions.ts'
import { logRecordOf } from './record.ts'

export interface FetchLoopOptions {
  readonly cluster: Cluster
  readonly committedOnly: boolean
  readonly bytesMax: number
  /** Records of one partition that a request should bring at most, by the size that its records had; Infinity = as many as there are. */
  readonly recordsMax: number
  readonly onFetched: (tp: TopicPartition, records: readonly LogRecord[], readTo: bigint) => void
  readonly onTruncated: (tp: TopicPartition, error: SluiceError) => void
  /** What keeps one partition from being read, each time it is met; null = it was read again. The loop goes on trying. */
  readonly onStalled: (tp: TopicPartition, error: unknown) => void
  /** What a leader or the metadata (`source`) met. The loop goes on trying. */
  readonly onProblem: (error: unknown, source: string) => void
  /** A source that had a problem answered, or nothing is wanted of it any more. */
  readonly onWell?: (source: string) => void
}

const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 1000
/** Of a batch that cannot be read: asked for again only because it may be gone, by retention or by hand. */
const UNREAD_BACKOFF_MAX_MS = 30_000
const METADATA = 'metadata'
const leaderName = (nodeId: number): string => `leader ${nodeId}`

export class FetchLoop {
  readonly #options: FetchLoopOptions
  readonly #positions = new Positions()
  readonly #running = new Map<number, Promise<void>>()
  /** Leaders whose newest request failed. */
  readonly #failing = new Set<number>()
  #isStopped = false
  #backoffMs = BACKOFF_MIN_MS
  #retryTimer: NodeJS.Timeout | null = null

  constructor(options: FetchLoopOptions) {
    this.#options = options
  }

  add(tp: TopicPartition, next: bigint): void {
    this.#positions.add(tp, next, Math.min(firstAskBytes(this.#options.recordsMax), this.#options.bytesMax))
    this.#wake()
  }

  remove(tp: TopicPartition): void {
    this.#positions.remove(tp)
    this.#forgetLeaders()
  }

  pause(tp: TopicPartition): void {
    this.#positions.pause(tp)
  }

  resume(tp: TopicPartition): void {
    this.#positions.resume(tp)
    this.#wake()
  }

  endOffset(tp: TopicPartition): bigint | null {
    return this.#positions.get(tp)?.end ?? null
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
    const leaders = new Set(this.#positions.all().map((p) => this.#leaderOf(p)))
    for (const nodeId of this.#failing) if (!leaders.has(nodeId)) this.#well(nodeId)
  }

  /** Starts a loop for every leader that has something to read and none running. */
  #wake(): void {
    if (this.#isStopped) return
    let isHomeless = false
    for (const position of this.#positions.wanted()) {
      const leader = this.#leaderOf(position)
      if (leader === null) {
        isHomeless = true
        this.#stalled(position, this.#whyHomeless(position))
      } else if (!this.#running.has(leader) && !(this.#retryTimer !== null && this.#failing.has(leader)))
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
    if (!this.#isStopped && this.#retryTimer === null && this.#positions.wanted().length > 0) this.#wake()
  }

  #retryLater(): void {
    if (this.#retryTimer !== null || this.#isStopped) return
    this.#retryTimer = setTimeout(() => {
      void this.#refresh().then(() => {
        this.#retryTimer = null
        this.#wake()
      })
    }, this.#backoffMs)
    this.#backoffMs = Math.min(BACKOFF_MAX_MS, this.#backoffMs * 2)
  }

  async #refresh(): Promise<void> {
    try {
      await this.#options.cluster.refreshMetadata()
      this.#options.onWell?.(METADATA)
    } catch (error) {
      this.#options.onProblem(error, METADATA)
    }
    this.#forgetLeaders()
  }

  async #run(nodeId: number): Promise<void> {
    while (!this.#isStopped) {
      const mine = this.#positions.wanted().filter((p) => this.#leaderOf(p) === nodeId)
      if (mine.length === 0) return
      try {
        const broker = await this.#options.cluster.findBroker({ nodeId })
        await this.#fetch(broker, mine)
        this.#backoffMs = BACKOFF_MIN_MS
        this.#well(nodeId)
      } catch (error) {
        if (this.#isStopped) return
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
    const maxBytes = Math.min(ANSWER_BYTES_MAX, this.#options.bytesMax)
    const { responses } = await broker.fetch({
      maxWaitTime: waitMs(this.#positions.shortestPauseMs()),
      minBytes: 1,
      maxBytes,
      isolationLevel: this.#options.committedOnly ? 1 : 0,
      topics: topics.map((topic) => ({
        topic,
        partitions: mine.filter((p) => p.topic === topic).map((p) => ({ partition: p.partition, fetchOffset: p.next.toString(), maxBytes: p.askBytes })),
      })),
    })
    const received = responses.flatMap(({ partitions }) => partitions).reduce((sum, fetched) => sum + (sizeOf(fetched)?.received ?? 0), 0)
    for (const { topicName, partitions } of responses)
      for (const fetched of partitions) {
        const entry = asked.get(keyOf({ topic: topicName, partition: fetched.partition }))
        if (entry !== undefined) this.#take(entry.position, entry.at, fetched, maxBytes - received)
      }
  }

  /** `roomBytes` = what the answer had left. */
  #take(position: Position, at: bigint, fetched: FetchedPartition, roomBytes: number): void {
    // Removed, added anew, paused or moved meanwhile: what came is void (C4, C6).
    if (this.#isStopped || this.#positions.get(position) !== position || position.pausedAtMs !== null || position.next !== at) return
    const refusal = refusalOf(fetched)
    if (refusal !== null) {
      this.#refused(position, refusal)
      return
    }
    position.end = BigInt(fetched.highWatermark)
    const read = readFetched(at, fetched)
    const unread = unreadOf(fetched)
    if (unread !== null && (read === null || read.readTo <= at)) {
      const { code, detail, cause } = unread.error
      const where = `${keyOf(position)} at offset ${unread.offset}${code === 'SLU_LOG_BATCH_UNREADABLE' ? '' : `, ${detail}`}`
      this.#restAfter(position, new SluiceError(code, where, cause), UNREAD_BACKOFF_MAX_MS)
      return
    }
    this.#going(position)
    this.#learn(position, fetched, roomBytes)
    if (read === null) return
    if (read.readTo > position.end) position.end = read.readTo
    const { topic, partition } = position
    this.#options.onFetched(
      { topic, partition },
      read.messages.map((m) => logRecordOf(position, m)),
      read.readTo,
    )
    // Not before: what could not be handed over is asked for again (C1).
    position.next = read.readTo
  }

  #learn(position: Position, fetched: FetchedPartition, roomBytes: number): void {
    const { committedOnly, bytesMax, recordsMax } = this.#options
    const end = BigInt(committedOnly ? fetched.lastStableOffset : fetched.highWatermark)
    // There is more, and what was asked for would have fitted: if nothing came, its next batch is larger than that.
    const isCut = position.next < end && position.askBytes <= roomBytes
    const limits = { recordsMax, shareBytes: Math.floor(bytesMax / this.#positions.size) }
    position.askBytes = Math.min(bytesMax, nextAskBytes(position.askBytes, sizeOf(fetched), isCut, limits))
  }

  #refused(position: Position, refusal: Error): void {
    if (typeOf(refusal) === 'OFFSET_OUT_OF_RANGE') {
      // C7: the partition stands; the others go on.
      position.isHeld = true
      const { topic, partition, next } = position
      this.#options.onTruncated({ topic, partition }, new SluiceError('SLU_LOG_TRUNCATED', `${keyOf(position)} at ${next}`, refusal))
    } else this.#restAfter(position, refusal, BACKOFF_MAX_MS)
  }

  /** Its leader may have moved, its topic be gone: the next try looks at fresh metadata. */
  #restAfter(position: Position, error: unknown, restMaxMs: number): void {
    const restMs = Math.min(restMaxMs, BACKOFF_MIN_MS * 2 ** Math.min(position.stalls, 20))
    position.rest = setTimeout(() => {
      void this.#refresh().then(() => {
        position.rest = null
        this.#wake()
      })
    }, restMs)
    this.#stalled(position, error)
  }

  #stalled(position: Position, error: unknown): void {
    position.stalls++
    this.#options.onStalled({ topic: position.topic, partition: position.partition }, error)
  }

  #going(position: Position): void {
    if (position.stalls === 0) return
    position.stalls = 0
    this.#options.onStalled({ topic: position.topic, partition: position.partition }, null)
  }

  #whyHomeless({ topic, partition }: Position): SluiceError {
    const isKnown = this.#options.cluster.findTopicPartitionMetadata(topic).length > 0
    return isKnown ? new SluiceError('SLU_LOG_NOT_READY', `${topic}/${partition} has no leader`) : new SluiceError('SLU_LOG_TOPIC_MISSING', topic)
  }
}
