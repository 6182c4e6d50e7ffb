import { readdirSync } from 'node:fs'
import test from 'ava'
import { isKafkaAvailable, kafkaJars } from '../../../../infra/deploy/kafka/jars.ts'

const { available } = await isKafkaAvailable()
const kafkaTest = available ? test.serial : test.skip

test.serial('kafka jars: whether a broker can be started is said with the reason, never by failing later', async (t) => {
  const { available, reason } = await isKafkaAvailable()
  t.is(available, reason === '')
})

test.serial('kafka jars: without java nothing is fetched, and the reason is the error', async (t) => {
  const path = process.env['PATH']
  process.env['PATH'] = '/nowhere'
  try {
    t.deepEqual(await isKafkaAvailable(), { available: false, reason: 'no java in PATH' })
    await t.throwsAsync(
      kafkaJars(() => t.fail('it began to fetch')),
      { message: /SLU_ENV_TOOL.*no java/ },
    )
  } finally {
    process.env['PATH'] = path
  }
})

kafkaTest('kafka jars: once fetched they are used again, and hold one Kafka', async (t) => {
  const folder = await kafkaJars(() => undefined)
  t.is(await kafkaJars(() => t.fail('it fetched again')), folder)
  t.is(readdirSync(folder).filter((name) => /^kafka_2\.13-[\d.]+\.jar$/.test(name)).length, 1)
})
