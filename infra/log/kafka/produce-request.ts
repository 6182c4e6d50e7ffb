/**
 * What is sent, in the place of kafkajs' own writing: a request's frame, and record batches (Kafka protocol, record format 2), each written once into
 * memory of its own size.
 *
 * Owns: the layout of a produce request of version 3 to 7 and of the batches in it. Why not kafkajs': it writes every record, batch, partition, topic and
 * request into buffers of their own, which it doubles and fills with zeros: 15 bytes of memory for one that is sent, and headers only as an object, which
 * loses their order and repeats. It groups by partition with a new list per record.
 * Byte for byte what kafkajs writes, but for what it refuses (a header of value null) and the times of a batch whose records bring their own: kafkajs sorts
 * them as texts, and lets one that no clock has wrap around.
 */
// Before the writer of batches, which takes the checksum.
import './crc32c.ts'
import { createRequire } from 'node:module'
import type { LogHeaders } from '../../../schemas/log.ts'
import { replaceModule } from './replace-module.ts'

const require = createRequire(import.meta.url)
const crc32c = require('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number
const { lookupCodec } = require('kafkajs/src/protocol/message/compression') as { lookupCodec(type: number): { compress(encoder: Encoded): Promise<Buffer> } }

type Bytes = Buffer | string | null | undefined
type Headers = Readonly<Record<string, Bytes | readonly Bytes[]>>

/** A message of kafkajs; what we send brings its headers as a list. */
export interface SentMessage {
  readonly key?: Bytes
  readonly value: Bytes
  /** Epoch ms. */
  readonly timestamp?: string
  readonly headers?: Headers
  readonly headerList?: LogHeaders
}

interface Batch {
  readonly messages: readonly SentMessage[]
  readonly firstSequence?: number
}

export interface ProduceRequest {
  readonly acks: number
  readonly timeout: number
  readonly transactionalId?: string | null
  /** A 64-bit number of kafkajs'. */
  readonly producerId?: { toString(): string }
  readonly producerEpoch?: number
  readonly compression?: number
  readonly topicData: readonly { readonly topic: string; readonly partitions: readonly (Batch & { readonly partition: number })[] }[]
}

/** What kafkajs takes for an encoder. */
interface Encoded {
  readonly buffer: Buffer
  readonly parts?: readonly Buffer[]
}

/** One, in parts that are made one when its frame is; by kafkajs' own frame too, which asks for `buf`. */
class Parts implements Encoded {
  readonly parts: readonly Buffer[]

  constructor(parts: readonly Buffer[]) {
    this.parts = parts
  }

  get buffer(): Buffer {
    return Buffer.concat(this.parts)
  }

  get buf(): Buffer {
    return this.buffer
  }
}

interface Request {
  readonly apiKey: number
  readonly apiVersion: number
  encode(): Promise<Encoded>
}

const PRODUCE = 0
const VERSION = 3
const MAGIC = 2
const CODEC_MASK = 7
const TRANSACTIONAL = 16
/** Of a batch: base offset, length, leader epoch, magic, checksum. */
const CHECKED_AT = 21
/** And attributes, last offset, two times, producer, epoch, sequence, count. */
const HEAD_BYTES = 61
const LENGTH_AT = 8
/** What stands before the length is not counted in it. */
const UNCOUNTED = 12
const MAGIC_AT = 16
const CRC_AT = 17

const zigzag = (value: number): number => (value < 0 ? -value * 2 - 1 : value * 2)

function sizeOfVarint(value: number): number {
  let size = 1
  for (let rest = zigzag(value); rest >= 128; rest = Math.floor(rest / 128)) size++
  return size
}

function writeVarint(bytes: Buffer, at: number, value: number): number {
  let rest = zigzag(value)
  while (rest >= 128) {
    bytes[at++] = (rest & 0x7f) | 0x80
    rest = Math.floor(rest / 128)
  }
  bytes[at++] = rest
  return at
}

const bytesOf = (given: Bytes): Buffer | null => (typeof given === 'string' ? Buffer.from(given) : (given ?? null))
const sizeOfBytes = (bytes: Buffer | null): number => (bytes === null ? 1 : sizeOfVarint(bytes.length) + bytes.length)

function writeBytes(to: Buffer, at: number, bytes: Buffer | null): number {
  if (bytes === null) return writeVarint(to, at, -1)
  const from = writeVarint(to, at, bytes.length)
  to.set(bytes, from)
  return from + bytes.length
}

type Pair = readonly [Buffer, Buffer | null]

const NO_PAIRS: readonly Pair[] = []

function pairsOf({ headers, headerList }: SentMessage): readonly Pair[] {
  if (headerList !== undefined) return headerList.length === 0 ? NO_PAIRS : headerList.map(([name, value]): Pair => [Buffer.from(name), value])
  if (headers === undefined) return NO_PAIRS
  return Object.entries(headers).flatMap(([name, value]) => (Array.isArray(value) ? value : [value]).map((one: Bytes): Pair => [Buffer.from(name), bytesOf(one)]))
}

interface Sized {
  readonly body: number
  readonly delta: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly pairs: readonly Pair[]
}

function sized(message: SentMessage, index: number, delta: number): Sized {
  const key = bytesOf(message.key)
  const value = bytesOf(message.value)
  const pairs = pairsOf(message)
  let body = 1 + sizeOfVarint(delta) + sizeOfVarint(index) + sizeOfBytes(key) + sizeOfBytes(value) + sizeOfVarint(pairs.length)
  for (const [name, content] of pairs) body += sizeOfBytes(name) + sizeOfBytes(content)
  return { body, delta, key, value, pairs }
}

function writeRecord(to: Buffer, at: number, index: number, { body, delta, key, value, pairs }: Sized): number {
  let next = writeVarint(to, at, body)
  // Attributes, of which a record has none.
  to[next++] = 0
  next = writeVarint(to, next, delta)
  next = writeVarint(to, next, index)
  next = writeBytes(to, next, key)
  next = writeBytes(to, next, value)
  next = writeVarint(to, next, pairs.length)
  for (const [name, content] of pairs) next = writeBytes(to, writeBytes(to, next, name), content)
  return next
}

/** What a number holds exactly: a time beyond it, which no clock has and a foreign producer may claim, would fail all that is sent with it (D6). */
const timeOf = (text: string | undefined, nowMs: number): number =>
  text === undefined ? nowMs : Math.trunc(Math.max(Number.MIN_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(text))))

/** One record batch. The first record's time is its base; records without one get `nowMs`. */
export async function batchOf({ messages, firstSequence = 0 }: Batch, request: ProduceRequest, nowMs: number): Promise<Buffer> {
  const compression = (request.compression ?? 0) & CODEC_MASK
  const times = messages.map(({ timestamp }) => timeOf(timestamp, nowMs))
  const firstMs = times[0] ?? nowMs
  const records = messages.map((message, i) => sized(message, i, (times[i] as number) - firstMs))
  const size = records.reduce((sum, { body }) => sum + sizeOfVarint(body) + body, 0)
  const isPacked = compression !== 0
  let batch = Buffer.allocUnsafe((isPacked ? 0 : HEAD_BYTES) + size)
  let at = isPacked ? 0 : HEAD_BYTES
  for (const [i, record] of records.entries()) at = writeRecord(batch, at, i, record)
  if (isPacked) batch = Buffer.concat([Buffer.allocUnsafe(HEAD_BYTES), await lookupCodec(compression).compress({ buffer: batch })])
  const isTransactional = (request.transactionalId ?? '') !== ''
  batch.writeBigInt64BE(0n, 0)
  batch.writeInt32BE(batch.length - UNCOUNTED, LENGTH_AT)
  // Leader epoch, which the broker fills in.
  batch.writeInt32BE(0, UNCOUNTED)
  batch[MAGIC_AT] = MAGIC
  batch.writeInt16BE(compression | (isTransactional ? TRANSACTIONAL : 0), CHECKED_AT)
  batch.writeInt32BE(messages.length - 1, 23)
  batch.writeBigInt64BE(BigInt(firstMs), 27)
  batch.writeBigInt64BE(BigInt(times.reduce((latest, ms) => Math.max(latest, ms), firstMs)), 35)
  batch.writeBigInt64BE(BigInt(String(request.producerId ?? -1)), 43)
  batch.writeInt16BE(request.producerEpoch ?? 0, 51)
  batch.writeInt32BE(firstSequence, 53)
  batch.writeInt32BE(messages.length, 57)
  batch.writeUInt32BE(crc32c(batch.subarray(CHECKED_AT)), CRC_AT)
  return batch
}

const int16 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(2)
  bytes.writeInt16BE(value)
  return bytes
}
const int32 = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeInt32BE(value)
  return bytes
}
const text = (value: string | null | undefined): Buffer[] => (value === null || value === undefined ? [int16(-1)] : [int16(Buffer.byteLength(value)), Buffer.from(value)])

async function encodeProduce(request: ProduceRequest): Promise<Encoded> {
  const { transactionalId, acks, timeout, topicData } = request
  const nowMs = Date.now()
  const parts: Buffer[] = [...text(transactionalId), int16(acks), int32(timeout), int32(topicData.length)]
  for (const { topic, partitions } of topicData) {
    parts.push(...text(topic), int32(partitions.length))
    for (const one of partitions) {
      const batch = await batchOf(one, request, nowMs)
      parts.push(int32(one.partition), int32(batch.length), batch)
    }
  }
  return new Parts(parts)
}

export const produce = (request: ProduceRequest) => ({
  apiKey: PRODUCE,
  apiVersion: VERSION,
  apiName: 'Produce',
  expectResponse: () => request.acks !== 0,
  encode: () => encodeProduce(request),
})

/** Any request, framed. */
export async function framed({ correlationId, clientId, request }: { readonly correlationId: number; readonly clientId: string; readonly request: Request }): Promise<Encoded> {
  const encoded = await request.encode()
  const { apiKey, apiVersion } = request
  const parts = [int16(apiKey), int16(apiVersion), int32(correlationId), ...text(clientId), ...(encoded.parts ?? [encoded.buffer])]
  const size = parts.reduce((sum, { length }) => sum + length, 0)
  return { buffer: Buffer.concat([int32(size), ...parts]) }
}

export interface Grouping {
  readonly topic: string
  readonly partitionMetadata: readonly unknown[]
  readonly messages: readonly SentMessage[]
  readonly partitioner: (at: { readonly topic: string; readonly partitionMetadata: readonly unknown[]; readonly message: SentMessage }) => number
}

/** The messages of each partition, in order. */
export function byPartition({ topic, partitionMetadata, messages, partitioner }: Grouping): Record<number, SentMessage[]> {
  const grouped: Record<number, SentMessage[]> = {}
  if (partitionMetadata.length > 0) for (const message of messages) (grouped[partitioner({ topic, partitionMetadata, message })] ??= []).push(message)
  return grouped
}

// Where kafkajs was loaded before us, as in a test that brings its own, its frames and groups remain: slower, the same.
replaceModule('kafkajs/src/protocol/request', framed)
replaceModule('kafkajs/src/producer/groupMessagesPerPartition', byPartition)
// Its batches know nothing of `headerList`.
if (!replaceModule('kafkajs/src/protocol/requests/produce/v3/request', produce))
  throw new Error('kafkajs has sent something before the Kafka driver was loaded, which repairs it: load the driver first')
