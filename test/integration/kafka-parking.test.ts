/** Per-key parking on real Kafka: the DLQ read back by a successor, among control records, and a redrive that restores order (D4). */
import test from 'ava'
import { redrive } from '../../cli/dlq.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import { systemClock, systemRandom } from '../../infra/clock.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, type TaskFunction } from '../../streams/define-function.ts'
import { createRunner } from '../../streams/runner.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { silent, text } from '../helpers/runner-world.ts'
import { until } from '../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test

kafkaTest('kafka: a poison record holds its key back through a change of owner, other keys go on, and the redrive hands all of the key over in order (D4)', async (t) => {
  t.timeout(120_000)
  const brokers = kafka?.bootstrap ?? []
  const topicPrefix = `park-${process.pid}-${Date.now()}.`
  const operator = createKafkaDriver({ brokers })
  const spec = { partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 } as const
  await operator.admin().createTopics(['in', 'out', 'in.dlq'].map((name) => ({ ...spec, name: topicPrefix + name })))
  const state = { isSick: true }
  const handled: string[] = []
  const definition = defineFunction<TaskFunction<string>>({
    kind: 'task',
    name: 'parker',
    inputs: ['in'],
    outputs: ['out'],
    order: 'key',
    concurrency: 8,
    deadlineMs: 10_000,
    park: 'key',
    decode: text,
    handle: (value) => {
      if (state.isSick && value === 'a1') return Promise.reject(new SluiceError('SLU_RECORD_REFUSED', value))
      handled.push(value)
      return Promise.resolve([])
    },
  })
  const start = async () => {
    const driver = createKafkaDriver({ brokers, sessionMs: 6000 })
    const runner = createRunner({
      definition,
      driver,
      topicPrefix,
      site: 'hall',
      codecs: testCodecs(),
      clock: systemClock,
      random: systemRandom,
      hashing: nodeHashing,
      telemetry: silent,
      limits: { commitEveryMs: 50 },
      onFatal: (error) => t.fail(error.message),
    })
    await runner.start()
    return { runner, driver }
  }
  const producer = operator.producer()
  const put = (...values: string[]) =>
    producer.send(values.map((value) => ({ topic: `${topicPrefix}in`, partition: 0, key: Buffer.from(value.slice(0, 1)), value: Buffer.from(value) })))
  const isDrained = (runner: Awaited<ReturnType<typeof start>>['runner']) => () => runner.drained()
  const all = { matches: () => true, limit: Infinity }
  const first = await start()
  try {
    await put('a0', 'a1', 'b0', 'a2', 'b1')
    await until(() => ['a0', 'b0', 'b1'].every((v) => handled.includes(v)) && first.runner.stats().deadLetters === 2, 30_000, 'parked and gone on')
    await until(isDrained(first.runner), 20_000)
  } finally {
    await first.runner.stop(2000)
    await first.driver.close()
  }
  state.isSick = false
  const second = await start()
  try {
    await put('a3', 'b2')
    await until(() => handled.includes('b2') && second.runner.stats().deadLetters === 1, 30_000, 'the successor diverts too')
    await until(isDrained(second.runner), 20_000)
    t.is(await redrive(operator, `${topicPrefix}in.dlq`, all), 3)
    await until(() => handled.includes('a3'), 30_000, 'put back')
    await put('a4')
    await until(() => handled.includes('a4'), 30_000, 'the key is free')
    t.is(await redrive(operator, `${topicPrefix}in.dlq`, all), 0)
    t.deepEqual(
      handled.filter((v) => v.startsWith('a')),
      ['a0', 'a1', 'a2', 'a3', 'a4'],
    )
  } finally {
    await second.runner.stop(2000)
    await second.driver.close()
    await operator.close()
  }
})
