import test from 'ava'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { createClient } from '../../../../infra/log/kafka/kafkajs.ts'
import type { TopicSpec } from '../../../../schemas/log.ts'
import { kafkaForTests } from '../../../helpers/kafka.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test

kafkaTest('kafka admin: a topic comes to be with all that its spec says, once, even when two ask at the same time', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `admin.${process.pid}.${Date.now()}`
  const spec: TopicSpec = { name, partitions: 3, replication: 1, timestampType: 'LogAppendTime', cleanup: 'compact', retentionMs: 12_345, maxMessageBytes: 2 << 20 }
  const [a, b] = [driver.admin(), driver.admin()]
  const results = await Promise.all([a.createTopics([spec]), b.createTopics([spec])])
  t.true(results.every((r) => [...r.created, ...r.existing].includes(name)))
  t.deepEqual(
    (await a.topics('admin.')).find((x) => x.name === name),
    { name, partitions: 3, timestampType: 'LogAppendTime', cleanup: 'compact', retentionMs: 12_345, maxMessageBytes: 2 << 20 },
  )
  t.deepEqual(await a.createTopics([{ ...spec, partitions: 5 }]), { created: [], existing: [name] })
  t.is((await a.ranges(name)).length, 3, 'what exists is left alone')
  t.false((await a.topics('')).some((x) => x.name.startsWith('__')))
  await driver.close()
})

kafkaTest('kafka admin: a group that committed nothing has nothing, a topic that is not there is named', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `admin-empty.${process.pid}.${Date.now()}`
  const admin = driver.admin()
  await admin.createTopics([{ name, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  t.is((await admin.committed('nobody', name)).size, 0)
  await t.throwsAsync(admin.ranges(`${name}.missing`), { message: /SLU_LOG_TOPIC_MISSING/ })
  await driver.close()
})

kafkaTest('kafka admin: a topic that was created is served at once: its leaders answer whoever asks next, and a refusal names topic and reason', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const admin = driver.admin()
  const spec = (name: string, replication = 1): TopicSpec => ({
    name: `${name}.${process.pid}.${Date.now()}`,
    partitions: 20,
    replication,
    timestampType: 'CreateTime',
    cleanup: 'delete',
    retentionMs: -1,
    maxMessageBytes: 1 << 20,
  })
  for (const name of ['served-a', 'served-b', 'served-c', 'served-d']) {
    const topic = spec(name)
    await admin.createTopics([topic])
    // kafkajs' own look, which takes one answer and tries no other.
    const client = createClient({ brokers: kafka?.bootstrap ?? [], clientId: 'test' }).admin()
    await client.connect()
    t.is((await client.fetchTopicOffsets(topic.name)).length, 20)
    await client.disconnect()
  }
  const refused = await t.throwsAsync(admin.createTopics([spec('fine'), spec('too-many', 9)]), { message: /SLU_LOG_FAILED.*creating too-many/ })
  t.regex(String(refused?.cause), /[Rr]eplication/)
  await driver.close()
})
