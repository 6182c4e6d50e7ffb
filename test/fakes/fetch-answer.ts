/** Answers to a fetch as a broker writes them, without a broker. */
import { createRequire } from 'node:module'
// Before kafkajs' readers are loaded.
import '../../infra/log/kafka/fetch-response.ts'
import type { FetchedPartition } from '../../infra/log/kafka/kafkajs.ts'

const require = createRequire(import.meta.url)
interface Encoder {
  readonly buffer: Buffer
  writeInt8(n: number): Encoder
  writeInt16(n: number): Encoder
  writeInt32(n: number): Encoder
  writeInt64(n: number): Encoder
  writeString(text: string): Encoder
  writeBytes(bytes: Buffer): Encoder
  writeBuffer(bytes: Buffer): Encoder
}
const EncoderClass = require('kafkajs/src/protocol/encoder') as new () => Encoder
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => { readonly buffer: Buffer }
const response = require('kafkajs/src/protocol/requests/fetch/v11/response') as {
  decode(bytes: Buffer): Promise<Answer>
  parse(decoded: Answer): Promise<Answer>
}
interface Answer {
  readonly responses: readonly { readonly topicName: string; readonly partitions: readonly FetchedPartition[] }[]
}

export const recordsOf = (values: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(values.map((value, offsetDelta) => encodeRecord({ key: null, value: Buffer.from(value), offsetDelta, timestampDelta: 0, headers: {} }).buffer))

/** A batch as a broker keeps it; `records` = the records packed by `codec`. */
export function batch(firstOffset: number, count: number, records: Buffer, codec = 0): Buffer {
  const body = new EncoderClass().writeInt32(0).writeInt8(2).writeInt32(0).writeInt16(codec)
  body
    .writeInt32(count - 1)
    .writeInt64(1)
    .writeInt64(1)
    .writeInt64(-1)
    .writeInt16(0)
    .writeInt32(0)
    .writeInt32(count)
    .writeBuffer(records)
  return new EncoderClass().writeInt64(firstOffset).writeInt32(body.buffer.length).writeBuffer(body.buffer).buffer
}
export const plain = (firstOffset: number, ...values: string[]): Buffer => batch(firstOffset, values.length, recordsOf(values))

export interface Answered {
  readonly partition?: number
  readonly errorCode?: number
  readonly highWatermark?: number
  /** By default the high watermark. */
  readonly lastStableOffset?: number
  readonly batches: readonly Buffer[]
}

/** What kafkajs, with our repairs, reads of an answer of these partitions. */
export async function answer(...partitions: readonly Answered[]): Promise<readonly FetchedPartition[]> {
  const out = new EncoderClass().writeInt32(0).writeInt16(0).writeInt32(0).writeInt32(1).writeString('t').writeInt32(partitions.length)
  partitions.forEach(({ errorCode = 0, highWatermark = 100, lastStableOffset = highWatermark, batches, ...of }, at) => {
    out
      .writeInt32(of.partition ?? at)
      .writeInt16(errorCode)
      .writeInt64(highWatermark)
      .writeInt64(lastStableOffset)
      .writeInt64(0)
      .writeInt32(0)
      .writeInt32(-1)
      .writeBytes(Buffer.concat(batches))
  })
  const parsed = await response.parse(await response.decode(out.buffer))
  return parsed.responses[0]?.partitions ?? []
}
