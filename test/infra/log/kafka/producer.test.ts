import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import test from 'ava'
import kafkajs from 'kafkajs'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { createPartitioner, requestsOf, writeAll } from '../../../../infra/log/kafka/producer.ts'
import type { OutRecord } from '../../../../schemas/log.ts'
import { kafkaForTests } from '../../../helpers/kafka.ts'
import { committedRecords, valuesOf } from '../../../helpers/read-topic.ts'
import { until } from '../../../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test

type Batches = Parameters<Parameters<typeof writeAll>[1]>[0]
/** As the client does before it sends. */
function place(topics: Batches): void {
  for (const { messages } of topics) for (const message of messages) message.placed ??= message.partition ?? 0
}

const out = (more: Partial<OutRecord> = {}): OutRecord => ({ topic: 't', key: null, value: Buffer.from('v'), ...more })

test('kafka producer: for any sizes the requests hold every record once, in order, and one near the limit travels alone', (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 700_000 }), { maxLength: 30 }), (sizes) => {
      const records = sizes.map((size) => out({ value: Buffer.alloc(size) }))
      const requests = requestsOf(records)
      t.deepEqual(requests.flat(), records)
      for (const request of requests) {
        const bytes = request.reduce((sum, r) => sum + (r.value?.length ?? 0), 0)
        t.true(bytes <= 512 * 1024 || request.length === 1)
      }
    }),
    { numRuns: 30 },
  )
})

test('kafka producer: offsets come back in the order sent, over topics and partitions; an answer without one is an error, never offset -1', async (t) => {
  const records = [out({ partition: 1 }), out({ topic: 'u', partition: 0 }), out({ partition: 1 }), out({ partition: 0 })]
  const answer = (baseOffset: string) => (topics: Batches) => {
    place(topics)
    return Promise.resolve([
      { topicName: 't', partition: 1, baseOffset },
      { topicName: 't', partition: 0, baseOffset: '3' },
      { topicName: 'u', partition: 0, baseOffset: '0' },
    ])
  }
  t.deepEqual(
    (await writeAll(records, answer('7'))).map((a) => a.offset),
    [7n, 0n, 8n, 3n],
  )
  await t.throwsAsync(writeAll(records, answer('-1')), { message: /SLU_LOG_FAILED/ })
})

test('kafka producer: what the client left out because its leader moved is sent again to the same partition, never taken for written', async (t) => {
  const records = [0, 1, 2, 3].map((i) => out({ partition: i % 2, value: Buffer.from(String(i)) }))
  const sent: string[][] = []
  const appended = await writeAll(records, (topics) => {
    place(topics)
    sent.push(topics.flatMap((x) => x.messages.map((m) => `${m.partition}:${String(m.value)}`)))
    return Promise.resolve([{ topicName: 't', partition: sent.length - 1, baseOffset: '10' }])
  })
  t.deepEqual(sent, [
    ['0:0', '1:1', '0:2', '1:3'],
    ['1:1', '1:3'],
  ])
  t.deepEqual(
    appended.map((a) => `${a.partition}@${a.offset}`),
    ['0@10', '1@10', '0@11', '1@11'],
  )
  await t.throwsAsync(
    writeAll(records, (topics) => (place(topics), Promise.resolve([]))),
    { message: /SLU_LOG_NOT_READY.*keep moving/ },
  )
})

test('kafka producer: without a key records take turns; a partition that is named is kept', (t) => {
  const partitioner = createPartitioner()
  const partitionMetadata = [0, 1, 2].map((partitionId) => ({ partitionId })) as never
  const at = (message: object): number => partitioner({ topic: 't', partitionMetadata, message: message as never })
  t.deepEqual([at({ key: null }), at({ key: null }), at({ key: null }), at({ key: null })], [0, 1, 2, 0])
  t.is(at({ key: Buffer.from('k'), partition: 2 }), 2)
  // The client asks again when it tries again: another place would lose the record or write it twice.
  const message = { key: null }
  t.is(at(message), at(message))
})

kafkaTest('kafka producer: a record too large fails its own send only, whatever is sent beside it', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const topic = `producer.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name: topic, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 100_000 }])
  const producer = driver.producer()
  const sends = await Promise.allSettled(
    [out({ topic, value: Buffer.from('a') }), out({ topic, value: Buffer.alloc(200_000) }), out({ topic, value: Buffer.from('b') })].map((r) => producer.send([r])),
  )
  t.deepEqual(
    sends.map((s) => s.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  t.regex(String((sends[1] as PromiseRejectedResult).reason), /SLU_LOG_RECORD_TOO_LARGE/)
  t.is((await driver.admin().ranges(topic))[0]?.endOffset, 2n)
  await producer.close()
  await t.throwsAsync(producer.send([out({ topic })]), { message: /closed/ })
  await driver.close()
})

kafkaTest('kafka producer: what was acknowledged before a record too large is never written again', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const topic = `twice.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name: topic, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 100_000 }])
  const producer = driver.producer()
  // 600 KB travels in a request of its own: the first record is there when it is refused.
  const sends = await Promise.allSettled(
    [['a'], ['b'.repeat(600_000), 'c'], ['d']].map((values) => producer.send(values.map((value) => out({ topic, value: Buffer.from(value) })))),
  )
  t.deepEqual(
    sends.map((s) => s.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  )
  t.deepEqual(await valuesOf(driver, topic), ['a', 'd'])
  await driver.close()
})

kafkaTest('kafka producer: what may be packed is, where it would not fit, also in a transaction; what may not is refused as before (D2)', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  t.teardown(() => driver.close())
  const topic = `packed.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name: topic, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 100_000 }])
  const record = { topic, key: Buffer.from('k'), value: Buffer.alloc(20 << 20, 97), headers: [['h', Buffer.from('1')]] as const, timestampMs: 5 }
  const noise = { ...record, value: randomBytes(200_000), mayPack: true } as const
  const producer = driver.producer()
  const fenced = await driver.fencedProducer(topic)
  await t.throwsAsync(producer.send([record]), { message: /SLU_LOG_RECORD_TOO_LARGE/ })
  await t.throwsAsync(producer.send([noise]), { message: /SLU_LOG_RECORD_TOO_LARGE/ })
  t.is((await producer.send([{ ...record, mayPack: true }]))[0]?.offset, 0n)
  await producer.send([{ topic, key: null, value: Buffer.from('behind') }])
  await t.throwsAsync(fenced.transaction([record]), { message: /SLU_LOG_RECORD_TOO_LARGE/ })
  await fenced.transaction([
    { topic, key: null, value: Buffer.from('beside') },
    { ...record, mayPack: true },
  ])
  const read = await committedRecords(driver, topic, 4)
  t.deepEqual(
    read.map(({ value }) => (value?.length === record.value.length ? 'large' : String(value))),
    ['large', 'behind', 'beside', 'large'],
  )
  t.true(read[0]?.value?.equals(record.value))
  t.deepEqual([read[0]?.key, read[0]?.headers, read[0]?.timestampMs], [record.key, record.headers, 5])
})

kafkaTest('kafka producer: a topic that was deleted is named and fails its own send only; there again it is written to (B6)', async (t) => {
  t.timeout(90_000)
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  t.teardown(() => driver.close())
  const unique = `${process.pid}.${Date.now()}`
  const names = [`stays.${unique}`, `goes.${unique}`] as const
  const specs = names.map((name) => ({ name, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }) as const)
  await driver.admin().createTopics(specs)
  const producer = driver.producer()
  const [stays, goes] = names.map((topic) => ({ topic, key: null, value: Buffer.from('v') })) as [OutRecord, OutRecord]
  await producer.send([stays, goes])
  const admin = new kafkajs.Kafka({ brokers: kafka?.bootstrap ?? [], logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  await admin.deleteTopics({ topics: [goes.topic] })
  await admin.disconnect()
  // The broker goes on taking records for a moment.
  await until(() =>
    producer.send([goes]).then(
      () => false,
      () => true,
    ),
  )
  const [own, both, alone] = await Promise.allSettled([producer.send([stays]), producer.send([goes, stays]), producer.send([goes])])
  t.is(own.status, 'fulfilled')
  for (const failed of [both, alone])
    t.regex(failed.status === 'rejected' ? String(failed.reason) : 'sent', new RegExp(`SLU_LOG_TOPIC_MISSING: a topic does not exist: ${goes.topic}$`))
  t.is((await producer.send([stays])).length, 1)
  await driver.admin().createTopics(specs)
  t.is((await producer.send([goes, stays]))[0]?.offset, 0n)
})
