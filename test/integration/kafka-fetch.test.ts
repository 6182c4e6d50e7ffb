/** What one partition or topic of a real broker cannot give takes nothing from the others of the same member (B6, D6). */
import test, { type ExecutionContext } from 'ava'
import kafkajs from 'kafkajs'
import type { CommitEntry } from '../../schemas/log.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { UNPACKED_BYTES_MAX } from '../../infra/log/kafka/codecs.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { until } from '../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test
const bootstrap = kafka?.bootstrap ?? []
const client = new kafkajs.Kafka({ brokers: bootstrap, logLevel: kafkajs.logLevel.NOTHING })

/** A member of a group of its own, and what it was told. */
async function member(t: ExecutionContext, topics: readonly string[]) {
  const driver = createKafkaDriver({ brokers: bootstrap, sessionMs: 6000 })
  t.teardown(() => driver.close())
  const specs = topics.map((name) => ({ name, partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }) as const)
  await driver.admin().createTopics(specs)
  const got: string[] = []
  const stalled = new Map<string, string>()
  const told: string[] = []
  const epochs = new Map<string, number>()
  const consumer = driver.consumer({ group: topics.join('.'), topics })
  const join = async () => {
    await consumer.start({
      assigned: (assignments) => {
        for (const { topic, partition, epoch } of assignments) epochs.set(`${topic}/${partition}`, epoch)
        return Promise.resolve(assignments.map(({ topic, partition, committed }) => ({ topic, partition, nextOffset: committed?.nextOffset ?? ('start' as const) })))
      },
      revoked: () => Promise.resolve(),
      records: (_tp, _epoch, records) => void got.push(...records.map((r) => String(r.value).slice(0, 20))),
      stalled: ({ topic, partition }, error) => {
        told.push(`${topic}/${partition} ${error?.message ?? 'goes on'}`)
        if (error === null) stalled.delete(`${topic}/${partition}`)
        else stalled.set(`${topic}/${partition}`, error.message)
      },
      troubled: (error) => told.push(`member ${error?.message ?? 'goes on'}`),
      held: (tp, error) => told.push(`held ${tp.topic}/${tp.partition} ${error.message}`),
      failed: (error) => told.push(`failed ${error.message}`),
    })
  }
  const send = (topic: string, partition: number, value: string) => driver.producer().send([{ topic, partition, key: null, value: Buffer.from(value) }])
  return { driver, specs, got, stalled, told, join, send, commit: (at: CommitEntry) => consumer.commit([at]), epochOf: (tp: string) => epochs.get(tp) ?? -1 }
}
const unique = (name: string): string => `${name}.${process.pid}.${Date.now()}`

kafkaTest('kafka fetch: a batch that unpacks without bound holds its partition, with its offset; the records before it and the other partition are read (C6, D6)', async (t) => {
  const topic = unique('bomb')
  const m = await member(t, [topic])
  await m.send(topic, 0, 'before')
  const producer = client.producer()
  await producer.connect()
  const messages = [{ partition: 0, value: Buffer.alloc(UNPACKED_BYTES_MAX + (1 << 20), 97) }]
  await producer.send({ topic, compression: kafkajs.CompressionTypes.GZIP, messages })
  await producer.disconnect()
  await m.send(topic, 0, 'behind')
  await m.send(topic, 1, 'other')
  await m.join()
  await until(
    () => m.stalled.size === 1 && m.got.length === 2,
    20_000,
    () => `${m.got.join()} ${m.told.join()}`,
  )
  t.deepEqual(m.got.toSorted(), ['before', 'other'])
  t.regex(m.stalled.get(`${topic}/0`) ?? '', /^SLU_LOG_BATCH_TOO_LARGE.*\/0 at offset 1, more than 64 MiB/)
  t.is(m.told.length, 1)
  // A tail has nobody to hold it for: it ends.
  const tail = await m.driver.reader().open({ topic, partitions: [0], from: 'start', committedOnly: true, untilEnd: true })
  const read = async () => {
    for await (const { records } of tail)
      t.deepEqual(
        records.map((r) => String(r.value)),
        ['before'],
      )
  }
  await t.throwsAsync(read, { message: /SLU_LOG_BATCH_TOO_LARGE.*at offset 1/ })
})

kafkaTest('kafka fetch: a topic that is deleted holds its partitions and no others, before and after a rebalance; there again it is read (B6)', async (t) => {
  t.timeout(90_000)
  const [stays, goes] = [unique('stays'), unique('goes')] as const
  const m = await member(t, [stays, goes])
  await m.join()
  const admin = client.admin()
  await admin.connect()
  await admin.deleteTopics({ topics: [goes] })
  const why = (): string => `${m.got.join()} ${m.told.join()}`
  await until(() => m.stalled.size === 2, 20_000, why)
  t.true([...m.stalled].every(([key, message]) => key.startsWith(goes) && message.includes('SLU_LOG_TOPIC_MISSING')))
  await m.send(stays, 0, 'one')
  await until(() => m.got.includes('one'), 10_000, why)
  // The leader assigns anew, without the topic.
  const second = await member(t, [stays])
  const other = second.driver.consumer({ group: [stays, goes].join('.'), topics: [stays] })
  await other.start({
    assigned: (assignments) => Promise.resolve(assignments.map(({ topic, partition }) => ({ topic, partition, nextOffset: 'start' as const }))),
    revoked: () => Promise.resolve(),
    records: () => undefined,
    held: () => undefined,
    failed: () => undefined,
  })
  await other.stop()
  await until(() => m.told.some((line) => line.startsWith('member SLU_LOG_TOPIC_MISSING')), 20_000, why)
  await m.driver.admin().createTopics(m.specs)
  await m.send(goes, 0, 'two')
  await until(() => m.got.includes('two'), 20_000, why)
  await m.send(stays, 1, 'three')
  await until(() => m.got.includes('three'), 10_000, why)
  await until(() => m.told.at(-1) === 'member goes on', 10_000, why)
  t.deepEqual(
    m.told.filter((line) => line.startsWith('failed') || line.startsWith('held')),
    [],
  )
  await admin.disconnect()
})

kafkaTest(
  'kafka fetch: a topic that was read, committed and deleted is read from its start once it is there again; what is read beside it is committed meanwhile (B6)',
  async (t) => {
    t.timeout(90_000)
    const [stays, goes] = [unique('beside'), unique('anew')] as const
    const m = await member(t, [stays, goes])
    const why = (): string => `${m.got.join()} ${m.told.join()}`
    const commitOf = (topic: string, nextOffset: bigint) => m.commit({ topic, partition: 0, epoch: m.epochOf(`${topic}/0`), nextOffset, metadata: '' })
    await m.send(goes, 0, 'old')
    await m.join()
    await until(() => m.got.includes('old'), 10_000, why)
    await commitOf(goes, 1n)
    const admin = client.admin()
    await admin.connect()
    await admin.deleteTopics({ topics: [goes] })
    await admin.disconnect()
    await until(() => m.stalled.size === 2, 20_000, why)
    await t.throwsAsync(commitOf(goes, 1n), { message: new RegExp(`SLU_LOG_TOPIC_MISSING.*: ${goes}$`) })
    await m.send(stays, 0, 'one')
    await until(() => m.got.includes('one'), 10_000, why)
    await commitOf(stays, 1n)
    await m.driver.admin().createTopics(m.specs)
    await m.send(goes, 0, 'new')
    await until(() => m.got.includes('new'), 30_000, why)
    t.deepEqual(
      m.got.filter((value) => value !== 'one'),
      ['old', 'new'],
    )
  },
)
