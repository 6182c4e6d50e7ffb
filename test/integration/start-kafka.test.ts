/** `sluice start` on real Kafka where nothing of the site is there yet. */
import test from 'ava'
import type { StartReport } from '../../cli/start.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { siteInFolder, sluice } from '../helpers/site.ts'

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
