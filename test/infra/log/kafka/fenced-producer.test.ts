import test from 'ava'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { kafkaForTests } from '../../../helpers/kafka.ts'
import { committedRecords } from '../../../helpers/read-topic.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test

kafkaTest('kafka fenced producer: opening is enough to fence; connecting alone would not be. The old holder’s open transaction never shows (C8, R1)', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `fenced.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  const record = (value: string) => ({ topic: name, key: null, value: Buffer.from(value) })
  const old = await driver.fencedProducer(name)
  await old.transaction([record('of the old one')])
  const young = await driver.fencedProducer(name)
  // The young one has sent nothing yet.
  await t.throwsAsync(old.transaction([record('too late')]), { message: /SLU_LOG_FENCED/ })
  await t.throwsAsync(old.transaction([record('still too late')]), { message: /SLU_LOG_FENCED/ })
  await young.transaction([record('of the young one'), record('and another')])
  const values = (await committedRecords(driver, name, 3)).map((r) => String(r.value))
  t.deepEqual(values, ['of the old one', 'of the young one', 'and another'])
  await young.close()
  await t.throwsAsync(young.transaction([record('closed')]), { message: /SLU_LOG_FENCED.*closed/ })
  await young.close()
  await driver.close()
})

kafkaTest('kafka fenced producer: transactions asked for at once are written one after the other, in order', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `turns.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  const producer = await driver.fencedProducer(name)
  const all = await Promise.all(Array.from({ length: 8 }, (_, i) => producer.transaction([{ topic: name, key: null, value: Buffer.from(String(i)) }])))
  const offsets = all.map(([a]) => Number(a?.offset))
  t.deepEqual(
    offsets,
    offsets.toSorted((a, b) => a - b),
  )
  await driver.close()
})

kafkaTest('kafka fenced producer: records that are too large only together are written one by one, in one transaction; one too large alone is refused (D6, C8)', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `together.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name, partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 2000 }])
  const record = (value: string, bytes: number) => ({ topic: name, key: Buffer.from('k'), value: Buffer.from(value.padEnd(bytes, '.')) })
  const producer = await driver.fencedProducer(name)
  for (const round of ['a', 'b']) t.is((await producer.transaction([1, 2, 3].map((i) => record(`${round}${i}`, 900)))).length, 3)
  await t.throwsAsync(producer.transaction([record('c1', 900), record('c2', 3000)]), { code: 'SLU_LOG_RECORD_TOO_LARGE' })
  await producer.transaction([record('d', 10)])
  const values = (await committedRecords(driver, name, 7)).map((r) => String(r.value).replaceAll('.', ''))
  t.deepEqual(values, ['a1', 'a2', 'a3', 'b1', 'b2', 'b3', 'd'])
  await driver.close()
})
