/**
 * Kind `lambda`: a handler written for AWS Lambda's Kafka event source, batch by batch (runtime.md §6).
 *
 * Owns: one partition. Stages: records gather until the batch is full, large enough or `batchWindowMs` old → handler → answer read → what is
 * done may be committed (C1), what failed is tried again with what follows it, in order. A batch that fails as a whole is halved (`bisectOnError`:
 * halving does not count as a try) until the culprit stands alone; after `retriesMax` more tries it goes to the DLQ, Lambda's on-failure
 * destination (D2, D3). Invariants: C1, C3 (nothing is written after `close`), C4 (the batch in hand is finished, no other begun), C5 (waiting for
 * a place spends no try), T1, T3 (the poll goes on while a handler runs), D6.
 */
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord } from '../schemas/log.ts'
import { recordBytes } from './chunks.ts'
import type { LambdaFunction } from './define-function.ts'
import { hasElapsed } from './elapsed.ts'
import { assertRecordSize } from './emits.ts'
import { eventBytes } from './lambda-event.ts'
import { createInvoker } from './lambda-invoker.ts'
import { staleEpoch, type PartitionSink } from './partition-sink.ts'
import { NO_PLACE, type PartitionEnvironment, type RunningPartition } from './partition.ts'
import type { Places } from './places.ts'
import { createRetries } from './retries.ts'
import { retryDelayMs, sleep } from './retry.ts'
import { isForAnother } from './redrive.ts'
import { isTick } from './tick.ts'

/** Lambda's own limit of an invocation's payload. */
const PAYLOAD_BYTES_MAX = 6 * 1024 * 1024

export interface LambdaPartitionOptions {
  readonly definition: LambdaFunction
  readonly environment: PartitionEnvironment
  /** Logical. */
  readonly topic: string
  readonly partition: number
  readonly committed: Committed | null
  readonly start: bigint
  readonly sink: PartitionSink
  readonly abort: AbortController
  /** The member's pool, shared by its partitions: handlers at once. */
  readonly places: Places
  /** Text to hex digest. */
  readonly hash: (text: string) => string
}

/** Why over 70 lines: one state machine over the batches of the partition. */
export function createLambdaPartition(options: LambdaPartitionOptions): RunningPartition {
  const { definition, environment, topic, partition, sink, abort } = options
  const share = options.places.join()
  const { clock, stats } = environment
  /** Of the first record of a batch that is tried again. */
  const retries = createRetries(definition.retriesMax + 1, clock.nowMs)
  /** Taken and not done with, in order. */
  let waiting: LogRecord[] = []
  let bytes = 0
  let readTo = options.start
  let committed = options.committed
  let waitingSinceMs: number | null = null
  let cancelWindow: (() => void) | null = null
  let isRunning = false
  let isStopped = false
  let isDead = false
  let waiters: (() => void)[] = []

  const isOver = (): boolean => isStopped || isDead || abort.signal.aborted
  const done = (records: readonly LogRecord[]): void => {
    if (abort.signal.aborted) throw staleEpoch()
    for (const record of records) {
      bytes -= recordBytes(record)
      retries.over(record)
    }
    waiting = waiting.slice(records.length)
    environment.onProgress()
  }

  const answerOf = createInvoker(options)

  const park = async (records: readonly LogRecord[], error: SluiceError, attempts: number): Promise<void> => {
    for (const record of records) {
      await sink.deadLetters([{ record, error, stage: 'handle' }], attempts)
      done([record])
    }
  }

  const rest = async (attempt: number): Promise<void> => {
    stats.retries++
    await sleep(clock, retryDelayMs(attempt, environment.retry, environment.random), abort.signal)
    if (isOver()) throw staleEpoch()
  }

  /** Until every record of the batch is done or parked. C4: between tries a stop gives up; what is not done is done by the successor. */
  const handle = async (batch: readonly LogRecord[]): Promise<void> => {
    let records = batch
    let attempt = 0
    while (records.length > 0) {
      attempt++
      const answer = await answerOf(records, attempt)
      if (answer.kind === 'all-done') return done(records)
      const error = answer.error ?? new SluiceError('SLU_HANDLER_FAILED', 'the handler listed it among batchItemFailures')
      const isPartial = answer.kind === 'failed-from'
      const first = isPartial ? records.findIndex((r) => r.offset === answer.offset) : 0
      if (first > 0) {
        // What stands before the first failure is done; its tries were not those of what follows.
        done(records.slice(0, first))
        records = records.slice(first)
        attempt = 1
      }
      if (!isPartial && definition.bisectOnError && records.length > 1) {
        const half = Math.ceil(records.length / 2)
        await handle(records.slice(0, half))
        if (isOver()) throw staleEpoch()
        return handle(records.slice(half))
      }
      retries.failed({ record: records[0] as LogRecord, error, stage: 'handle' })
      if (attempt <= definition.retriesMax) await rest(attempt)
      else {
        const culprits = isPartial ? records.slice(0, 1) : records
        await park(culprits, error, attempt)
        records = records.slice(culprits.length)
        attempt = 0
      }
    }
  }

  /** How many of the waiting records the next batch has; 0 = it is not due yet. */
  const dueCount = (): number => {
    let count = 0
    let size = 0
    for (const record of waiting) {
      const next = size + eventBytes(record)
      if (count === definition.batchSize || (count > 0 && next > PAYLOAD_BYTES_MAX)) return count
      size = next
      count++
    }
    const isOld = waitingSinceMs !== null && hasElapsed(waitingSinceMs, definition.batchWindowMs, clock.nowMs())
    return count === definition.batchSize || isOld ? count : 0
  }

  /** Ticks and records no event can hold leave the batch; the rest is handled. */
  const runBatch = async (count: number): Promise<void> => {
    let batch: LogRecord[] = []
    const flush = async (): Promise<void> => {
      const ready = batch
      batch = []
      if (ready.length > 0) await handle(ready)
    }
    for (const record of waiting.slice(0, count)) {
      if (isTick(record) || isForAnother(record, definition.name)) {
        await flush()
        stats.skipped++
        done([record])
        continue
      }
      try {
        assertRecordSize(record, definition)
        batch.push(record)
      } catch (thrown) {
        await flush()
        await park([record], asSluiceError(thrown, 'SLU_RECORD_TOO_LARGE'), 1)
      }
    }
    await flush()
  }

  const run = async (): Promise<void> => {
    isRunning = true
    try {
      for (let count = dueCount(); count > 0 && !isOver() && share.take(); count = dueCount()) {
        try {
          await runBatch(count)
        } finally {
          share.giveBack()
        }
        waitingSinceMs = waiting.length > 0 ? clock.nowMs() : null
      }
    } catch (thrown) {
      fail(thrown)
    }
    isRunning = false
    waitOrRest()
    waitForWindow()
    const woken = waiters
    waiters = []
    for (const wake of woken) wake()
  }

  const fail = (thrown: unknown): void => {
    const error = asSluiceError(thrown, 'SLU_INTERNAL')
    if (abort.signal.aborted || isStopped) return
    isDead = true
    share.leave()
    sink.end(error)
    environment.onProgress()
    if (error.disposition === 'fatal') environment.onFatal(error)
  }

  const waitOrRest = (): void => {
    if (!isOver() && dueCount() > 0) share.wait()
    else share.rest()
  }

  const pump = (): void => {
    if (isRunning) return
    if (!isOver() && dueCount() > 0 && !share.isRefused()) void run()
    else waitOrRest()
  }

  const waitForWindow = (): void => {
    if (cancelWindow !== null || waitingSinceMs === null || isOver()) return
    cancelWindow = clock.setTimer(Math.min(definition.batchWindowMs, Math.max(1, definition.batchWindowMs - (clock.nowMs() - waitingSinceMs))), () => {
      cancelWindow = null
      pump()
    })
  }

  return {
    take: (records, to) => {
      for (const record of records) {
        bytes += recordBytes(record)
        waiting.push(record)
      }
      stats.in += records.length
      readTo = to
      if (waiting.length > 0) waitingSinceMs ??= clock.nowMs()
      waitForWindow()
      pump()
      environment.onProgress()
    },
    stopIntake: () => {
      isStopped = true
    },
    settled: () => (isRunning ? new Promise((resolve) => waiters.push(resolve)) : Promise.resolve()),
    close: () => {
      isStopped = true
      share.leave()
      cancelWindow?.()
      abort.abort(new SluiceError('SLU_LOG_STALE_EPOCH', `${topic}/${partition}`))
      return Promise.resolve()
    },
    uncommitted: () => {
      const nextOffset = waiting[0]?.offset ?? readTo
      return nextOffset === (committed?.nextOffset ?? options.start) ? null : { nextOffset, metadata: '' }
    },
    committed: (entry) => {
      committed = entry
    },
    lastCommitted: () => committed,
    onTimer: pump,
    pump,
    load: () => ({ records: waiting.length, bytes, tracked: waiting.length }),
    hold: (error) => {
      isDead = true
      share.leave()
      sink.end(error)
    },
    status: () => {
      const held = sink.held()
      const why = held ?? sink.waitsFor() ?? retries.why()
      return {
        position: readTo,
        committed: committed?.nextOffset ?? null,
        watermarkMs: null,
        inFlight: waiting.length,
        isIdle: waiting.length === 0 && !isRunning,
        isHeld: held !== null,
        ...(why !== null ? { code: why.code, reason: why.message } : !isRunning && !isOver() && dueCount() > 0 && share.isRefused() ? { reason: NO_PLACE } : {}),
      }
    },
    openWindows: () => null,
  }
}
