/**
 * Writing for one partition: sends, late records and dead letters, each until it is acknowledged (D1–D3, C5).
 *
 * Owns: retry in place without losing order, the hold that an unwritable DLQ or a forbidden topic puts on the partition, and what becomes of a
 * record the log refuses as too large. Invariants: a slow or unreachable log never spends a record's tries (C5); the DLQ write is acknowledged
 * before the call returns, and while it fails nothing behind it goes on (D2, D3); a closed partition writes nothing more (C3).
 */
import { asSluiceError, causeChain, SluiceError } from '../schemas/errors.ts'
import type { Appended, LogProducer, LogRecord, OutRecord } from '../schemas/log.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import { deadLetterRecord, lateRecord, tooLargeFor } from './dead-letter.ts'
import { withCarrier } from './emits.ts'
import { retryDelayMs, sleep } from './retry.ts'
import type { PartitionEnvironment } from './partition.ts'
import type { Outgoing, Parked } from './processor.ts'

export interface PartitionSinkOptions {
  readonly environment: PartitionEnvironment
  readonly producer: LogProducer
  readonly topicPrefix: string
  /** Partition counts by broker name. */
  readonly partitionsOf: ReadonlyMap<string, number>
  /** Aborted when the partition is closed. */
  readonly signal: AbortSignal
}

/** Every call rejects with SLU_LOG_STALE_EPOCH once the partition is closed. */
export interface PartitionSink {
  /** Resolves when all are acknowledged. A record too large is parked through its `source`, after `attempts` tries (1); without one the partition is held. */
  send(records: readonly Outgoing[], write?: WriteRecords, attempts?: number): Promise<void>
  /** As `send` for what may be left out: the log's refusal if it forbids them (SLU_LOG_FORBIDDEN), null once they are acknowledged. */
  sendIfPermitted(records: readonly Outgoing[]): Promise<SluiceError | null>
  late(records: readonly LogRecord[]): Promise<void>
  deadLetters(parked: readonly Parked[], attempts?: number): Promise<void>
  /** Repeats `write` until it succeeds. Rejects at once with what repeating cannot help: dead-letter dispositions. */
  persist<T>(write: () => Promise<T>, isDeadLetter?: boolean): Promise<T>
  toOutRecord(outgoing: Outgoing): OutRecord
  /** For who writes by other means than `send` and `deadLetters`; counted by `wasSent` and `wasParked`. */
  toDeadLetter(parked: Parked, attempts: number, isShort: boolean, order?: bigint | null): OutRecord
  wasSent(count: number): void
  wasParked(parked: Parked): void
  /** Why the partition stands still, if it does. */
  held(): SluiceError | null
  /** What a write meets that passes by itself (a log that does not answer): not held, and yet it does not go on (C5). */
  waitsFor(): SluiceError | null
  /** `by` holds the partition, or null = no longer; what others hold it for stands. */
  hold(by: object, error: SluiceError | null): void
  /** It stands still until it is assigned anew, whatever else begins or ends. */
  end(error: SluiceError): void
}

type WriteRecords = (records: readonly OutRecord[]) => Promise<Appended[]>

export const staleEpoch = (): SluiceError => new SluiceError('SLU_LOG_STALE_EPOCH', 'the partition was given up while work was under way')

export function createPartitionSink(options: PartitionSinkOptions): PartitionSink {
  const { environment, producer, topicPrefix, partitionsOf, signal } = options
  const { clock, telemetry, stats } = environment
  let endedBy: SluiceError | null = null
  /** By who holds it, the newest last: a write that is refused and tried again, a record, a handler. */
  const holds = new Map<object, SluiceError>()
  /** Dead letters that could not be written yet: shown before all that passes (D3). */
  const unwritten = new Set<object>()
  let unwritable: SluiceError | null = null

  /** By write, what those meet that pass by themselves. */
  const waiting = new Map<object, SluiceError>()

  const alarm = (error: SluiceError): void =>
    telemetry.log('error', error.message, {
      [attributeNames.function]: environment.functionName,
      [attributeNames.code]: error.code,
      [attributeNames.errorChain]: causeChain(error.cause).join(': '),
    })

  const hold = (by: object, error: SluiceError | null): void => {
    if (error === null) {
      if (holds.size > 0) holds.delete(by)
      return
    }
    if (!holds.values().some(({ code }) => code === error.code)) alarm(error)
    holds.delete(by)
    holds.set(by, error)
  }
  const newestHold = (): SluiceError | null => (holds.size === 0 ? null : ([...holds.values()].at(-1) ?? null))
  const end = (error: SluiceError): void => {
    if (endedBy?.code !== error.code) alarm(error)
    endedBy = error
  }

  const letterFailed = (letter: object, cause: SluiceError): void => {
    unwritten.add(letter)
    const error = cause.code === 'SLU_LOG_DLQ_UNWRITABLE' ? cause : new SluiceError('SLU_LOG_DLQ_UNWRITABLE', cause.code, cause)
    if (unwritable?.message === error.message) return
    unwritable = error
    alarm(error)
  }
  const over = (write: object): void => {
    unwritten.delete(write)
    if (unwritten.size === 0) unwritable = null
    waiting.delete(write)
    hold(write, null)
  }

  const persist = async <T>(write: () => Promise<T>, isDeadLetter = false): Promise<T> => {
    for (let attempt = 1; ; attempt++) {
      if (signal.aborted) throw staleEpoch()
      try {
        const written = await write()
        over(write)
        return written
      } catch (thrown) {
        const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
        if (signal.aborted) throw staleEpoch()
        if (error.disposition === 'dead-letter') {
          over(write)
          throw error
        }
        if (error.disposition === 'fatal') environment.onFatal(error)
        if (isDeadLetter) letterFailed(write, error)
        else if (error.disposition !== 'retry') hold(write, error)
        else {
          hold(write, null)
          waiting.set(write, error)
          telemetry.log('warn', error.message, {
            [attributeNames.function]: environment.functionName,
            [attributeNames.attempt]: attempt,
            [attributeNames.errorChain]: causeChain(error.cause).join(': '),
          })
        }
        stats.retries++
        await sleep(clock, retryDelayMs(attempt, environment.retry, environment.random), signal)
      }
    }
  }

  const toOutRecord = (o: Outgoing): OutRecord => ({
    topic: topicPrefix + o.topic,
    key: o.key,
    value: o.value,
    ...(o.headers === undefined ? {} : { headers: o.headers }),
    ...(o.partition === undefined ? {} : { partition: o.partition }),
  })

  const factsFor = (record: LogRecord, suffix: string) => ({
    functionName: environment.functionName,
    topicPrefix,
    targetPartitions: partitionsOf.get(`${topicPrefix}${record.topic}${suffix}`) ?? 0,
  })

  const toDeadLetter = (parked: Parked, attempts: number, isShort: boolean, order: bigint | null = null): OutRecord =>
    deadLetterRecord(parked, factsFor(parked.record, '.dlq'), parked.attempts ?? attempts, isShort, order)

  const wasParked = ({ error }: Parked): void => {
    stats.deadLetters++
    telemetry.count(metricNames.deadLetters, 1, { [attributeNames.function]: environment.functionName, [attributeNames.code]: error.code })
  }

  const writeDeadLetter = async (parked: Parked, attempts: number): Promise<void> => {
    try {
      await persist(() => producer.send([toDeadLetter(parked, attempts, false)]), true)
    } catch (thrown) {
      if (asSluiceError(thrown, 'SLU_INTERNAL').code !== 'SLU_LOG_RECORD_TOO_LARGE') throw thrown
      // Too large with all headers: the short form, and if even that does not fit the partition stands rather than lose the record (D3).
      const letter = toDeadLetter(parked, attempts, true)
      const short = async (): Promise<Appended[]> =>
        producer.send([letter]).catch((cause: unknown) => {
          throw asSluiceError(cause, 'SLU_LOG_FAILED').code === 'SLU_LOG_RECORD_TOO_LARGE' ? tooLargeFor(letter, cause) : cause
        })
      await persist(short, true)
    }
    wasParked(parked)
  }

  const deadLetters = async (parked: readonly Parked[], attempts = 1): Promise<void> => {
    for (const one of parked) await writeDeadLetter(one, attempts)
  }

  /**
   * With `write` all is written or nothing, and what one record makes stays together where the log takes not all of it: a state row without the events
   * beside it would make a successor skip them (C8). Then the largest of them is left out, and the record is parked.
   */
  const send = async (records: readonly Outgoing[], write?: WriteRecords, attempts = 1): Promise<void> => {
    if (records.length === 0) return
    const isAtomic = write !== undefined
    try {
      await persist(() => (write ?? ((r: readonly OutRecord[]) => producer.send(r)))(records.map(toOutRecord)))
      stats.out += records.length
    } catch (thrown) {
      const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
      if (error.code !== 'SLU_LOG_RECORD_TOO_LARGE') throw error
      const [only] = records
      const bySource = Map.groupBy(records, (record) => record.source)
      if (isAtomic && bySource.size > 1) {
        for (const ofSource of bySource.values()) await send(ofSource, write, attempts)
      } else if (isAtomic && records.length > 1 && only?.source !== undefined) {
        const largest = records.reduce((a, b) => ((b.value?.length ?? 0) > (a.value?.length ?? 0) ? b : a))
        await deadLetters([{ record: only.source, error, stage: 'send' }], attempts)
        await send(
          records.filter((record) => record !== largest),
          write,
          attempts,
        )
      } else if (records.length > 1) {
        for (const record of records) await send([record], write, attempts)
      } else if (only?.source !== undefined) await deadLetters([{ record: only.source, error, stage: 'send' }], attempts)
      else throw new SluiceError('SLU_LOG_FAILED', `${only?.topic ?? ''}: a record without source is too large`, error)
    }
  }

  /** One that not even packed fits beside its topic is parked. */
  const late = async (records: readonly LogRecord[]): Promise<void> => {
    if (records.length === 0) return
    try {
      await persist(() => producer.send(records.map((r) => lateRecord(r, factsFor(r, '.late')))))
      stats.late += records.length
      telemetry.count(metricNames.lateRecords, records.length, { [attributeNames.function]: environment.functionName })
    } catch (thrown) {
      const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
      if (error.code !== 'SLU_LOG_RECORD_TOO_LARGE') throw error
      const [only] = records
      if (records.length > 1) for (const record of records) await late([record])
      else await deadLetters([{ record: only as LogRecord, error, stage: 'send' }])
    }
  }

  const sendIfPermitted = async (records: readonly Outgoing[]): Promise<SluiceError | null> => {
    const refusal = await persist(async () => {
      try {
        await producer.send(records.map(toOutRecord))
        return null
      } catch (thrown) {
        const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
        if (error.code === 'SLU_LOG_FORBIDDEN') return error
        throw error
      }
    })
    if (refusal === null) stats.out += records.length
    return refusal
  }

  return {
    send,
    sendIfPermitted,
    deadLetters,
    late,
    persist,
    toOutRecord,
    toDeadLetter,
    wasSent: (count) => {
      stats.out += count
    },
    wasParked,
    held: () => endedBy ?? unwritable ?? newestHold(),
    waitsFor: () => waiting.values().next().value ?? null,
    hold,
    end,
  }
}

/** The records with the trace headers of the span that made them. */
export function traced(records: readonly Outgoing[], carrier: Readonly<Record<string, string>>): Outgoing[] {
  return records.map((o) => ({ ...o, headers: withCarrier(o.headers, carrier) }))
}
