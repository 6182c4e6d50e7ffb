import { createRequire } from 'node:module'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import test from 'ava'
import { refusalOf, unreadOf } from '../../../../infra/log/kafka/fetch-response.ts'
import { UNPACKED_BYTES_MAX } from '../../../../infra/log/kafka/codecs.ts'
import type { FetchedPartition } from '../../../../infra/log/kafka/kafkajs.ts'

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

const recordsOf = (values: readonly (string | Buffer)[]): Buffer =>
  Buffer.concat(values.map((value, offsetDelta) => encodeRecord({ key: null, value: Buffer.from(value), offsetDelta, timestampDelta: 0, headers: {} }).buffer))

/** A batch as a broker keeps it; `records` = the records packed by `codec`. */
function batch(firstOffset: number, count: number, records: Buffer, codec = 0): Buffer {
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
const plain = (firstOffset: number, ...values: string[]): Buffer => batch(firstOffset, values.length, recordsOf(values))

async function answer(...partitions: readonly { readonly errorCode?: number; readonly batches: readonly Buffer[] }[]): Promise<readonly FetchedPartition[]> {
  const out = new EncoderClass().writeInt32(0).writeInt16(0).writeInt32(0).writeInt32(1).writeString('t').writeInt32(partitions.length)
  partitions.forEach(({ errorCode = 0, batches }, partition) => {
    out.writeInt32(partition).writeInt16(errorCode).writeInt64(100).writeInt64(100).writeInt64(0).writeInt32(0).writeInt32(-1).writeBytes(Buffer.concat(batches))
  })
  const parsed = await response.parse(await response.decode(out.buffer))
  return parsed.responses[0]?.partitions ?? []
}
const valuesOf = (partition: FetchedPartition | undefined): string[] => (partition?.messages ?? []).map((m) => String(m.value))
const GZIP = 1
const ZSTD = 4

test('fetch response: a batch that cannot be read is told with its offset, behind what came before it; the other partitions are whole (B6, D6)', async (t) => {
  const damaged = batch(3, 2, Buffer.from('no gzip at all'), GZIP)
  const [first, second] = await answer({ batches: [plain(0, 'a', 'b'), plain(2, 'c'), damaged, plain(5, 'never seen')] }, { batches: [plain(0, 'x')] })
  t.deepEqual(valuesOf(first), ['a', 'b', 'c'])
  const unread = unreadOf(first as FetchedPartition)
  t.is(unread?.offset, 3n)
  t.is(unread?.error.code, 'SLU_LOG_BATCH_UNREADABLE')
  t.deepEqual(valuesOf(second), ['x'])
  t.is(unreadOf(second as FetchedPartition), null)
})

test('fetch response: a partition that is refused is told beside the others, not in their place (B6)', async (t) => {
  const [first, second] = await answer({ errorCode: 3, batches: [] }, { batches: [plain(0, 'x')] })
  t.is((refusalOf(first as FetchedPartition) as { type?: string } | null)?.type, 'UNKNOWN_TOPIC_OR_PARTITION')
  t.is(refusalOf(second as FetchedPartition), null)
  t.deepEqual(valuesOf(second), ['x'])
})

test('fetch response: a batch that unpacks to more than the bound is told so, and is never in memory (C6)', async (t) => {
  const bomb = batch(7, 1, zstdCompressSync(Buffer.alloc(UNPACKED_BYTES_MAX + 1)), ZSTD)
  const [first, second] = await answer({ batches: [bomb] }, { batches: [plain(0, 'x')] })
  t.deepEqual([unreadOf(first as FetchedPartition)?.offset, unreadOf(first as FetchedPartition)?.error.code], [7n, 'SLU_LOG_BATCH_TOO_LARGE'])
  t.deepEqual(valuesOf(second), ['x'])
})

test('fetch response: of batches that unpack to more than the bound together, the rest is left for the next fetch (C6)', async (t) => {
  const half = gzipSync(recordsOf([Buffer.alloc(UNPACKED_BYTES_MAX / 2 + 1000)]))
  const batches = [0, 1, 2, 3].map((offset) => batch(offset, 1, half, GZIP))
  const [first, second] = await answer({ batches }, { batches: [plain(0, 'x')] })
  t.deepEqual(
    first?.messages.map((m) => m.offset),
    ['0', '1'],
  )
  t.is(unreadOf(first as FetchedPartition), null)
  t.deepEqual(valuesOf(second), [])
})

test('fetch response: a batch of more records than a call takes arguments is read', async (t) => {
  const count = 200_000
  const [first] = await answer({ batches: [batch(0, count, recordsOf(Array.from({ length: count }, () => '')))] })
  t.is(first?.messages.length, count)
})

test('fetch response: a last batch that is cut short by the limit of the fetch is no error; nothing comes of it', async (t) => {
  const [first, second] = await answer({ batches: [plain(0, 'a'), plain(1, 'cut short here').subarray(0, 70)] }, { batches: [plain(0, 'x').subarray(0, 10)] })
  t.deepEqual(valuesOf(first), ['a'])
  t.deepEqual(valuesOf(second), [])
  t.deepEqual([unreadOf(first as FetchedPartition), unreadOf(second as FetchedPartition)], [null, null])
})

for (const [codec, bytes] of [
  [
    'lz4',
    'AAAAAAAAAAAAAABxAAAAAAKLWpxrAAsAAAACAAABohS3IT0AAAGiFLch8wAAAAAAAAAAAAAAAAAAAAAAAwQiTRhgQIIxAAAA/wOqAQAAAAJrmgFsejQgaGVsbG8GADB/MACqAQBoAlcAPRExVwAfBFcAOlBsbyAyAAAAAAA=',
  ],
  [
    'snappy',
    'AAAAAAAAAAMAAACAAAAAAAKWQrvrAAoAAAACAAABohS3J8AAAAGiFLcoRwAAAAAAAAABAAAAAAAAAAAAA4JTTkFQUFkAAAAAAQAAAAEAAAA7kAJQsAEAAAACa6ABc25hcHB5IGhlbGxv7gYADQYcMACyAQC8AQL+WwBKWwAAMQlbAAT+WwBKWwAEMgA=',
  ],
] as const)
  test(`fetch response: a batch of ${codec} that Apache Kafka’s Java producer wrote is read`, async (t) => {
    const [first] = await answer({ batches: [Buffer.from(bytes, 'base64')] })
    t.deepEqual(
      valuesOf(first),
      [0, 1, 2].map((i) => `${codec} ${'hello '.repeat(12)}${i}`),
    )
  })
