/**
 * Group-less reading of Kafka: tails of a topic, over the same fetch loop as the group member.
 *
 * Owns: where a tail starts and ends (asked of the leaders: `leaders.ts`), back-pressure (a partition is paused while its batches wait to be taken) and the check that what was asked
 * for is still there (SLU_LOG_TRUNCATED at opening, C7).
 */
import type { LogReader, LogTail, TailBatch, TailOptions, TopicPartition } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { FATAL_WHILE_READING, kafkaError } from './errors.ts'
import { FetchLoop } from './fetch-loop.ts'
import type { Cluster } from './kafkajs.ts'
import { UNREADABLE } from './troubles.ts'
import { askLeaders, leaderOffsets, partitionsOf, PASSING_BOUND_MS, type Offsets } from './leaders.ts'

const BYTES_MAX = 8 << 20
const WAITING_MAX = 4

function startOf(options: TailOptions, partition: number, starts: Offsets, ends: Offsets): bigint {
  const start = starts.get(partition) ?? 0n
  if (options.from === 'start') return start
  if (options.from === 'end') return ends.get(partition) ?? 0n
  const asked = options.from.get(partition)
  if (asked === undefined) return start
  if (asked < start) throw new SluiceError('SLU_LOG_TRUNCATED', `${options.topic}/${partition} at ${asked}, the log starts at ${start}`)
  return asked
}

class KafkaTail implements LogTail {
  readonly caughtUp: Promise<void>
  readonly #topic: string
  readonly #ends: Offsets
  readonly #untilEnd: boolean
  readonly #loop: FetchLoop
  readonly #onClose: () => void
  readonly #positions = new Map<number, bigint>()
  readonly #queues = new Map<number, TailBatch[]>()
  #isClosed = false
  #failed: SluiceError | null = null
  #notify: (() => void) | null = null
  #settleCaughtUp: { resolve: () => void; reject: (error: Error) => void }

  constructor(cluster: Cluster, options: TailOptions, from: ReadonlyMap<number, bigint>, ends: Offsets, bootstrap: readonly string[], onClose: () => void) {
    this.#topic = options.topic
    this.#ends = ends
    this.#untilEnd = options.untilEnd
    this.#onClose = onClose
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.caughtUp = promise
    this.#settleCaughtUp = { resolve, reject }
    promise.catch(() => {})
    this.#loop = new FetchLoop({
      cluster,
      committedOnly: options.committedOnly,
      bytesMax: BYTES_MAX,
      recordsMax: Infinity,
      onFetched: (tp, records, readTo) => this.#take({ topic: tp.topic, partition: tp.partition, records, readTo }),
      onTruncated: (_tp, error) => this.#fail(error),
      onStalled: ({ partition }, error) => {
        const explained = error === null ? null : kafkaError(error, bootstrap, `${options.topic}/${partition}`)
        if (explained !== null && (FATAL_WHILE_READING.has(explained.code) || UNREADABLE.has(explained.code))) this.#fail(explained)
      },
      onProblem: (error) => {
        const explained = kafkaError(error, bootstrap, options.topic)
        if (FATAL_WHILE_READING.has(explained.code)) this.#fail(explained)
      },
    })
    for (const [partition, next] of from) {
      this.#positions.set(partition, next)
      if (!this.#untilEnd || next < (ends.get(partition) ?? 0n)) this.#loop.add({ topic: options.topic, partition }, next)
    }
    this.#checkCaughtUp()
  }

  #take(batch: TailBatch): void {
    if (this.#isClosed) return
    const queue = this.#queues.get(batch.partition) ?? []
    this.#queues.set(batch.partition, queue)
    queue.push(batch)
    if (queue.length >= WAITING_MAX) this.#loop.pause(batch)
    if (this.#untilEnd && batch.readTo >= (this.#ends.get(batch.partition) ?? 0n)) this.#loop.remove(batch)
    this.#notify?.()
  }

  #fail(error: SluiceError): void {
    this.#failed ??= error
    this.#settleCaughtUp.reject(error)
    this.#notify?.()
  }

  #isAtEnds(): boolean {
    return [...this.#positions].every(([partition, next]) => next >= (this.#ends.get(partition) ?? 0n))
  }

  #checkCaughtUp(): void {
    if (this.#isAtEnds()) this.#settleCaughtUp.resolve()
  }

  #next(): TailBatch | null {
    for (const [partition, queue] of this.#queues) {
      const batch = queue.shift()
      if (batch === undefined) continue
      // The partition that was served goes to the back.
      this.#queues.delete(partition)
      this.#queues.set(partition, queue)
      const tp: TopicPartition = { topic: this.#topic, partition }
      if (queue.length < WAITING_MAX / 2) this.#loop.resume(tp)
      return batch
    }
    return null
  }

  /** With `untilEnd`, records at or beyond the end seen at opening are left out. */
  #cut(batch: TailBatch): TailBatch {
    const end = this.#ends.get(batch.partition) ?? 0n
    if (!this.#untilEnd || batch.readTo <= end) return batch
    return { ...batch, records: batch.records.filter((r) => r.offset < end), readTo: end }
  }

  async *[Symbol.asyncIterator](): AsyncIterator<TailBatch> {
    try {
      for (;;) {
        if (this.#isClosed) return
        const waiting = this.#next()
        if (waiting !== null) {
          const batch = this.#cut(waiting)
          this.#positions.set(batch.partition, batch.readTo)
          yield batch
          this.#checkCaughtUp()
          continue
        }
        if (this.#failed !== null) throw this.#failed
        if (this.#untilEnd && this.#isAtEnds()) return
        await new Promise<void>((resolve) => {
          this.#notify = resolve
        })
        this.#notify = null
      }
    } finally {
      await this.close()
    }
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#loop.stop()
    this.#settleCaughtUp.reject(new SluiceError('SLU_LOG_FAILED', `the tail of ${this.#topic} was closed`))
    this.#notify?.()
    this.#onClose()
  }
}

export interface ReaderOptions {
  readonly createCluster: (isolationLevel: 0 | 1) => Cluster
  readonly bootstrap: readonly string[]
  readonly onClose: () => void
}

/** One connection per isolation level, shared by the tails of the reader. */
export function createReader(options: ReaderOptions): LogReader {
  const clusters = new Map<0 | 1, Promise<Cluster>>()
  const tails = new Set<KafkaTail>()
  let isClosed = false
  const connected = (isolation: 0 | 1): Promise<Cluster> => {
    const known = clusters.get(isolation)
    if (known !== undefined) return known
    const cluster = options.createCluster(isolation)
    const connecting = cluster.connect().then(
      () => cluster,
      (error: unknown) => {
        clusters.delete(isolation)
        throw error
      },
    )
    clusters.set(isolation, connecting)
    return connecting
  }
  return {
    open: async (tailOptions) => {
      const { topic } = tailOptions
      const explain = (error: unknown): SluiceError => kafkaError(error, options.bootstrap, topic)
      const cluster = await connected(tailOptions.committedOnly ? 1 : 0).catch((error: unknown) => {
        throw explain(error)
      })
      const look = async () => {
        const all = partitionsOf(cluster, topic)
        if (all.length === 0) throw new SluiceError('SLU_LOG_TOPIC_MISSING', topic)
        const partitions = tailOptions.partitions === 'all' ? all : tailOptions.partitions
        const [starts, ends] = await Promise.all([leaderOffsets(cluster, topic, partitions, 'start'), leaderOffsets(cluster, topic, partitions, 'end')])
        return { from: new Map(partitions.map((p) => [p, startOf(tailOptions, p, starts, ends)])), ends }
      }
      const { from, ends } = await askLeaders(cluster, [topic], look, { explain, boundMs: PASSING_BOUND_MS, isStopped: () => isClosed })
      if (isClosed) throw new SluiceError('SLU_LOG_FAILED', `the reader of ${topic} was closed`)
      const tail: KafkaTail = new KafkaTail(cluster, tailOptions, from, ends, options.bootstrap, () => tails.delete(tail))
      tails.add(tail)
      return tail
    },
    close: async () => {
      isClosed = true
      await Promise.all([...tails].map((t) => t.close()))
      await Promise.all([...clusters.values()].map(async (c) => (await c.catch(() => null))?.disconnect().catch(() => {})))
      clusters.clear()
      options.onClose()
    },
  }
}
