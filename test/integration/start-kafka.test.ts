/** `sluice start` on real Kafka where nothing of the site is there yet, `sluice run` where the broker itself is away. */
import test from 'ava'
import type { StartReport } from '../../cli/start.ts'
import { startKafka } from '../../infra/deploy/kafka/cluster.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { siteInFolder, sluice, startSluice } from '../helpers/site.ts'
import { until } from '../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test

kafkaTest('start on kafka: with no topic there yet it creates them, runs and ends drained: a leader that does not serve yet is waited for', async (t) => {
  t.timeout(120_000)
  const site = siteInFolder((s) => {
    s.topicPrefix = `fresh-${process.pid}-${Date.now()}.`
    s.log = { driver: 'kafka', kafka: { brokers: kafka?.bootstrap }, topics: { partitions: 4, replication: 1 } }
  })
  const run = await sluice(['start', '--for', '5s', '--json', '--site', site.file])
  t.is(run.code, 0, run.stderr)
  const report = JSON.parse(run.stdout) as StartReport
  t.true(report.drained, run.stderr)
  t.is(report.log, 'kafka')
  t.true((report.functions['normalize-telemetry']?.in ?? 0) > 0)
  site.remove()
})

kafkaTest('run on kafka: a member that is restarted while its only broker is away says so, waits, and runs once it is back', async (t) => {
  t.timeout(120_000)
  const cluster = await startKafka()
  try {
    const site = siteInFolder((s) => (s.log = { driver: 'kafka', kafka: { brokers: cluster.bootstrap }, topics: { partitions: 1, replication: 1 } }))
    t.is((await sluice(['topics', 'apply', '--site', site.file])).code, 0)
    await cluster.kill(0)
    const running = startSluice(['run', 'assess-health', '--site', site.file])
    const said = (words: RegExp) =>
      until(
        () => words.test(running.stderr()),
        60_000,
        () => running.stderr(),
      )
    await said(/SLU_LOG_UNREACHABLE.*waiting for it/)
    await cluster.restart(0)
    await said(/assess-health running/)
    running.child.kill('SIGTERM')
    t.is((await running.finished).code, 0, running.stderr())
    site.remove()
  } finally {
    await cluster.stop()
  }
})
