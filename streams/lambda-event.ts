/**
 * The event of AWS Lambda's Kafka event source, and the answer of a handler (runtime.md §6).
 *
 * Owns: both directions. Records → event, as Lambda sends it (base64 keys and values, header bytes as numbers, offsets as numbers); event →
 * records, for our own functions on Lambda; a handler's answer → the offsets that failed. Shapes follow the AWS Lambda developer guide
 * ("Using Lambda with self-managed Apache Kafka") and @types/aws-lambda. Pure.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { LogHeaders, LogRecord } from '../schemas/log.ts'

export interface LambdaKafkaRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  /** Epoch ms. */
  readonly timestamp: number
  readonly timestampType: 'CREATE_TIME' | 'LOG_APPEND_TIME'
  /** Base64; left out where the record has none. */
  readonly key?: string
  readonly value?: string
  /** One object of one header each: name → bytes. */
  readonly headers: readonly Readonly<Record<string, readonly number[]>>[]
}

export interface LambdaKafkaEvent {
  /** `SelfManagedKafka` as Lambda sends it; some published samples write `aws:SelfManagedKafka`. */
  readonly eventSource: string
  /** Comma separated host:port; empty where there is none (embedded log). */
  readonly bootstrapServers: string
  /** By `<topic>-<partition>`, in order of offset. */
  readonly records: Readonly<Record<string, readonly LambdaKafkaRecord[]>>
}

export interface LambdaBatchResponse {
  readonly batchItemFailures: readonly { readonly itemIdentifier: { readonly partition: string; readonly offset: number } }[]
}

export const EVENT_SOURCE = 'SelfManagedKafka'

function kafkaRecord(record: LogRecord): LambdaKafkaRecord {
  return {
    topic: record.topic,
    partition: record.partition,
    offset: Number(record.offset),
    timestamp: record.timestampMs,
    timestampType: record.appendMs === null ? 'CREATE_TIME' : 'LOG_APPEND_TIME',
    ...(record.key === null ? {} : { key: record.key.toString('base64') }),
    ...(record.value === null ? {} : { value: record.value.toString('base64') }),
    headers: record.headers.map(([name, value]) => ({ [name]: [...value] })),
  }
}

/** `records` are of one partition. */
export function lambdaEvent(records: readonly LogRecord[], bootstrapServers: string): LambdaKafkaEvent {
  const [first] = records
  const name = first === undefined ? '' : `${first.topic}-${first.partition}`
  return { eventSource: EVENT_SOURCE, bootstrapServers, records: first === undefined ? {} : { [name]: records.map(kafkaRecord) } }
}

/** Upper estimate of the event's size in bytes of JSON. */
export function eventBytes(record: LogRecord): number {
  const headers = record.headers.reduce((sum, [name, value]) => sum + name.length * 2 + value.length * 4 + 8, 0)
  return Math.ceil(((record.key?.length ?? 0) + (record.value?.length ?? 0)) / 3) * 4 + headers + record.topic.length + 160
}

/** What a handler said: which of the batch's offsets failed. `bad` = an answer that Lambda takes for a failure of the whole batch. */
export type BatchAnswer = { readonly kind: 'all-done' } | { readonly kind: 'failed-from'; readonly offset: bigint } | { readonly kind: 'bad'; readonly why: string }

/**
 * Reads what a handler returned for a batch of one partition. As Lambda does: nothing, `null`, `{}`, a missing, null or empty list mean that all is done;
 * an entry that names no record of the batch makes the whole answer bad. What follows the lowest failed offset is tried again too.
 */
export function readAnswer(answer: unknown, records: readonly LogRecord[]): BatchAnswer {
  const listed = typeof answer === 'object' && answer !== null && 'batchItemFailures' in answer ? answer.batchItemFailures : undefined
  if (listed === undefined || listed === null) return { kind: 'all-done' }
  if (!Array.isArray(listed)) return { kind: 'bad', why: 'batchItemFailures is not a list' }
  const [first] = records
  const name = first === undefined ? '' : `${first.topic}-${first.partition}`
  let lowest: bigint | null = null
  for (const entry of listed as unknown[]) {
    const identifier = typeof entry === 'object' && entry !== null && 'itemIdentifier' in entry ? entry.itemIdentifier : undefined
    if (typeof identifier !== 'object' || identifier === null) return { kind: 'bad', why: 'an itemIdentifier is not an object {partition, offset}' }
    const { partition, offset } = identifier as { partition?: unknown; offset?: unknown }
    if (partition !== name) return { kind: 'bad', why: `an itemIdentifier names partition ${String(partition).slice(0, 100)}, not ${name}` }
    // Beyond 2^53 several offsets are one number: the first of them, so that none is taken for done.
    const failed = typeof offset === 'number' ? records.find((r) => Number(r.offset) === offset) : undefined
    if (failed === undefined) return { kind: 'bad', why: `an itemIdentifier names offset ${String(offset).slice(0, 30)}` }
    if (lowest === null || failed.offset < lowest) lowest = failed.offset
  }
  return lowest === null ? { kind: 'all-done' } : { kind: 'failed-from', offset: lowest }
}

function headersOf(headers: unknown): LogHeaders {
  if (!Array.isArray(headers)) return []
  return (headers as unknown[]).flatMap((one) =>
    typeof one === 'object' && one !== null ? Object.entries(one).map(([name, bytes]) => [name, Buffer.from(Array.isArray(bytes) ? (bytes as number[]) : [])] as const) : [],
  )
}

/** Some published samples write the partition as text. */
type IncomingRecord = Omit<LambdaKafkaRecord, 'partition'> & { readonly partition: number | string }

/** The records of an event, by partition, in order of offset. Throws SLU_RECORD_UNDECODABLE for what is no such event. */
export function recordsOf(event: unknown): Map<string, LogRecord[]> {
  const bad = (why: string): never => {
    throw new SluiceError('SLU_RECORD_UNDECODABLE', `Kafka event of Lambda: ${why}`)
  }
  const groups = typeof event === 'object' && event !== null && 'records' in event ? event.records : bad('no records')
  if (typeof groups !== 'object' || groups === null) return bad('records is not an object')
  const found = new Map<string, LogRecord[]>()
  for (const [name, list] of Object.entries(groups)) {
    if (!Array.isArray(list)) return bad(`${name} is not a list`)
    const records = (list as IncomingRecord[]).map((r): LogRecord => {
      if (typeof r !== 'object' || r === null || typeof r.topic !== 'string' || !Number.isSafeInteger(r.offset)) return bad(`${name} holds something that is no record`)
      const partition = Number(r.partition)
      if (!Number.isSafeInteger(partition) || partition < 0 || r.offset < 0 || typeof r.timestamp !== 'number')
        return bad(`${name} holds a record without partition, offset or time`)
      const bytes = (text: unknown): Buffer | null => (typeof text === 'string' ? Buffer.from(text, 'base64') : null)
      return {
        topic: r.topic,
        partition,
        offset: BigInt(r.offset),
        timestampMs: r.timestamp,
        appendMs: r.timestampType === 'LOG_APPEND_TIME' ? r.timestamp : null,
        key: bytes(r.key),
        value: bytes(r.value),
        headers: headersOf(r.headers),
      }
    })
    found.set(
      name,
      records.toSorted((a, b) => (a.offset < b.offset ? -1 : 1)),
    )
  }
  return found
}
