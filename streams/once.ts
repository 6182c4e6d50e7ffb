/**
 * Exactly one visible result per request id (R1) for one request partition: the product form of the model `r1run`.
 *
 * Owns: the fenced producer of the partition, what is known of answered ids (`answers.ts`) and the writing of answers. Stages, in exactly this
 * order: (1) open the fenced producer; (2) committed offset and metadata as one read gave them; (3) read the results, committed only, from
 * `resultsFrom` to the end taken after (1); (4) answer, only inside transactions of that producer.
 * Invariants. An id known as answered is never written again: the check stands right before each transaction. A transaction that fails in any
 * way but "too large" has an unknown outcome: start again at (1), which settles it, then look again. Fenced but still assigned: the same.
 * `resultsFrom` below the results' first offset: hold, because what was answered can no longer be known.
 */
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { Appended, Committed, FencedProducer, LogDriver, LogReader, LogRecord, OutRecord } from '../schemas/log.ts'
import { createAnswers, onceMetadata, resultsFromOf, type Answers } from './answers.ts'
import { retryDelayMs, sleep } from './retry.ts'
import { staleEpoch, type PartitionSink } from './partition-sink.ts'
import type { PartitionEnvironment } from './partition.ts'
import type { Outgoing } from './processor.ts'
import { readToEnd } from './read-to-end.ts'

const HEADER_DIGEST = 'sluice.request.digest'

/** Answers written in one transaction. */
const ANSWERS_PER_TRANSACTION_MAX = 64

export interface OncePartitionOptions {
  readonly environment: PartitionEnvironment
  readonly driver: Pick<LogDriver, 'fencedProducer'>
  readonly reader: LogReader
  /** Name of the fenced producer: one per group and request partition. */
  readonly producerName: string
  /** Logical name, and as the broker knows it. */
  readonly resultsTopic: string
  readonly resultsBrokerTopic: string
  readonly partition: number
  readonly dedupeMs: number
  readonly skewMs: number
  readonly sink: PartitionSink
  readonly signal: AbortSignal
  /** (2): what the assignment, or our own last commit, says. */
  readonly committed: () => Committed | null
}

export interface OncePartition {
  /** (1) to (3); resolves when requests may be executed, or when the partition is given up. */
  open(): Promise<void>
  isOpen(): boolean
  answers(): Answers
  /** Resolves with `answered` once acknowledged, or `already` when another result of the id turned up. Rejects with SLU_LOG_RECORD_TOO_LARGE, SLU_LOG_STALE_EPOCH. */
  answer(id: string, digest: string, request: LogRecord, records: readonly Outgoing[]): Promise<'answered' | 'already'>
  metadata(mark: bigint, lowAppendMs: number | null): string
  /** Append time of the newest result read back; null = none. */
  newestMs(): number | null
  close(): Promise<void>
}

interface Waiting {
  readonly id: string
  readonly digest: string
  readonly request: LogRecord
  readonly records: readonly OutRecord[]
  readonly resolve: (ending: 'answered' | 'already') => void
  readonly reject: (error: SluiceError) => void
}

export const appendMsOf = (record: LogRecord): number => record.appendMs ?? record.timestampMs

/** The digest the runner put on a result; null if it has none. */
function digestOf(result: LogRecord): string | null {
  return result.headers.find(([name]) => name === HEADER_DIGEST)?.[1].toString('latin1') ?? null
}

/** Why over 70 lines: one state machine over the producer and the answers waiting to be written. */
export function createOncePartition(options: OncePartitionOptions): OncePartition {
  const { environment, sink, signal, partition } = options
  const { clock } = environment
  const answers = createAnswers(options)
  let producer: FencedProducer | null = null
  let waiting: Waiting[] = []
  let isFlushing = false
  let newestMs: number | null = null

  const drop = async (): Promise<void> => {
    const old = producer
    producer = null
    // What is given up may be fenced already; closing it tells nothing new.
    await old?.close().catch(() => undefined)
  }

  const readResults = async (): Promise<void> => {
    const committed = options.committed()
    const from = committed === null ? null : resultsFromOf(committed.metadata)
    answers.reset(from ?? 0n)
    const tail = await options.reader.open({
      topic: options.resultsBrokerTopic,
      partitions: [partition],
      from: from === null ? 'start' : new Map([[partition, from]]),
      committedOnly: true,
      untilEnd: true,
    })
    await readToEnd(tail, signal, ({ records, readTo }) => {
      for (const result of records) {
        newestMs = Math.max(newestMs ?? 0, appendMsOf(result))
        if (result.key !== null) answers.add(result.key.toString('utf8'), digestOf(result), result.offset, appendMsOf(result))
      }
      answers.readTo(readTo)
    })
  }

  const open = async (): Promise<void> => {
    await drop()
    for (let attempt = 1; !signal.aborted; attempt++) {
      let opened: FencedProducer | null = null
      try {
        opened = await options.driver.fencedProducer(options.producerName) // (1)
        await readResults() // (2), (3)
        if (signal.aborted) throw staleEpoch()
        producer = opened
        sink.hold(answers, null)
        return
      } catch (thrown) {
        // Half open is not open; what its closing says is of no use.
        await opened?.close().catch(() => undefined)
        if (signal.aborted) return
        const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
        if (error.disposition === 'fatal') environment.onFatal(error)
        if (error.disposition !== 'retry') sink.hold(answers, error)
        environment.stats.retries++
        await sleep(clock, retryDelayMs(attempt, environment.retry, environment.random), signal)
      }
    }
  }

  const transact = async (batch: readonly Waiting[]): Promise<void> => {
    if (producer === null) throw staleEpoch()
    const appended = await producer.transaction(batch.flatMap((w) => w.records))
    const nowMs = clock.nowMs()
    let at = 0
    for (const one of batch) {
      const own = one.records.findIndex((r) => r.topic === options.resultsBrokerTopic)
      const { offset } = appended[at + own] as Appended
      at += one.records.length
      // The broker's append time is not told; the result came after its request, and a later guess only keeps it longer.
      answers.add(one.id, one.digest, offset, Math.max(appendMsOf(one.request), nowMs))
      one.resolve('answered')
    }
  }

  /** One transaction; what it could not settle is put back. */
  const flushOnce = async (batchMax: number): Promise<number> => {
    const batch: Waiting[] = []
    const ids = new Set<string>()
    while (waiting.length > 0 && batch.length < batchMax) {
      const one = waiting.shift() as Waiting
      if (answers.has(one.id) || ids.has(one.id)) one.resolve('already')
      else {
        ids.add(one.id)
        batch.push(one)
      }
    }
    if (batch.length === 0) return ANSWERS_PER_TRANSACTION_MAX
    try {
      await transact(batch)
      return ANSWERS_PER_TRANSACTION_MAX
    } catch (thrown) {
      const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
      if (error.code === 'SLU_LOG_RECORD_TOO_LARGE') {
        const [only] = batch
        if (batch.length === 1) only?.reject(error)
        else waiting = [...batch, ...waiting]
        return 1
      }
      waiting = [...batch, ...waiting]
      if (error.disposition === 'fatal') environment.onFatal(error)
      if (error.disposition === 'hold') sink.hold(answers, error)
      environment.stats.retries++
      await sleep(clock, retryDelayMs(1, environment.retry, environment.random), signal)
      await open()
      return batchMax
    }
  }

  const flush = async (): Promise<void> => {
    if (isFlushing) return
    isFlushing = true
    let batchMax = ANSWERS_PER_TRANSACTION_MAX
    while (waiting.length > 0 && !signal.aborted) batchMax = await flushOnce(batchMax)
    isFlushing = false
    if (!signal.aborted) return
    const left = waiting
    waiting = []
    for (const one of left) one.reject(staleEpoch())
  }

  return {
    open,
    isOpen: () => producer !== null,
    answers: () => answers,
    answer: (id, digest, request, outgoing) => {
      if (signal.aborted) return Promise.reject(staleEpoch())
      const results = outgoing.filter((o) => o.topic === options.resultsTopic)
      if (results.length !== 1) return Promise.reject(new SluiceError('SLU_HANDLER_FAILED', `${results.length} results for one request, must be 1`))
      const records = outgoing.map((o) => {
        const record = sink.toOutRecord(o)
        if (o.topic !== options.resultsTopic) return record
        return { ...record, key: request.key, partition, headers: [...(record.headers ?? []), [HEADER_DIGEST, Buffer.from(digest, 'latin1')] as const] }
      })
      return new Promise((resolve, reject) => {
        waiting.push({ id, digest, request, records, resolve, reject })
        void flush()
      })
    },
    metadata: (mark, lowAppendMs) => onceMetadata(answers.resultsFrom(mark, lowAppendMs)),
    newestMs: () => newestMs,
    close: async () => {
      const left = waiting
      waiting = []
      for (const one of left) one.reject(staleEpoch())
      await drop()
    },
  }
}
