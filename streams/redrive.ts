/**
 * Dead letters read back, and put on their source topic again (D5).
 *
 * Owns: what a dead letter says of itself; the record as it was before it was parked, with `sluice.redrive` naming the dead letter; the marker that
 * is written to the dead letter's own partition in the same transaction. A marker names what was redriven, so that the same dead letter is
 * not redriven twice, whoever asks. A record parked again after a redrive is a new dead letter. What the record brings along: its tries so far (D1), and
 * where its key was parked its order and the function that parked it (D4). It is addressed to that function: every other one that reads the topic
 * dealt with the record the first time, and passes the copy by. Pure: others read and write.
 */
import type { LogRecord, OutRecord, TopicPartition } from '../schemas/log.ts'
import { logicalName } from '../schemas/topics.ts'
import { CONNECT, HEADER_ATTEMPTS, HEADER_CODE, HEADER_ORDER, HEADER_TRIED } from './dead-letter.ts'

/** On a record that was put back: `<dlq topic>/<partition>/<offset>` of the dead letter it was. */
export const HEADER_REDRIVE = 'sluice.redrive'
/** On a record that was put back and whose key was parked: `<function>/<order>` (D4). */
const HEADER_REDRIVE_ORDER = 'sluice.redrive.order'
/** On a record that was put back: `<function>/<topic without prefix>`, whom it is for. In another topic, where headers were handed on, it says nothing. */
const HEADER_REDRIVE_FOR = 'sluice.redrive.for'
/** What a redrive adds to a record. */
const ADDED = new Set([HEADER_REDRIVE, HEADER_REDRIVE_ORDER, HEADER_REDRIVE_FOR, HEADER_TRIED])
/** On a note in a DLQ partition: a redriven copy of a parked key was handled (D4). */
const HEADER_HANDLED = 'sluice.park.handled'
/** On a marker in a DLQ partition: the offsets redriven, separated by commas. */
const HEADER_REDRIVEN = 'sluice.redriven'

export interface DeadLetter {
  readonly record: LogRecord
  readonly source: TopicPartition & { readonly offset: bigint | null }
  readonly functionName: string
  /** Our error code; empty if another tool parked it. */
  readonly code: string
  readonly attempts: number
  readonly message: string
  /** Where its key is parked: the offset under which it first stood in its partition (D4). */
  readonly order: bigint | null
}

const DECIMAL = /^\d{1,19}$/

const textOf = (record: LogRecord, name: string): string => record.headers.findLast(([n]) => n === name)?.[1].toString('utf8') ?? ''

/** What a dead letter says of itself. The DLQ's name without its suffix is the source where no header says otherwise. */
export function readDeadLetter(record: LogRecord): DeadLetter {
  const offset = textOf(record, `${CONNECT}offset`)
  const partition = textOf(record, `${CONNECT}partition`)
  const order = textOf(record, HEADER_ORDER)
  return {
    record,
    source: {
      topic: textOf(record, `${CONNECT}topic`) || record.topic.replace(/\.dlq$/, ''),
      partition: /^\d{1,6}$/.test(partition) ? Number(partition) : record.partition,
      offset: /^\d+$/.test(offset) ? BigInt(offset) : null,
    },
    functionName: textOf(record, `${CONNECT}connector.name`),
    code: textOf(record, HEADER_CODE),
    attempts: Number(textOf(record, HEADER_ATTEMPTS)) || 0,
    message: textOf(record, `${CONNECT}exception.message`),
    order: DECIMAL.test(order) ? BigInt(order) : null,
  }
}

/** What Sluice itself notes in a DLQ. A dead letter has coordinates, whatever headers its record brought along; a note has none. */
export const isMarker = (record: LogRecord): boolean =>
  record.value === null && record.headers.some(([name]) => name === HEADER_REDRIVEN || name === HEADER_HANDLED) && !record.headers.some(([name]) => name === `${CONNECT}topic`)

const PAGE_BITS = 65_536n

/**
 * The offsets that the markers of one DLQ partition name: a bit each, so that a DLQ of any length can be read as a stream. A marker speaks of what stands
 * before it; whatever else its header holds is no offset, and takes no memory.
 */
export class RedrivenOffsets {
  readonly #pages = new Map<bigint, Uint8Array>()

  read(marker: LogRecord): void {
    for (const text of textOf(marker, HEADER_REDRIVEN).split(',')) {
      const offset = /^\d{1,19}$/.test(text) ? BigInt(text) : marker.offset
      if (offset >= marker.offset) continue
      const page = this.#pages.get(offset / PAGE_BITS) ?? new Uint8Array(Number(PAGE_BITS) / 8)
      this.#pages.set(offset / PAGE_BITS, page)
      const bit = Number(offset % PAGE_BITS)
      page[bit >> 3] = (page[bit >> 3] ?? 0) | (1 << (bit & 7))
    }
  }

  has(offset: bigint): boolean {
    const bit = Number(offset % PAGE_BITS)
    return (((this.#pages.get(offset / PAGE_BITS)?.[bit >> 3] ?? 0) >> (bit & 7)) & 1) === 1
  }
}

/** Whom a copy is for: the function that parked it; null = every reader, for another tool did. */
export const readerOf = ({ functionName, code }: DeadLetter): string | null => (code === '' || functionName === '' ? null : functionName)

/** `topicPrefix` = that of the site. */
function addresseeOf(letter: DeadLetter, topicPrefix: string): string | null {
  const { topic } = letter.source
  const reader = readerOf(letter)
  return reader === null ? null : `${reader}/${logicalName(topic, topicPrefix)}`
}

/** A copy that another function parked. `record.topic` is logical. */
export function isForAnother(record: Pick<LogRecord, 'topic' | 'headers'>, functionName: string): boolean {
  if (record.headers.length === 0) return false
  const addressee = record.headers.findLast(([name]) => name === HEADER_REDRIVE_FOR)?.[1].toString('utf8')
  if (addressee === undefined) return false
  const at = addressee.indexOf('/')
  return addressee.slice(at + 1) === record.topic && addressee.slice(0, at) !== functionName
}

/**
 * The record as it was before it was parked. The source partition is kept while the topic has it, so that order per key is. `isForAll`: addressed to
 * nobody, so that every function that reads the topic handles it.
 */
export function redriveRecord(letter: DeadLetter, sourcePartitions: number, topicPrefix: string, isForAll = false): OutRecord {
  const { record, source } = letter
  // What was added stands behind what the record had: from the last coordinates on.
  const from = record.headers.findLastIndex(([name]) => name === `${CONNECT}topic`)
  const addressee = isForAll ? null : addresseeOf(letter, topicPrefix)
  const own = (from < 0 ? record.headers : record.headers.slice(0, from)).filter(([name]) => !ADDED.has(name))
  return {
    topic: source.topic,
    key: record.key,
    value: record.value,
    timestampMs: record.timestampMs,
    mayPack: true,
    headers: [
      ...own,
      [HEADER_REDRIVE, Buffer.from(`${record.topic}/${record.partition}/${record.offset}`)],
      [HEADER_TRIED, Buffer.from(String(letter.attempts))],
      ...(addressee === null ? [] : [[HEADER_REDRIVE_FOR, Buffer.from(addressee)] as const]),
      ...(letter.order === null ? [] : [[HEADER_REDRIVE_ORDER, Buffer.from(`${letter.functionName}/${letter.order}`)] as const]),
    ],
    ...(source.partition < sourcePartitions ? { partition: source.partition } : {}),
  }
}

/** Says in the DLQ partition itself that `letters` (all of that partition) were put back. */
export function redrivenMarker(letters: readonly DeadLetter[]): OutRecord {
  const [first] = letters
  const { topic, partition } = (first as DeadLetter).record
  return { topic, partition, key: null, value: null, headers: [[HEADER_REDRIVEN, Buffer.from(letters.map((l) => String(l.record.offset)).join(','))]] }
}

/** Of those that park their key the lowest order first, so that one round of a redrive is enough; what parks no key keeps its place (D4). */
export function inOrder(letters: readonly DeadLetter[]): DeadLetter[] {
  const parking = letters.filter((letter) => letter.order !== null).sort((a, b) => ((a.order as bigint) < (b.order as bigint) ? -1 : 1))
  return letters.map((letter) => (letter.order === null ? letter : (parking.shift() as DeadLetter)))
}

/** The order of a copy that `functionName` parked; null = any other record. */
export function orderOfCopy(record: LogRecord, functionName: string): bigint | null {
  const [, name, order] = /^(.*)\/(\d{1,19})$/.exec(textOf(record, HEADER_REDRIVE_ORDER)) ?? []
  return name === functionName && order !== undefined ? BigInt(order) : null
}

/** That a copy whose key is parked was handled. */
export interface HandledNote {
  readonly functionName: string
  /** Of the source, with prefix. */
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly order: bigint
  readonly digest: string
}

/** `dlq` = where the dead letters of the partition stand. */
export function handledNote(dlq: TopicPartition, key: Buffer | null, note: HandledNote): OutRecord {
  const { functionName, topic, partition, offset, order, digest } = note
  const text = [functionName, topic, partition, offset, order, digest].join(' ')
  return { ...dlq, key, value: null, headers: [[HEADER_HANDLED, Buffer.from(text)]] }
}

/** Null = no such note. */
export function readHandledNote(record: LogRecord): HandledNote | null {
  if (!isMarker(record)) return null
  const [functionName, topic, partition, offset, order, digest] = textOf(record, HEADER_HANDLED).split(' ')
  if (functionName === undefined || topic === undefined || digest === undefined) return null
  if (!DECIMAL.test(partition ?? '') || !DECIMAL.test(offset ?? '') || !DECIMAL.test(order ?? '')) return null
  return { functionName, topic, partition: Number(partition), offset: BigInt(offset as string), order: BigInt(order as string), digest }
}
