/** Members of a transactional function killed by SIGKILL inside a transaction on real Kafka; who reads committed finds every output once. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { valuesOf } from '../helpers/read-topic.ts'
import { until } from '../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test.serial
const CHILD = fileURLToPath(new URL('transactional-child.ts', import.meta.url))
const POINTS = ['outputs', 'offset', 'commit'] as const
const RECORDS = 900

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
