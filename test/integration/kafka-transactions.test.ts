/** Transactional functions on real Kafka: members killed by SIGKILL inside a transaction, where who reads committed finds every output once; partitions beside each other; one holder after another. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { nodeHashing } from '../../infra/hashing.ts'
import { systemClock, systemRandom } from '../../infra/clock.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { createCluster } from '../../infra/log/kafka/kafkajs.ts'
import type { Committed, LogDriver } from '../../schemas/log.ts'
import { defineFunction, type MapFunction } from '../../streams/define-function.ts'
import { createRunner } from '../../streams/runner.ts'
import { createTransactionalWriter } from '../../streams/transactional-writer.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { committedRecords, valuesOf } from '../helpers/read-topic.ts'
import { silent, text } from '../helpers/runner-world.ts'
import { until } from '../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test.serial
const CHILD = fileURLToPath(new URL('transactional-child.ts', import.meta.url))
const POINTS = ['outputs', 'offset', 'commit'] as const
const RECORDS = 900
const TAKEOVERS = 20

for (const kind of ['map', 'task'])
  kafkaTest(
    `kafka: a transactional ${kind} is killed between outputs and offset, before the commit and after it: every output and dead letter is there once (C1, C3)`,
    async (t) => {
      t.timeout(180_000)
      const brokers = kafka?.bootstrap ?? []
      const prefix = `eos-${kind}-${process.pid}-${Date.now()}.`
      const driver = createKafkaDriver({ brokers })
      const spec = { partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 } as const
      await driver.admin().createTopics(['in', 'out', 'in.dlq'].map((name) => ({ ...spec, name: prefix + name })))
      const count = kind === 'map' ? RECORDS : RECORDS / 10
      const sent = Array.from({ length: count }, (_, i) => (i % 10 === 0 ? `bad${i}` : `ok${i}`))
      const producer = driver.producer()
      const send = (from: number, to: number) =>
        producer.send(sent.slice(from, to).map((v, i) => ({ topic: `${prefix}in`, partition: i % 2, key: Buffer.from(v), value: Buffer.from(v) })))
      const start = (point: string) => {
        const child = spawn(process.execPath, [CHILD, brokers.join(','), prefix, kind, point, '1'], { stdio: ['ignore', 'pipe', 'inherit'] })
        const output = { text: '' }
        child.stdout.on('data', (chunk: Buffer) => (output.text += chunk.toString()))
        return { child, output }
      }
      const share = count / POINTS.length
      let unseen = 0
      for (const [round, point] of POINTS.entries()) {
        const { child, output } = start(point)
        const ended = once(child, 'exit')
        try {
          await send(round * share, (round + 1) * share)
          await until(
            () => output.text.includes('stands'),
            40_000,
            () => `${point}: standing inside a transaction; ${output.text}`,
          )
        } finally {
          child.kill('SIGKILL')
          await ended
        }
        const [all, committed] = await Promise.all([valuesOf(driver, `${prefix}out`, { committedOnly: false }), valuesOf(driver, `${prefix}out`)])
        if (point !== 'commit') unseen += all.length - committed.length
      }
      t.true(unseen > 0, 'outputs of a transaction that never ended stood in the log: the kill was inside it')
      const last = start('never')
      const ended = once(last.child, 'exit')
      try {
        const isThere = async (): Promise<boolean> => (await valuesOf(driver, `${prefix}out`)).length + (await valuesOf(driver, `${prefix}in.dlq`)).length >= count
        await until(isThere, 60_000, 'everything is there')
        const committedAll = async (): Promise<boolean> => {
          const committed = await driver.admin().committed(`${prefix}sluice.copy`, `${prefix}in`)
          return [...committed.values()].reduce((sum, { nextOffset }) => sum + Number(nextOffset), 0) === count
        }
        await until(committedAll, 20_000, 'everything is committed')
      } finally {
        last.child.kill('SIGKILL')
        await ended
      }
      t.is((await valuesOf(driver, `${prefix}in`)).length, count, 'the input itself holds every record once')
      t.deepEqual((await valuesOf(driver, `${prefix}out`)).toSorted(), sent.filter((v) => v.startsWith('ok')).toSorted())
      t.deepEqual((await valuesOf(driver, `${prefix}in.dlq`)).toSorted(), sent.filter((v) => v.startsWith('bad')).toSorted())
      await driver.close()
    },
  )

kafkaTest('kafka: the partitions of one transactional member write beside each other, and none is fenced by another (C8)', async (t) => {
  const prefix = `beside-${process.pid}-${Date.now()}.`
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  t.teardown(() => driver.close())
  const spec = { partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 } as const
  await driver.admin().createTopics(['in', 'out', 'in.dlq'].map((name) => ({ ...spec, name: prefix + name })))
  let opened = 0
  const refused: unknown[] = []
  const watched: LogDriver = {
    ...driver,
    fencedProducer: async (name) => {
      const producer = await driver.fencedProducer(name)
      opened++
      const transaction: typeof producer.transaction = async (records, offsets) => {
        try {
          return await producer.transaction(records, offsets)
        } catch (error) {
          refused.push(error)
          throw error
        }
      }
      return { ...producer, transaction }
    },
  }
  const runner = createRunner({
    definition: defineFunction<MapFunction<string>>({
      kind: 'map',
      name: 'copy',
      inputs: ['in'],
      outputs: ['out'],
      delivery: 'transactional',
      decode: text,
      handle: (value) => [{ to: 'topic', topic: 'out', key: value, value: Buffer.from(value) }],
    }),
    driver: watched,
    topicPrefix: prefix,
    site: 'hall',
    codecs: testCodecs(),
    clock: systemClock,
    random: systemRandom,
    hashing: nodeHashing,
    telemetry: silent,
    limits: {},
    onFatal: (error) => t.fail(error.message),
  })
  await runner.start()
  t.teardown(() => runner.stop(2000))
  await until(() => opened >= spec.partitions, 20_000, 'both are open')
  await driver.producer().send([0, 1].map((partition) => ({ topic: `${prefix}in`, partition, key: null, value: Buffer.from(`of ${partition}`) })))
  const values = (await committedRecords(driver, `${prefix}out`, spec.partitions)).map(({ value }) => String(value))
  t.deepEqual(values.toSorted(), ['of 0', 'of 1'])
  t.deepEqual(refused, [])
})

kafkaTest('kafka: whoever takes a partition over begins where the transaction ended that was committed a moment before, though its offset shows late (C1, C8)', async (t) => {
  const name = `takeover-${process.pid}-${Date.now()}`
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  t.teardown(() => driver.close())
  await driver.admin().createTopics([{ name, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  const at = { topic: name, partition: 0 }
  // The first group of a cluster meets a coordinator that is not ready: the admin client waits for it.
  await driver.admin().committed(name, name)
  // In one request: the admin client makes several, and what shows late is there by then.
  const cluster = createCluster({ brokers: kafka?.bootstrap ?? [], clientId: name }, 1)
  t.teardown(() => cluster.disconnect())
  await cluster.connect()
  await cluster.refreshMetadata()
  const coordinator = await cluster.findGroupCoordinator({ groupId: name })
  const committed = async (): Promise<Committed | null> => {
    const { responses } = await coordinator.offsetFetch({ groupId: name, topics: [{ topic: name, partitions: [{ partition: 0 }] }] })
    const nextOffset = BigInt(responses[0]?.partitions[0]?.offset ?? -1)
    return nextOffset < 0n ? null : { nextOffset, metadata: '' }
  }
  const begun: (bigint | undefined)[] = []
  for (let i = 0; i <= TAKEOVERS; i++) {
    const writer = createTransactionalWriter({ driver, name, group: name, at, committed, prove: () => Promise.resolve(), signal: new AbortController().signal })
    begun.push((await writer.open())?.nextOffset)
    await writer.write([{ topic: name, key: null, value: Buffer.from('x') }], { nextOffset: BigInt(i + 1), metadata: '' })
  }
  t.deepEqual(begun, [undefined, ...Array.from({ length: TAKEOVERS }, (_, i) => BigInt(i + 1))])
})
