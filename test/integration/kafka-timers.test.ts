/** What our clients wait for on real Kafka, by the timers that are asked for: how many and how long, whatever a loaded machine makes of them. */
import { setTimeout as delay } from 'node:timers/promises'
import test from 'ava'
import { startKafka } from '../../infra/deploy/kafka/cluster.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { createClient, createCluster } from '../../infra/log/kafka/kafkajs.ts'
import { kafkaForTests } from '../helpers/kafka.ts'

const kafka = await kafkaForTests()
// One after the other: the timers are those of the whole process.
const kafkaTest = kafka === null ? test.skip : test.serial
const spec = { partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 } as const
const OF_RETRIES = 'kafkajs/src/retry/'
const IDLE_MS = 500
const TRANSACTIONS = 30
const TRANSACTIONS_MAX = 1000

/** The delays that code whose path holds `of` asks for meanwhile, in ms. */
async function delaysAsked(of: string, meanwhile: () => Promise<unknown>): Promise<number[]> {
  const given = globalThis.setTimeout
  const asked: number[] = []
  const recorded = (...args: Parameters<typeof given>) => {
    if (new Error().stack?.includes(of) === true) asked.push(args[1] ?? 0)
    return given(...args)
  }
  globalThis.setTimeout = Object.assign(recorded, given)
  try {
    await meanwhile()
  } finally {
    globalThis.setTimeout = given
  }
  return asked
}

kafkaTest('kafka timers: connections that are open and idle ask for none at all (upstream #1751)', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `idle.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ ...spec, name }])
  await driver.producer().send([{ topic: name, key: null, value: Buffer.from('x') }])
  await driver.fencedProducer(name)
  t.is((await delaysAsked('kafkajs', () => delay(IDLE_MS))).length, 0)
  await driver.close()
})

kafkaTest('kafka timers: a transaction that comes before the broker is done with the last one is tried again after 20 ms, not the 300 ms of kafkajs', async (t) => {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `at-once.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ ...spec, name }])
  const producer = await driver.fencedProducer(name)
  const first: number[] = []
  for (let i = 0; i < TRANSACTIONS || (first.length === 0 && i < TRANSACTIONS_MAX); i++)
    first.push(...(await delaysAsked(OF_RETRIES, () => producer.transaction([{ topic: name, key: null, value: Buffer.from('x') }]))).slice(0, 1))
  t.true(first.length > 0, 'one of them came too early')
  t.deepEqual(
    first.filter((ms) => ms >= 50),
    [],
  )
  await driver.close()
})

kafkaTest('kafka timers: a broker that is gone is asked ten times more, first after 100 ms and never after more than 500, by the client and by the protocol layer', async (t) => {
  const broker = await startKafka({ brokers: 1 })
  t.teardown(() => broker.stop())
  const connection = { brokers: broker.bootstrap, clientId: 'c' }
  const admin = createClient(connection).admin()
  const cluster = createCluster(connection, 0)
  await admin.connect()
  await cluster.connect()
  await cluster.refreshMetadata()
  await broker.kill(0)
  for (const ask of [() => admin.listTopics(), () => cluster.refreshMetadata()]) {
    const asked = await delaysAsked(OF_RETRIES, () => t.throwsAsync(ask(), { name: 'KafkaJSNumberOfRetriesExceeded' }))
    t.is(asked.length, 10)
    t.true((asked[0] ?? 0) < 150, `first after ${asked[0]} ms`)
    t.is(Math.max(...asked), 500)
  }
  await admin.disconnect()
  await cluster.disconnect()
})
