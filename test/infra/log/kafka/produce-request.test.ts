/** What we send, held to what kafkajs itself would have written. That brokers take it is shown by every test on real Kafka. */
import { createRequire } from 'node:module'
import fc from 'fast-check'
import test from 'ava'
import '../../../../infra/log/kafka/kafkajs.ts'
import { batchOf, byPartition, framed, produce, type ProduceRequest, type SentMessage } from '../../../../infra/log/kafka/produce-request.ts'

const require = createRequire(import.meta.url)

/** kafkajs' own, in whose place ours stands. */
function upstream(name: string): unknown {
  const path = require.resolve(name)
  const ours = require.cache[path]
  if (ours === undefined) throw new Error(`${name} was not replaced`)
  delete require.cache[path]
  const theirs: unknown = require(path)
  require.cache[path] = ours
  return theirs
}

const theirProduce = upstream('kafkajs/src/protocol/requests/produce/v3/request') as typeof produce
const theirFramed = upstream('kafkajs/src/protocol/request') as typeof framed
const theirGroups = upstream('kafkajs/src/producer/groupMessagesPerPartition') as typeof byPartition
const Long = require('kafkajs/src/utils/long') as { fromValue(text: string): { toString(): string } }
const RecordBatch = require('kafkajs/src/protocol/recordBatch/v0/decoder') as (
  decoder: unknown,
) => Promise<{ firstTimestamp: string; maxTimestamp: string; records: { timestamp: string }[] }>
const Decoder = require('kafkajs/src/protocol/decoder') as new (bytes: Buffer) => unknown

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 300 }).map((b) => Buffer.from(b)),
  fc.string({ maxLength: 20 }),
  fc.constantFrom(null, Buffer.alloc(70_000, 7)),
)
const header = fc.oneof(
  fc.string({ maxLength: 5 }),
  fc.uint8Array({ maxLength: 5 }).map((b) => Buffer.from(b)),
)
const message = fc.record(
  { key: bytes, value: bytes, headers: fc.dictionary(fc.string({ maxLength: 4 }), fc.oneof(header, fc.array(header, { maxLength: 3 })), { maxKeys: 3, noNullPrototype: true }) },
  { requiredKeys: ['value'] },
)
const request: fc.Arbitrary<ProduceRequest> = fc.record(
  {
    acks: fc.constantFrom(-1, 0, 1),
    timeout: fc.nat(),
    transactionalId: fc.option(fc.string({ maxLength: 8 })),
    producerId: fc.bigInt({ min: -1n, max: 2n ** 62n }).map((id) => Long.fromValue(String(id))),
    producerEpoch: fc.nat(32_767),
    compression: fc.constantFrom(0, 0, 1, 4),
    topicData: fc.array(
      fc.record({
        topic: fc.string({ maxLength: 8 }),
        partitions: fc.array(
          fc.record({
            partition: fc.nat(99),
            firstSequence: fc.nat(),
            // In order, as kafkajs takes the least and the greatest, and we the first and the greatest.
            messages: fc
              .tuple(fc.array(message, { minLength: 1, maxLength: 6 }), fc.nat(2 ** 40))
              .map(([all, sinceMs]): SentMessage[] => all.map((one, i) => ({ ...one, timestamp: String(1_000_000_000_000 + sinceMs + i * 100_000) }))),
          }),
          { maxLength: 3 },
        ),
      }),
      { maxLength: 3 },
    ),
  },
  { requiredKeys: ['acks', 'timeout', 'topicData'] },
)

test('produce request: byte for byte what kafkajs writes, packed and in a transaction too', async (t) => {
  await fc.assert(
    fc.asyncProperty(request, fc.nat(), async (given, correlationId) => {
      const of = (made: ReturnType<typeof produce>) => ({ correlationId, clientId: 'sluice', request: made })
      const [ours, theirs] = [produce(given), theirProduce(given)]
      t.deepEqual([ours.apiKey, ours.apiVersion, ours.apiName, ours.expectResponse()], [theirs.apiKey, theirs.apiVersion, theirs.apiName, theirs.expectResponse()])
      const expected = (await theirFramed(of(theirs))).buffer
      t.deepEqual((await framed(of(ours))).buffer, expected)
      // Where kafkajs was loaded first its own frame takes our request, and ours takes its requests.
      t.deepEqual((await framed(of(theirs))).buffer, expected)
      t.deepEqual((await theirFramed(of(ours))).buffer, expected)
      t.deepEqual((await ours.encode()).buffer, (await theirs.encode()).buffer)
    }),
    { numRuns: 200 },
  )
})

test('produce request: records without a time have that of sending, records with one theirs, the earlier ones behind too', async (t) => {
  const read = async (messages: readonly SentMessage[]) => {
    const batch = await batchOf({ messages }, { acks: -1, timeout: 1, topicData: [] }, 1_760_000_000_000)
    const { firstTimestamp, maxTimestamp, records } = await RecordBatch(new Decoder(batch))
    return [firstTimestamp, maxTimestamp, ...records.map(({ timestamp }) => timestamp)]
  }
  const now = '1760000000000'
  t.deepEqual(await read([{ value: null }, { value: null }]), [now, now, now, now])
  t.deepEqual(await read([{ value: null, timestamp: '20000' }, { value: null, timestamp: '9000' }, { value: null }]), ['20000', now, '20000', '9000', now])
})

test('produce request: a time that no clock has, as a foreign record may claim, is sent as the nearest that has one (D6)', async (t) => {
  for (const [given, sent] of [
    ['9223372036854776000', Number.MAX_SAFE_INTEGER],
    ['-9223372036854776000', Number.MIN_SAFE_INTEGER],
    ['1760000000000.7', 1_760_000_000_000],
  ] as const) {
    const batch = await batchOf(
      {
        messages: [
          { value: null, timestamp: given },
          { value: null, timestamp: given },
        ],
      },
      { acks: -1, timeout: 1, topicData: [] },
      0,
    )
    const { firstTimestamp, maxTimestamp, records } = await RecordBatch(new Decoder(batch))
    t.deepEqual(
      [firstTimestamp, maxTimestamp, ...records.map(({ timestamp }) => timestamp)],
      Array.from({ length: 4 }, () => String(sent)),
    )
  }
})

test('produce request: grouped by partition in order, as kafkajs does', (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat(3), { maxLength: 30 }), fc.constantFrom(0, 4), (places, partitions) => {
      const given = {
        topic: 't',
        partitionMetadata: Array.from({ length: partitions }),
        messages: places.map((place) => ({ value: String(place) })),
        partitioner: ({ message: { value } }: { message: SentMessage }) => Number(value),
      }
      t.deepEqual(byPartition(given), theirGroups(given))
    }),
  )
})
