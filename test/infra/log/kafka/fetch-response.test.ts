import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import test from 'ava'
import { readFetched, refusalOf, sizeOf, unreadOf } from '../../../../infra/log/kafka/fetch-response.ts'
import { UNPACKED_BYTES_MAX } from '../../../../infra/log/kafka/codecs.ts'
import type { FetchedPartition } from '../../../../infra/log/kafka/kafkajs.ts'
import { answer, batch, plain, recordsOf } from '../../../fakes/fetch-answer.ts'
import { fetchedRecord } from '../../../fakes/fetched-record.ts'

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

test('fetch response: control records and compacted gaps move the position and are not handed over', (t) => {
  const message = (offset: number, isControlBatch: boolean) => fetchedRecord(BigInt(offset), {}, { firstOffset: '5', lastOffsetDelta: 9, isControlBatch })
  const partition = {
    partition: 0,
    highWatermark: '20',
    lastStableOffset: '20',
    abortedTransactions: [],
    messages: [message(5, false), message(7, true)],
  } as unknown as FetchedPartition
  const read = readFetched(5n, partition)
  t.deepEqual(
    read?.messages.map((m) => m.offset),
    ['5'],
  )
  t.is(read?.readTo, 15n)
  t.is(readFetched(5n, { ...partition, messages: [] }), null)
})

test('fetch response: of any transactions that overlap, what was aborted is never handed over and all else is, wherever the fetch begins; no key is taken for a marker', (t) => {
  const step = fc.record({
    producer: fc.integer({ min: 0, max: 3 }),
    does: fc.constantFrom('send', 'send', 'commit', 'abort', 'plain'),
    key: fc.constantFrom(null, Buffer.alloc(4)),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), fc.nat(30), (steps, from) => {
      type Message = { offset: string; producerId: string; isControlRecord: boolean; inTransaction: boolean; key: Buffer | null }
      const log: Message[] = []
      const open = new Map<number, number[]>()
      const hidden = new Set<number>()
      // As the broker lists them: in the order in which they ended.
      const abortedTransactions: { producerId: string; firstOffset: string }[] = []
      for (const { producer, does, key } of steps) {
        const offset = log.length
        const ours = open.get(producer)
        const append = (more: Partial<Message>) => log.push({ offset: String(offset), producerId: String(producer), isControlRecord: false, inTransaction: true, key, ...more })
        if (does === 'plain') append({ producerId: '-1', inTransaction: false })
        else if (does === 'send') {
          append({})
          open.set(producer, [...(ours ?? []), offset])
        } else if (ours !== undefined) {
          append({ isControlRecord: true, key: Buffer.from([0, 0, 0, does === 'abort' ? 0 : 1]) })
          open.delete(producer)
          if (does === 'commit') continue
          for (const o of ours) hidden.add(o)
          if ((ours.at(-1) as number) >= from) abortedTransactions.push({ producerId: String(producer), firstOffset: String(ours[0]) })
        }
      }
      const messages = log
        .slice(Math.max(0, from - 5))
        .map(({ offset, producerId, isControlRecord, inTransaction, key }) =>
          fetchedRecord(BigInt(offset), { key }, { firstOffset: offset, producerId, inTransaction, isControlBatch: isControlRecord }),
        )
      const read = readFetched(BigInt(from), { messages, abortedTransactions } as unknown as FetchedPartition)
      const expected = log.filter((m) => Number(m.offset) >= from && !m.isControlRecord && !hidden.has(Number(m.offset))).map((m) => m.offset)
      t.deepEqual(read?.messages.map((m) => m.offset) ?? [], expected)
    }),
  )
})

test('fetch response: a batch of which compaction left nothing but its place moves the position, or a reader would wait before it for ever', async (t) => {
  const emptied = (firstOffset: number, count: number): Buffer => {
    const bytes = batch(firstOffset, count, Buffer.alloc(0))
    bytes.writeInt32BE(0, bytes.length - 4)
    return bytes
  }
  const [alone, behind] = await answer({ batches: [emptied(5, 3)] }, { batches: [plain(0, 'a'), emptied(1, 4)] })
  t.deepEqual(readFetched(5n, alone as FetchedPartition), { messages: [], readTo: 8n })
  const read = readFetched(0n, behind as FetchedPartition)
  t.deepEqual([read?.messages.length, read?.readTo], [1, 5n])
})

test('fetch response: what the records of a partition took is known, packed as they came; null where there are none (C6)', async (t) => {
  const [short, long, packed] = [plain(0, 'a', 'b'), plain(2, 'c'.repeat(100)), batch(0, 2, gzipSync(recordsOf(['x'.repeat(5000), 'y'])), GZIP)]
  const [two, one, none, cut] = await answer({ batches: [short, long] }, { batches: [packed] }, { batches: [] }, { batches: [short, long.subarray(0, 40)] })
  const both = short.length + long.length
  t.deepEqual(sizeOf(two as FetchedPartition), { records: 3, bytes: both, largestBatch: long.length, received: both })
  t.deepEqual(sizeOf(one as FetchedPartition), { records: 2, bytes: packed.length, largestBatch: packed.length, received: packed.length })
  t.is(sizeOf(none as FetchedPartition), null)
  t.deepEqual(sizeOf(cut as FetchedPartition), { records: 2, bytes: short.length, largestBatch: short.length, received: short.length + 40 })
})
