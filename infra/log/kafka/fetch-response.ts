/**
 * The answer to a fetch, partition by partition: what one of them cannot give or we cannot read takes nothing from the others (B6, D6).
 *
 * Owns: which of the fetched records are handed over, and how far a fetch brings us; two repairs of kafkajs, which decodes all partitions of an answer
 * together and throws what the first of them met: the error of each partition stays beside the others' records, and of a batch that cannot be read its
 * offset and why, behind the records before it. And the bound on what one answer unpacks to (C6): beyond `UNPACKED_BYTES_MAX` the rest of it is left for
 * the next fetch.
 */
// Before the reader of batches, which takes the reader of records.
import './record.ts'
import { createRequire } from 'node:module'
import { asSluiceError, SluiceError } from '../../../schemas/errors.ts'
import { UNPACKED_BYTES_MAX } from './codecs.ts'
import type { FetchedPartition } from './kafkajs.ts'
import type { FetchedRecord } from './record.ts'
import { replaceModule } from './replace-module.ts'

const require = createRequire(import.meta.url)

interface Decoder {
  offset: number
  readonly buffer: Buffer
  readInt32(): number
  readBytes(length: number): Buffer
  canReadBytes(length: number): boolean
}
type Decode = (decoder: Decoder) => Promise<readonly FetchedRecord[]>

const DecoderClass = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => Decoder
const decodeBatch = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (
  decoder: Decoder,
) => Promise<{ readonly firstOffset: string; readonly lastOffsetDelta: number; readonly records: readonly FetchedRecord[] }>
const decodeMessageSet = require('kafkajs/src/protocol/messageSet/decoder') as (decoder: Decoder, bytes: number) => Promise<readonly FetchedRecord[]>
const { failure, createErrorFromCode } = require('kafkajs/src/protocol/error') as { failure(code: number): boolean; createErrorFromCode(code: number): Error }

/** The first batch that could not be read. */
interface Unread {
  readonly offset: bigint
  readonly error: SluiceError
}

const UNREAD: unique symbol = Symbol('sluice.unread')
/** Where the batches that were read end. Not where their records do: compaction may leave nothing of a batch but its place. */
const END: unique symbol = Symbol('sluice.end')
const SIZE: unique symbol = Symbol('sluice.size')
const BATCH_MAGIC = 2
const MAGIC_AT = 16
const ATTRIBUTES_AT = 21
const CODEC_MASK = 7
/** Kafkajs' own: less than this is no batch. */
const BATCH_BYTES_MIN = 49

/** What the partitions of an answer have unpacked to, by the decoder that they share. */
const unpacked = new WeakMap<Decoder, number>()

const bytesOf = (messages: readonly FetchedRecord[]): number => messages.reduce((sum, { key, value }) => sum + (key?.length ?? 0) + (value?.length ?? 0), 0)

async function decodeBatches(answer: Decoder, batches: Decoder): Promise<readonly FetchedRecord[]> {
  const messages: FetchedRecord[] = []
  let used = unpacked.get(answer) ?? 0
  let end: bigint | undefined
  const size = { records: 0, bytes: 0, largestBatch: 0, received: batches.buffer.length }
  while (used <= UNPACKED_BYTES_MAX && batches.canReadBytes(BATCH_BYTES_MIN)) {
    const from = batches.offset
    const offset = batches.buffer.readBigInt64BE(from)
    const isPacked = (batches.buffer.readInt16BE(from + ATTRIBUTES_AT) & CODEC_MASK) !== 0
    try {
      const { firstOffset, lastOffsetDelta, records } = await decodeBatch(batches)
      end = BigInt(firstOffset) + BigInt(lastOffsetDelta) + 1n
      // Not as arguments of one call: of a hundred thousand the stack is not large enough.
      for (const record of records) messages.push(record)
      size.records += records.length
      size.bytes = batches.offset
      size.largestBatch = Math.max(size.largestBatch, batches.offset - from)
      used += isPacked ? bytesOf(records) : batches.offset - from
    } catch (error) {
      // The last batch may be cut short by the limit of the fetch.
      if ((error as Error).name === 'KafkaJSPartialMessageError') break
      const unread: Unread = { offset, error: asSluiceError(error, 'SLU_LOG_BATCH_UNREADABLE') }
      return Object.assign(messages, { [UNREAD]: unread, [END]: end })
    }
  }
  unpacked.set(answer, used)
  return Object.assign(messages, { [END]: end, [SIZE]: size })
}

const decodeBeside: Decode = async (answer) => {
  const bytes = answer.readInt32()
  if (bytes <= 0 || !answer.canReadBytes(bytes)) return []
  const batches = answer.readBytes(bytes)
  if (bytes <= MAGIC_AT) return []
  // From before 0.11: by kafkajs.
  return batches.readInt8(MAGIC_AT) === BATCH_MAGIC ? decodeBatches(answer, new DecoderClass(batches)) : decodeMessageSet(new DecoderClass(batches), bytes)
}

if (!replaceModule('kafkajs/src/protocol/requests/fetch/v4/decodeMessages', decodeBeside))
  throw new SluiceError('SLU_INTERNAL', 'answers were decoded before fetch-response.ts was loaded')

for (const version of [4, 5, 6, 7, 8, 9, 10, 11])
  (require(`kafkajs/src/protocol/requests/fetch/v${version}/response`) as { parse(data: unknown): Promise<unknown> }).parse = (data) => Promise.resolve(data)

/** Why the partition gave nothing, as kafkajs says it; null = it answered. */
export const refusalOf = ({ errorCode = 0 }: FetchedPartition): Error | null => (failure(errorCode) ? createErrorFromCode(errorCode) : null)

/** Of the batch behind those that were read: why it was not. */
export function unreadOf({ messages }: FetchedPartition): Unread | null {
  return (messages as { readonly [UNREAD]?: Unread })[UNREAD] ?? null
}

/** What the batches that were read took, as they came. */
export interface Size {
  readonly records: number
  readonly bytes: number
  readonly largestBatch: number
  /** Bytes of the partition in the answer: with the batch that its end cuts short. */
  readonly received: number
}

/** Null: nothing was read, or nothing that says its size. */
export function sizeOf({ messages }: FetchedPartition): Size | null {
  const size = (messages as { readonly [SIZE]?: Size })[SIZE]
  return size === undefined || size.records === 0 ? null : size
}

export interface Fetched {
  /** Records to hand over: neither control records nor those of aborted transactions. */
  readonly messages: readonly FetchedRecord[]
  /** Position after this fetch, control records and compacted gaps included. */
  readonly readTo: bigint
}

/** Key of the control record that ends an aborted transaction. */
const ABORT_MARKER = Buffer.from([0, 0, 0, 0])

/**
 * Records that were not aborted, control records left out. By ourselves: kafkajs takes the list of aborted transactions as if it were in the order of
 * their first records, but the broker gives it in the order in which they ended; where two producers' transactions overlap, aborted records came
 * through. It also takes any record with a key of four zero bytes for an abort marker.
 */
function committedOf({ messages, abortedTransactions }: FetchedPartition): FetchedRecord[] {
  const starts = (abortedTransactions ?? []).map((t) => ({ producerId: t.producerId, first: BigInt(t.firstOffset) })).sort((a, b) => (a.first < b.first ? -1 : 1))
  if (starts.length === 0) return messages.filter((message) => !message.isControlRecord)
  const aborted = new Set<string>()
  let next = 0
  return messages.filter((message) => {
    const { producerId, inTransaction } = message.batchContext
    for (let start = starts[next]; start !== undefined && start.first <= message.offsetValue; start = starts[++next]) aborted.add(start.producerId)
    if (message.isControlRecord && message.key?.equals(ABORT_MARKER) === true) aborted.delete(producerId)
    return !message.isControlRecord && !(inTransaction && aborted.has(producerId))
  })
}

function endOf(messages: FetchedPartition['messages']): bigint | null {
  const said = (messages as { readonly [END]?: bigint })[END]
  const last = messages.at(-1)
  return said ?? (last === undefined ? null : BigInt(last.batchContext.firstOffset) + BigInt(last.batchContext.lastOffsetDelta) + 1n)
}

/** What a fetch from `fetchOffset` brought; null if nothing. */
export function readFetched(fetchOffset: bigint, partition: FetchedPartition): Fetched | null {
  const end = endOf(partition.messages)
  if (end === null) return null
  const readTo = end > fetchOffset ? end : fetchOffset
  const messages = committedOf(partition)
  // A batch is fetched whole: it may begin below the offset asked for.
  const from = messages.findIndex((message) => message.offsetValue >= fetchOffset)
  return { messages: from === 0 ? messages : from < 0 ? [] : messages.slice(from), readTo }
}
