/** Dead letters on real Kafka: read as a stream beside transaction markers, put back once and in order (D5). */
import test from 'ava'
import { countDlq, redrive } from '../../cli/dlq.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import type { LogDriver, TopicSpec } from '../../schemas/log.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { valuesOf } from '../helpers/read-topic.ts'
import { until } from '../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test.serial

/** What a DLQ holds once `redriven` are seen as put back: a broker answers a commit before its markers are written. */
async function counted(driver: LogDriver, topic: string, redriven: number): Promise<Awaited<ReturnType<typeof countDlq>>> {
  let counts: Awaited<ReturnType<typeof countDlq>> = { open: 0, redriven: 0, codes: {} }
  await until(async () => (counts = await countDlq(driver, topic)).redriven === redriven)
  return counts
}

kafkaTest('kafka dlq: 450 dead letters of two partitions are put back once, in order, in several transactions; new ones stay open', async (t) => {
  t.timeout(120_000)
  const { bootstrap } = kafka as { bootstrap: string[] }
  const driver = createKafkaDriver({ brokers: bootstrap })
  t.teardown(() => driver.close())
  const source = `dlq-${process.pid}.in`
  const spec: TopicSpec = { name: source, partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }
  await driver.admin().createTopics([spec, { ...spec, name: `${source}.dlq` }])
  const park = async (count: number, name: string): Promise<void> => {
    await driver.producer().send(
      Array.from({ length: count }, (_, i) => ({
        topic: `${source}.dlq`,
        partition: i % 2,
        key: null,
        value: Buffer.from(`${name}${i}`),
        headers: [
          ['__connect.errors.partition', Buffer.from(String(i % 2))],
          ['sluice.error.code', Buffer.from(i % 3 === 0 ? 'A' : 'B')],
        ] as const,
      })),
    )
  }
  const all = { matches: () => true, limit: Infinity }
  await park(450, 'a')
  t.deepEqual(await countDlq(driver, `${source}.dlq`), { open: 450, redriven: 0, codes: { A: 150, B: 300 } })
  t.is(await redrive(driver, `${source}.dlq`, { ...all, matches: (l) => l.code === 'A' }), 150)
  t.deepEqual(await counted(driver, `${source}.dlq`, 150), { open: 300, redriven: 150, codes: { B: 300 } })
  t.is(await redrive(driver, `${source}.dlq`, { ...all, limit: 200 }), 200)
  await park(4, 'b')
  t.deepEqual(await counted(driver, `${source}.dlq`, 350), { open: 104, redriven: 350, codes: { B: 102, A: 2 } })
  t.is(await redrive(driver, `${source}.dlq`, all), 104)
  t.is(await redrive(driver, `${source}.dlq`, all), 0)
  const of = (partition: number): string[] => {
    const own = Array.from({ length: 450 }, (_, i) => i).filter((i) => i % 2 === partition)
    const [a, b] = [own.filter((i) => i % 3 === 0), own.filter((i) => i % 3 !== 0)]
    return [...a, ...b].map((i) => `a${i}`).concat([partition, partition + 2].map((i) => `b${i}`))
  }
  for (const partition of [0, 1]) t.deepEqual(await valuesOf(driver, source, { partitions: [partition] }), of(partition))
})

kafkaTest('kafka dlq: the older of two redrives is refused by the log and told that another one is running; no dead letter is put back twice (D5)', async (t) => {
  t.timeout(120_000)
  const { bootstrap } = kafka as { bootstrap: string[] }
  const driver = createKafkaDriver({ brokers: bootstrap })
  t.teardown(() => driver.close())
  const source = `two-${process.pid}.in`
  const spec: TopicSpec = { name: source, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }
  await driver.admin().createTopics([spec, { ...spec, name: `${source}.dlq` }])
  await driver.producer().send(Array.from({ length: 5 }, (_, i) => ({ topic: `${source}.dlq`, partition: 0, key: null, value: Buffer.from(`v${i}`) })))
  const all = { matches: () => true, limit: Infinity }
  // The older one has read what is open, and is about to write when the newer one has written it.
  const older: typeof driver = {
    ...driver,
    fencedProducer: async (name) => {
      const producer = await driver.fencedProducer(name)
      return {
        ...producer,
        transaction: async (...given) => {
          t.is(await redrive(driver, `${source}.dlq`, all), 5)
          return producer.transaction(...given)
        },
      }
    },
  }
  const refused = await t.throwsAsync(redrive(older, `${source}.dlq`, all))
  t.regex(refused?.message ?? '', /SLU_LOG_FENCED.*in\.dlq: another redrive of this DLQ is running/)
  const [range] = await driver.admin().ranges(source)
  t.deepEqual(await counted(driver, `${source}.dlq`, 5), { open: 0, redriven: 5, codes: {} })
  t.true((range?.endOffset ?? 0n) >= 5n && (range?.endOffset ?? 0n) < 10n, 'five records and the markers of one transaction')
})
