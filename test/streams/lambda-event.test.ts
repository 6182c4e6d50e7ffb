import type { SelfManagedKafkaEvent } from 'aws-lambda'
import fc from 'fast-check'
import test from 'ava'
import type { LogRecord } from '../../schemas/log.ts'
import { eventBytes, lambdaEvent, readAnswer, recordsOf } from '../../streams/lambda-event.ts'
import { record } from '../helpers/records.ts'

/** The record of the samples that AWS publishes, as our log would hold it. */
const sample: LogRecord = {
  topic: 'mytopic',
  partition: 0,
  offset: 15n,
  timestampMs: 1545084650987,
  appendMs: null,
  key: Buffer.from('recordKey'),
  value: Buffer.from('{"key":"value"}'),
  headers: [['headerKey', Buffer.from('headerValue')]],
}

test('lambda event: the published sample is made byte for byte, and read back', (t) => {
  const servers = 'b-2.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092,b-1.demo-cluster-1.a1bcde.c1.kafka.us-east-1.amazonaws.com:9092'
  const event = lambdaEvent([sample], servers)
  t.deepEqual(JSON.parse(JSON.stringify(event)), {
    eventSource: 'SelfManagedKafka',
    bootstrapServers: servers,
    records: {
      'mytopic-0': [
        {
          topic: 'mytopic',
          partition: 0,
          offset: 15,
          timestamp: 1545084650987,
          timestampType: 'CREATE_TIME',
          key: 'cmVjb3JkS2V5',
          value: 'eyJrZXkiOiJ2YWx1ZSJ9',
          headers: [{ headerKey: [104, 101, 97, 100, 101, 114, 86, 97, 108, 117, 101] }],
        },
      ],
    },
  })
  const typed: Omit<SelfManagedKafkaEvent, 'records'> & { records: object } = { ...event, eventSource: 'SelfManagedKafka' }
  t.true(typed.eventSource === event.eventSource, 'as the published types write it')
  t.deepEqual(recordsOf(JSON.parse(JSON.stringify(event))).get('mytopic-0'), [sample])
})

test('lambda event: what the published samples of managed Kafka, of headers and of partitions in text look like is read too, and made again as ours', (t) => {
  const common = { topic: 'mytopic', timestamp: 1545084650987, timestampType: 'CREATE_TIME', value: 'eyJrZXkiOiJ2YWx1ZSJ9' }
  const header = { headerKey: [104, 101, 97, 100, 101, 114, 86, 97, 108, 117, 101] }
  const event = {
    eventSource: 'aws:kafka',
    eventSourceArn: 'arn:aws:kafka:us-east-1:012345678901:cluster/c/0',
    records: {
      'mytopic-0': [
        { ...common, partition: 0, offset: 15, key: 'cmVjb3JkS2V5', headers: [header] },
        { ...common, partition: '0', offset: 16, headers: [] },
        { ...common, partition: 0, offset: 17, key: null, headers: null },
      ],
      'mytopic-1': [{ ...common, partition: 1, offset: 3, value: null, key: '', headers: [header, header] }],
    },
  }
  const read = recordsOf(event)
  const [one, two] = [read.get('mytopic-0') ?? [], read.get('mytopic-1') ?? []]
  const plain = { ...sample, key: null, headers: [] }
  t.deepEqual(one, [sample, { ...plain, offset: 16n }, { ...plain, offset: 17n }])
  t.deepEqual(two, [{ ...sample, partition: 1, offset: 3n, key: Buffer.alloc(0), value: null, headers: [...sample.headers, ...sample.headers] }])
  for (const records of [one, two]) t.deepEqual([...recordsOf(JSON.parse(JSON.stringify(lambdaEvent(records, '')))).values()], [records])
})

test('lambda event: records of any content survive the way there and back, header order and repeated names too', (t) => {
  const bytes = fc.uint8Array({ maxLength: 20 }).map((b) => Buffer.from(b))
  const header = fc.tuple(fc.constantFrom('a', 'b', '1', '__proto__'), bytes)
  fc.assert(
    fc.property(fc.option(bytes, { nil: null }), fc.option(bytes, { nil: null }), fc.array(header, { maxLength: 5 }), fc.nat(1000), (key, value, headers, offset) => {
      const one = record(offset, { key, value, headers })
      const text = JSON.stringify(lambdaEvent([one], ''))
      t.deepEqual([...recordsOf(JSON.parse(text)).values()], [[one]])
      t.true(eventBytes(one) >= text.length - 90, 'the estimate is never too small')
    }),
    { numRuns: 100 },
  )
})

test('lambda event: bytes of headers may be signed, as Java writes them', (t) => {
  const event = { records: { 't-0': [{ topic: 't', partition: 0, offset: 0, timestamp: 1, timestampType: 'CREATE_TIME', headers: [{ h: [-1, 127] }] }] } }
  t.deepEqual(recordsOf(event).get('t-0')?.[0]?.headers, [['h', Buffer.from([255, 127])]])
})

test('lambda event: what is no event is refused by name, never a crash', (t) => {
  for (const event of [
    null,
    7,
    {},
    { records: 1 },
    { records: { a: 1 } },
    { records: { a: [null] } },
    { records: { a: [{ topic: 't' }] } },
    ...['x', -1, 0.5].map((partition) => ({ records: { a: [{ topic: 't', partition, offset: 1, timestamp: 1 }] } })),
    { records: { a: [{ topic: 't', partition: 0, offset: -1, timestamp: 1 }] } },
    { records: { a: [{ topic: 't', partition: 0, offset: 1 }] } },
  ])
    t.throws(() => recordsOf(event), { message: /SLU_RECORD_UNDECODABLE/ }, JSON.stringify(event))
})

const batch = [5, 6, 9].map((offset) => record(offset, { topic: 'in', partition: 2 }))
const failure = (offset: unknown, partition: unknown = 'in-2') => ({ itemIdentifier: { partition, offset } })

test('lambda answer: nothing, null, {} and an empty list mean all done', (t) => {
  for (const answer of [undefined, null, {}, 'text', { batchItemFailures: null }, { batchItemFailures: [] }]) t.deepEqual(readAnswer(answer, batch), { kind: 'all-done' })
})

test('lambda answer: where several offsets are one number, none that may have failed is taken for done', (t) => {
  const base = 2n ** 60n
  const far = [1n, 2n, 3n].map((i) => ({ ...record(0, { topic: 'in', partition: 2 }), offset: base + i }))
  t.deepEqual(readAnswer({ batchItemFailures: [failure(Number(base + 3n))] }, far), { kind: 'failed-from', offset: base + 1n })
})

test('lambda answer: the lowest failed offset counts; what follows is tried again with it', (t) => {
  t.deepEqual(readAnswer({ batchItemFailures: [failure(9), failure(6)] }, batch), { kind: 'failed-from', offset: 6n })
})

test('lambda answer: an entry that names no record of the batch fails the whole batch, never is it taken for success', (t) => {
  for (const bad of [failure(7), failure('6'), failure(6, 'in-3'), failure(6, 2), { itemIdentifier: '6' }, {}, null])
    t.is(readAnswer({ batchItemFailures: [failure(5), bad] }, batch).kind, 'bad')
  t.is(readAnswer({ batchItemFailures: 'all' }, batch).kind, 'bad')
})
