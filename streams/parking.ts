/**
 * Per-key parking of one input partition (D4, docs/adr/0010): what a poison record holds back, written to the DLQ in order and read back from there.
 *
 * Owns: the fenced producer under which this partition's dead letters are written, what of the DLQ partition is read when the partition opens, and
 * the line of what is to be written. Stages of opening: fenced producer first (whatever an earlier owner had under way is refused or stands), then
 * the DLQ partition from `dlqFrom` of the commit metadata to its end, folded into `parked-keys.ts`.
 * Invariants: what is parked is written in the order asked for, in transactions, and acknowledged before its offset may be committed (D2, D3); a
 * zombie writes nothing (C3, C8); a transaction of unknown outcome is looked for in the DLQ before it is written again, so that no record stands
 * there twice; a bound on what is remembered, above which records wait with SLU_RECORD_PARKED_FULL (C6).
 * Why over 300 lines: reading, writing and what is known of both share the producer, the line and the end of the DLQ.
 */
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { FencedProducer, LogDriver, LogProducer, LogReader, LogRecord, OutRecord } from '../schemas/log.ts'
import { tooLargeFor } from './dead-letter.ts'
import { createParkedKeys, textKeyOf, type Look, type ParkEntry } from './parked-keys.ts'
import { staleEpoch, type PartitionSink } from './partition-sink.ts'
import type { PartitionEnvironment } from './partition.ts'
import type { Outgoing, ParkEffect, Parked } from './processor.ts'
import { readToEnd } from './read-to-end.ts'
import { handledNote, orderOfCopy, readDeadLetter, readHandledNote } from './redrive.ts'

export const PARKED_RECORDS_MAX = 100_000
/** Records in one transaction. */
const BATCH_RECORDS_MAX = 100
const BATCH_BYTES_MAX = 1 << 20

export interface ParkingOptions {
  readonly environment: PartitionEnvironment
  readonly driver: Pick<LogDriver, 'fencedProducer'>
  readonly reader: LogReader
  /** For outputs. */
  readonly producer: Pick<LogProducer, 'send'>
  /** One per group and input partition. */
  readonly producerName: string
  /** The input topic and its DLQ as the broker knows them; the DLQ has the partition too. */
  readonly brokerTopic: string
  readonly partition: number
  readonly parkedRecordsMax: number
  readonly sink: PartitionSink
  /** Rejects with SLU_LOG_STALE_EPOCH when the partition is not ours. */
  readonly prove: () => Promise<void>
  readonly hash: (text: string) => string
  readonly signal: AbortSignal
}

export interface Parking {
  /** `mark`, `metadata` = what is committed. Rejects with SLU_LOG_STALE_EPOCH once closed. */
  open(mark: bigint, metadata: string): Promise<void>
  look(record: LogRecord): Look
  /** Throws SLU_RECORD_PARKED_FULL; what is parked is remembered at once and written by `write`. */
  park(parked: Parked): void
  /** Whether the DLQ must be told that the record was handled. */
  handled(record: LogRecord): boolean
  /** Resolves when it is acknowledged; in the order of the calls. */
  write(effect: ParkEffect): Promise<void>
  /**
   * The outputs of a chunk, in order. What the log refuses as too large is parked, and what stands behind it is not sent but follows it: `told` (by
   * offset, to be written afterwards) is changed accordingly.
   */
  send(outgoing: readonly Outgoing[], told: Map<bigint, ParkEffect>): Promise<void>
  /** Outputs of one record; the error if the log refuses one as too large. */
  trySend(outgoing: readonly Outgoing[]): Promise<SluiceError | null>
  /** For what is committed at `mark`. */
  metadata(mark: bigint): string
  /** From here on `undo` takes back what was looked at and parked. */
  begin(): void
  undo(): void
  close(): Promise<void>
}

interface Waiting {
  readonly entry: ParkEffect
  readonly resolve: () => void
  readonly reject: (error: SluiceError) => void
}

/** What a record is parked with that stands behind another of its key. */
export const behind = (record: LogRecord): Parked => ({ record, error: new SluiceError('SLU_RECORD_KEY_PARKED', ''), stage: 'handle' })

const recordOf = (entry: ParkEffect): LogRecord => (entry.kind === 'parked' ? entry.parked.record : entry.record)
const bytesOf = (entry: ParkEffect): number => (entry.kind === 'parked' ? (entry.parked.record.value?.length ?? 0) : 0) + 1024
const isTooLarge = (thrown: unknown): boolean => asSluiceError(thrown, 'SLU_LOG_FAILED').code === 'SLU_LOG_RECORD_TOO_LARGE'
const metadataOf = (dlqFrom: bigint): string => JSON.stringify({ v: 1, dlqFrom: String(dlqFrom) })

/** Null = lost, or not ours: read from the start. */
export function dlqFromOf(metadata: string): bigint | null {
  const found = /^\{"v":1,"dlqFrom":"(\d{1,19})"\}$/.exec(metadata)
  return found === null ? null : BigInt(found[1] as string)
}

/** Why over 70 lines: one state machine over the producer and the line of what is to be written. */
export function createParking(options: ParkingOptions): Parking {
  const { environment, sink, signal, brokerTopic, partition } = options
  const { functionName } = environment
  const dlq = { topic: `${brokerTopic}.dlq`, partition }
  const copyOrder = (record: LogRecord): bigint | null => orderOfCopy(record, functionName)
  const digestOf = (record: LogRecord): string => options.hash(`${record.key?.toString('latin1') ?? ''}\n${record.value?.toString('latin1') ?? '-'}`).slice(0, 16)
  const keys = createParkedKeys({ ordersMax: options.parkedRecordsMax, orderOfCopy: copyOrder, digestOf })
  let producer: FencedProducer | null = null
  let isProven = false
  /** What the last transaction held that may or may not stand in the DLQ. */
  let doubtful: readonly Waiting[] = []
  /** How far the DLQ is known; what is not acknowledged stands at or above it. Moved once a read is over: one that fails is repeated from where it began. */
  let knownEnd = 0n
  let waiting: Waiting[] = []
  let isFlushing = false

  /** What a record of the DLQ says of this partition under this function; null = nothing. */
  const entryOf = (record: LogRecord): ParkEntry | null => {
    const key = textKeyOf(record)
    if (key === null) return null
    const note = readHandledNote(record)
    if (note !== null) {
      if (note.functionName !== functionName || note.topic !== brokerTopic || note.partition !== partition) return null
      return { kind: 'handled', key, offset: note.offset, order: note.order, digest: note.digest, at: record.offset }
    }
    const { order, source, functionName: name } = readDeadLetter(record)
    if (order === null || source.offset === null || name !== functionName || source.topic !== brokerTopic || source.partition !== partition) return null
    return { kind: 'parked', key, offset: source.offset, order, digest: digestOf(record), at: record.offset }
  }

  /** Returns the end. A tail that begins at its end yields nothing. */
  const readBack = async (from: bigint | null, each: (entry: ParkEntry) => void): Promise<bigint> => {
    let end = from ?? 0n
    const open = (start: bigint | null) =>
      options.reader.open({ topic: dlq.topic, partitions: [partition], from: start === null ? 'start' : new Map([[partition, start]]), committedOnly: true, untilEnd: true })
    const tail = await open(from).catch((thrown: unknown) => {
      // Retention has removed what stood there, or the DLQ was made anew: what is left of it counts.
      if (asSluiceError(thrown, 'SLU_LOG_FAILED').code !== 'SLU_LOG_TRUNCATED') throw thrown
      end = 0n
      return open(null)
    })
    await readToEnd(tail, signal, ({ records, readTo }) => {
      for (const record of records) {
        const entry = entryOf(record)
        if (entry !== null) each(entry)
      }
      end = readTo
    })
    return end
  }

  const drop = async (): Promise<void> => {
    const old = producer
    producer = null
    // What is given up may be fenced already; closing it tells nothing new.
    await old?.close().catch(() => undefined)
  }

  const fence = async (): Promise<FencedProducer> => {
    if (producer !== null) return producer
    const opened = await options.driver.fencedProducer(options.producerName)
    isProven = false
    producer = opened
    return opened
  }

  const toOut = (entry: ParkEffect, isShort: boolean): OutRecord => {
    const record = recordOf(entry)
    const order = copyOrder(record) ?? record.offset
    if (entry.kind === 'parked') return sink.toDeadLetter(entry.parked, entry.attempts, isShort, record.key === null ? null : order)
    return handledNote(dlq, record.key, { functionName, topic: brokerTopic, partition, offset: record.offset, order, digest: digestOf(record) })
  }

  const landed = ({ entry, resolve }: Waiting, at: bigint): void => {
    keys.wrote(entry.kind, recordOf(entry), at)
    if (at >= knownEnd) knownEnd = at + 1n
    if (entry.kind === 'parked') sink.wasParked(entry.parked)
    resolve()
  }

  /** Those of the last transaction that stand in the DLQ after all. */
  const settleDoubt = async (): Promise<void> => {
    if (doubtful.length === 0) return
    const found = new Map<string, bigint>()
    const end = await readBack(knownEnd, (entry) => void found.set(`${entry.kind} ${entry.offset}`, entry.at))
    for (const one of doubtful) {
      const at = found.get(`${one.entry.kind} ${recordOf(one.entry).offset}`)
      if (at === undefined) continue
      waiting = waiting.filter((other) => other !== one)
      landed(one, at)
    }
    doubtful = []
    if (end > knownEnd) knownEnd = end
  }

  const transact = async (isAlone: boolean, isShort: boolean): Promise<void> => {
    const opened = await fence()
    await settleDoubt()
    if (!isProven) await options.prove()
    isProven = true
    let bytes = 0
    const batch = waiting.slice(0, isAlone ? 1 : BATCH_RECORDS_MAX).filter(({ entry }, i) => (bytes += bytesOf(entry)) <= BATCH_BYTES_MAX || i === 0)
    if (batch.length === 0) return
    try {
      const appended = await opened.transaction(batch.map(({ entry }) => toOut(entry, isShort)))
      waiting = waiting.slice(batch.length)
      for (const [i, one] of batch.entries()) landed(one, appended[i]?.offset as bigint)
    } catch (thrown) {
      if (!isTooLarge(thrown)) doubtful = batch
      throw thrown
    }
  }

  const persist = (isAlone: boolean, isShort: boolean): Promise<void> =>
    sink.persist(async () => {
      try {
        await transact(isAlone, isShort)
      } catch (thrown) {
        if (!isTooLarge(thrown)) await drop()
        // Not even the short form fits: the partition stands rather than lose the record (D3).
        throw isTooLarge(thrown) && isShort ? tooLargeFor(toOut((waiting[0] as Waiting).entry, true), thrown) : thrown
      }
    }, true)

  const flush = async (): Promise<void> => {
    if (isFlushing) return
    isFlushing = true
    let form: readonly [isAlone: boolean, isShort: boolean] = [false, false]
    try {
      while (waiting.length > 0) {
        try {
          await persist(...form)
          form = [false, false]
        } catch (thrown) {
          if (!isTooLarge(thrown)) throw thrown
          form = form[0] ? [true, true] : [true, false]
        }
      }
    } catch (thrown) {
      const left = waiting
      waiting = []
      for (const one of left) one.reject(asSluiceError(thrown, 'SLU_INTERNAL'))
    }
    isFlushing = false
  }

  const park = (parked: Parked): void => {
    if (keys.isFull(parked.record)) throw new SluiceError('SLU_RECORD_PARKED_FULL', `${keys.openOrders()} records of ${keys.parkedKeys()} keys`, parked.error)
    keys.park(parked.record)
  }

  const sendAll = async (records: readonly Outgoing[]): Promise<SluiceError | null> => {
    try {
      await sink.persist(() => options.producer.send(records.map(sink.toOutRecord)))
      sink.wasSent(records.length)
      return null
    } catch (thrown) {
      if (!isTooLarge(thrown)) throw thrown
      return asSluiceError(thrown, 'SLU_LOG_FAILED')
    }
  }

  const sendInTurn = async (source: LogRecord, records: readonly Outgoing[], told: Map<bigint, ParkEffect>): Promise<void> => {
    let parked: Parked | null = keys.isBehind(source) ? behind(source) : null
    const attempts = parked === null ? 1 : 0
    for (const record of records) {
      if (parked !== null) break
      const error = await sendAll([record])
      if (error !== null) parked = { record: source, error, stage: 'send' }
    }
    if (parked === null) return
    park(parked)
    told.set(source.offset, { kind: 'parked', parked, attempts })
  }

  return {
    open: async (mark, metadata) => {
      await sink.persist(async () => {
        try {
          await fence()
          knownEnd = await readBack(dlqFromOf(metadata), (entry) => {
            keys.restore(entry, mark)
            if (keys.openOrders() + keys.replayed() > 2 * options.parkedRecordsMax) throw new SluiceError('SLU_RECORD_PARKED_FULL', `${dlq.topic}/${partition}`)
          })
        } catch (thrown) {
          await drop()
          throw thrown
        }
      })
    },
    look: (record) => keys.look(record),
    park,
    handled: (record) => keys.handled(record, knownEnd),
    write: (entry) => {
      if (signal.aborted) return Promise.reject(staleEpoch())
      return new Promise((resolve, reject) => {
        waiting.push({ entry, resolve, reject })
        void flush()
      })
    },
    send: async (outgoing, told) => {
      if (outgoing.length === 0 || (await sendAll(outgoing)) === null) return
      for (const [source, records] of Map.groupBy(outgoing, (one) => one.source)) if (source !== undefined) await sendInTurn(source, records, told)
    },
    trySend: (outgoing) => (outgoing.length === 0 ? Promise.resolve(null) : sendAll(outgoing)),
    metadata: (mark) => metadataOf(keys.neededFrom(mark, knownEnd)),
    begin: () => keys.begin(),
    undo: () => keys.undo(),
    close: drop,
  }
}
