/**
 * Dead letters and late records (D2, D6).
 *
 * Owns: what is written beside a topic about a record that did not fully succeed. Key, value, timestamp and header values stay as they
 * were, byte for byte; headers in Kafka Connect's dialect and our code are added behind them. Pure: it builds the record, others send it.
 */
import { causeChain, isError, SluiceError, thrownCause, thrownName, thrownStack } from '../schemas/errors.ts'
import type { LogHeaders, LogRecord, OutRecord } from '../schemas/log.ts'
import type { Parked } from './processor.ts'

export const HEADER_CODE = 'sluice.error.code'
export const HEADER_ATTEMPTS = 'sluice.attempts'

/** On a dead letter that parks its key: the offset under which the record first stood in its partition (D4). */
export const HEADER_ORDER = 'sluice.park.order'
/** On a record that was put back: tries before it was parked (D1). */
export const HEADER_TRIED = 'sluice.redrive.attempts'

/** Kafka Connect's prefix of what a dead letter says of itself. */
export const CONNECT = '__connect.errors.'
const TEXT_CHARS_MAX = 4096

/** Connect's names of the stages. */
const STAGES = { decode: 'VALUE_CONVERTER', handle: 'TASK_PUT', window: 'TRANSFORMATION', send: 'KAFKA_PRODUCE' } as const

export interface DeadLetterFacts {
  readonly functionName: string
  /** Before every logical topic name. */
  readonly topicPrefix: string
  /** Partitions of the target topic: the source partition is kept where it exists, else the key decides. */
  readonly targetPartitions: number
}

const header = (name: string, text: string): readonly [string, Buffer] => [name, Buffer.from(text.slice(0, TEXT_CHARS_MAX), 'utf8')]

function beside(record: LogRecord, suffix: '.dlq' | '.late', facts: DeadLetterFacts, added: LogHeaders): OutRecord {
  return {
    topic: `${facts.topicPrefix}${record.topic}${suffix}`,
    key: record.key,
    value: record.value,
    timestampMs: record.timestampMs,
    headers: [...record.headers, ...added],
    mayPack: true,
    ...(record.partition < facts.targetPartitions ? { partition: record.partition } : {}),
  }
}

/** The error of the handler itself where ours only says that it threw. */
const rootOf = (error: SluiceError): Error => {
  const cause = thrownCause(error)
  return isError(cause) ? cause : error
}

/** Tries in earlier rounds, before it was put back. */
function triedBefore(record: LogRecord): number {
  const text = record.headers.findLast(([name]) => name === HEADER_TRIED)?.[1].toString('latin1') ?? ''
  return /^\d{1,9}$/.test(text) ? Number(text) : 0
}

/**
 * `attempts` = tries of this round; those before a redrive are added (D1). `isShort` leaves out message and stack: for a record so near the topic's
 * limit that the full headers do not fit. `order`: the dead letter parks its key (D4).
 */
export function deadLetterRecord(parked: Parked, facts: DeadLetterFacts, attempts: number, isShort = false, order: bigint | null = null): OutRecord {
  const { record, error } = parked
  const root = rootOf(error)
  const chain = causeChain(error)
  const coordinates = [
    header(`${CONNECT}topic`, facts.topicPrefix + record.topic),
    header(`${CONNECT}partition`, String(record.partition)),
    header(`${CONNECT}offset`, String(record.offset)),
    header(`${CONNECT}connector.name`, facts.functionName),
    header(`${CONNECT}task.id`, String(record.partition)),
    header(`${CONNECT}stage`, STAGES[parked.stage]),
  ]
  const why = [
    header(`${CONNECT}class.name`, `sluice.${facts.functionName}`),
    header(`${CONNECT}exception.class.name`, thrownName(root)),
    header(`${CONNECT}exception.message`, chain.join(': ')),
    header(`${CONNECT}exception.stacktrace`, [...chain, thrownStack(root)].join('\n')),
  ]
  const ours = [header(HEADER_CODE, error.code), header(HEADER_ATTEMPTS, String(attempts + triedBefore(record))), ...(order === null ? [] : [header(HEADER_ORDER, String(order))])]
  return beside(record, '.dlq', facts, [...coordinates, ...(isShort ? [] : why), ...ours])
}

const ROUND_BYTES = 4096

/** Not even its short form fits, packed or not: the partition stands rather than lose the record (D3), and says what would help. */
export function tooLargeFor({ topic, key, value, headers }: OutRecord, cause: unknown): SluiceError {
  const bytes = (key?.length ?? 0) + (value?.length ?? 0) + (headers ?? []).reduce((sum, [name, text]) => sum + name.length + text.length, 0)
  const bound = (Math.floor(bytes / ROUND_BYTES) + 2) * ROUND_BYTES
  return new SluiceError('SLU_LOG_DLQ_UNWRITABLE', `it is too large: raise max.message.bytes of ${topic} to ${bound}`, cause)
}

/** A late record as it goes to `<topic>.late` (W2). */
export function lateRecord(record: LogRecord, facts: DeadLetterFacts): OutRecord {
  return beside(record, '.late', facts, [
    header('sluice.late.function', facts.functionName),
    header('sluice.late.partition', String(record.partition)),
    header('sluice.late.offset', String(record.offset)),
  ])
}
