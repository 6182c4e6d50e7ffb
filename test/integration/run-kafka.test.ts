/** One process per function on one host, with the commands of the README and one site file. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import type { ProcessStatus } from '../../cli/site-status.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { ROOT, siteInFolder, sluice, startSluice } from '../helpers/site.ts'
import { until } from '../helpers/until.ts'
import { freePort } from '../helpers/free-port.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test

kafkaTest('run: the three commands of the README run beside each other on one host, ps finds every one of them, and no longer those that ended', async (t) => {
  t.timeout(240_000)
  const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const commands = [...readme.matchAll(/^bin\/sluice (run (?:[a-z]+-[a-z]+ ?)+)$/gm)].map(([, words]) => (words as string).split(' '))
  t.is(commands.length, 3)
  const [metrics, health] = [await freePort(), await freePort()]
  const site = siteInFolder((s) => {
    s.topicPrefix = `hosts-${process.pid}-${Date.now()}.`
    s.log = { driver: 'kafka', kafka: { brokers: kafka?.bootstrap }, topics: { partitions: 1, replication: 1 } }
    s.observability = { metrics: { listen: `127.0.0.1:${metrics}` }, health: { listen: `127.0.0.1:${health}` } }
  })
  t.teardown(site.remove)
  const environment = { SLUICE_SITE: site.file }
  t.is((await sluice(['topics', 'apply'], environment)).code, 0)
  t.is((await sluice(['ps'], environment)).code, 2)
  const running = commands.map((words) => startSluice(words, environment))
  const said = (): string => running.map(({ stderr }) => stderr()).join('\n---\n')
  await until(() => running.every(({ stderr }) => / running; metrics at http/.test(stderr())), 120_000, said)
  const pages = running.map(({ stderr }) => /metrics at (\S+), status/.exec(stderr())?.[1] as string)
  t.is(new Set(pages).size, 3)
  for (const page of pages) t.is((await fetch(page)).status, 200, page)
  t.true(pages.includes(`http://127.0.0.1:${metrics}/metrics`), 'one has the port that the site names')

  const listed = async (): Promise<ProcessStatus[]> => (JSON.parse((await sluice(['ps', '--json'], environment)).stdout) as { processes?: ProcessStatus[] }).processes ?? []
  let processes: ProcessStatus[] = []
  await until(
    async () => (processes = await listed()).every(({ partitions }) => partitions.length > 0),
    60_000,
    () => `${JSON.stringify(processes)} ${said()}`,
  )
  t.is(processes.length, 3)
  t.deepEqual(new Set(processes.map(({ pid }) => pid)), new Set(running.map(({ child }) => child.pid as number)))
  const functions = new Set(processes.flatMap(({ partitions }) => partitions.map((row) => row.function)))
  t.deepEqual([...functions].toSorted(), commands.flatMap(([, ...names]) => names).toSorted())

  running[0]?.child.kill('SIGKILL')
  running[1]?.child.kill('SIGTERM')
  await Promise.all([running[0]?.finished, running[1]?.finished])
  t.deepEqual(
    (await listed()).map(({ pid }) => pid),
    [running[2]?.child.pid],
  )
  running[2]?.child.kill('SIGTERM')
  t.is((await running[2]?.finished)?.code, 0, said())
})
