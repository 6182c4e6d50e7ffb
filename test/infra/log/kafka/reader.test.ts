import test from 'ava'
import kafkajs from 'kafkajs'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { createReader } from '../../../../infra/log/kafka/reader.ts'
import { fakeCluster } from '../../../fakes/kafka-cluster.ts'
import { kafkaForTests } from '../../../helpers/kafka.ts'
import { valuesOf } from '../../../helpers/read-topic.ts'
import { until } from '../../../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test
const brokers = kafka?.bootstrap ?? []

async function filled(name: string, count: number, partitions = 1) {
  const driver = createKafkaDriver({ brokers })
  const topic = `${name}.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name: topic, partitions, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  const producer = driver.producer()
  const send = (n: number, value = 'x') => producer.send(Array.from({ length: n }, (_, i) => ({ topic, partition: i % partitions, key: null, value: Buffer.from(value) })))
  await send(count)
  return { driver, topic, send }
}

kafkaTest('kafka reader: a tail that follows yields what comes later; closed while it waits it ends, and caughtUp claims nothing', async (t) => {
  const { driver, topic, send } = await filled('follow', 3)
  const tail = await driver.reader().open({ topic, partitions: 'all', from: 'end', committedOnly: true, untilEnd: false })
  await tail.caughtUp
  let seen = 0
  const reading = (async () => {
    for await (const { records } of tail) seen += records.length
  })()
  await send(2)
  await until(() => seen === 2, 20_000)
  await tail.close()
  await reading
  const closed = await driver.reader().open({ topic, partitions: 'all', from: 'start', committedOnly: true, untilEnd: false })
  await closed.close()
  await t.throwsAsync(closed.caughtUp, { message: /was closed/ })
  await driver.close()
})

kafkaTest('kafka reader: what retention removed while it read ends it with SLU_LOG_TRUNCATED, never a jump (C7)', async (t) => {
  const { driver, topic, send } = await filled('truncated', 10)
  const admin = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  // Loads the metadata that the deletion needs.
  await admin.fetchTopicOffsets(topic)
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '5' }] })
  await t.throwsAsync(driver.reader().open({ topic, partitions: 'all', from: new Map([[0, 2n]]), committedOnly: true, untilEnd: true }), {
    message: /SLU_LOG_TRUNCATED.*at 2.*starts at 5/,
  })
  const tail = await driver.reader().open({ topic, partitions: 'all', from: new Map([[0, 7n]]), committedOnly: true, untilEnd: true })
  const offsets: number[] = []
  for await (const { records } of tail) offsets.push(...records.map((r) => Number(r.offset)))
  t.deepEqual(offsets, [7, 8, 9])
  await send(1)
  await admin.disconnect()
  await driver.close()
})

kafkaTest('kafka reader: a reader that takes nothing keeps a bounded number of batches, and loses none of them (C6)', async (t) => {
  const { driver, topic, send } = await filled('slow', 100, 2)
  const tail = await driver.reader().open({ topic, partitions: 'all', from: 'start', committedOnly: true, untilEnd: false })
  for (let i = 0; i < 10; i++) await send(100)
  let count = 0
  for await (const { records } of tail) {
    count += records.length
    if (count === 1100) break
  }
  t.is(count, 1100)
  await driver.close()
})

test('kafka reader: a leader whose certificate is not accepted ends the tail by name, never a tail that waits for ever', async (t) => {
  const { cluster } = fakeCluster('orders', [0])
  const error = Object.assign(new Error('Connection error'), { name: 'KafkaJSConnectionError', code: 'CERT_HAS_EXPIRED', broker: 'kafka-2:9092' })
  const reader = createReader({ createCluster: () => ({ ...cluster, findBroker: () => Promise.reject(error) }), bootstrap: ['kafka-1:9092'], onClose: () => {} })
  const tail = await reader.open({ topic: 'orders', partitions: 'all', from: 'start', committedOnly: true, untilEnd: false })
  await t.throwsAsync(tail[Symbol.asyncIterator]().next(), { message: /SLU_LOG_CERTIFICATE.*kafka-2:9092 has expired/ })
  await reader.close()
})

kafkaTest('kafka reader: two transactions that overlap are aborted, the later one first: who reads committed sees nothing of either (C8, R1)', async (t) => {
  const { driver, topic } = await filled('overlap', 1)
  const client = new kafkajs.Kafka({ brokers, logLevel: kafkajs.logLevel.NOTHING })
  const [first, second] = [1, 2].map((n) => client.producer({ transactionalId: `${topic}.${n}`, idempotent: true, maxInFlightRequests: 1 }))
  const [early, late] = await Promise.all([first, second].map(async (producer) => (await producer?.connect(), producer?.transaction())))
  await early?.send({ topic, messages: [{ value: 'early' }] })
  await late?.send({ topic, messages: [{ value: 'late' }, { value: 'late' }] })
  await early?.send({ topic, messages: [{ value: 'early' }] })
  const end = async (): Promise<bigint> => (await driver.admin().ranges(topic))[0]?.endOffset ?? 0n
  const before = await end()
  // The broker writes a marker after it has answered.
  await late?.abort()
  await until(async () => (await end()) === before + 1n)
  await early?.abort()
  await until(async () => (await end()) === before + 2n)
  await Promise.all([first?.disconnect(), second?.disconnect()])
  t.deepEqual(await valuesOf(driver, topic), ['x'])
  await driver.close()
})
