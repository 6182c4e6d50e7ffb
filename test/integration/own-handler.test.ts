/** A handler of somebody else, as the README shows it: from the page to records, with the commands it names. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { ROOT, siteInFolder, sluice, startSluice } from '../helpers/site.ts'
import { until } from '../helpers/until.ts'
import { freePort } from '../helpers/free-port.ts'

test('own handler: the one of the README runs as it stands there, once `run` has said how its topics are made', async (t) => {
  t.timeout(180_000)
  const section = readFileSync(join(ROOT, 'README.md'), 'utf8').split('## Write a handler')[1] ?? ''
  const code = /```ts\n([\s\S]*?)```/.exec(section)?.[1] ?? ''
  const health = `127.0.0.1:${await freePort()}`
  const site = siteInFolder((s) => (s.observability = { metrics: { listen: '127.0.0.1:0' }, health: { listen: health } }))
  t.teardown(site.remove)
  const file = join(site.dir, 'count-bytes.ts')
  writeFileSync(file, code)
  const environment = { SLUICE_SITE: site.file }

  const refused = await sluice(['run', file, '--json'], environment)
  t.is(refused.code, 2, refused.stderr)
  const { error } = JSON.parse(refused.stdout) as { error: { code: string; detail: string; fix: string } }
  t.like(error, { code: 'SLU_LOG_TOPIC_MISSING', detail: 'sizes', fix: `sluice topics apply ${file} --site ${site.file}` })
  t.true(refused.stderr.includes(`fix: ${error.fix}`))

  const applied = await sluice(error.fix.split(' ').slice(1))
  t.is(applied.code, 0, applied.stderr)
  t.regex(applied.stdout, /created {2}sizes\n/)
  t.notRegex((await sluice(['topics', 'ls'], environment)).stdout, /^sizes /m, 'it is no topic of the site')
  t.regex((await sluice(['topics', 'ls', file], environment)).stdout, /^sizes +4 /m)

  t.is((await sluice(['send', 'telemetry.dcgm', '--key', 'tray-1'], environment, 'twelve bytes')).code, 0)
  const running = startSluice(['run', file, '--json'], environment)
  await until(
    async () => {
      const asked = await sluice(['ps', '--json', '--url', `http://${health}`])
      return asked.code === 0 && /"function":"count-bytes"[^}]*"committedLag":0/.test(asked.stdout)
    },
    120_000,
    () => `the record was not handled: ${running.stderr()}`,
  )
  running.child.kill('SIGTERM')
  const ended = await running.finished
  t.is(ended.code, 0, ended.stderr)
  t.deepEqual(JSON.parse(ended.stdout), { functions: { 'count-bytes': { in: 1, out: 1, late: 0, deadLetters: 0 } } })
  const tail = await sluice(['tail', 'sizes', '--from', 'start', '--until-end', '--json'], environment)
  t.like(JSON.parse(tail.stdout), { key: 'tray-1', value: '12' })
})

test('own handler: an AWS Lambda handler gets the topics it is to be given', async (t) => {
  const site = siteInFolder()
  t.teardown(site.remove)
  const file = join(site.dir, 'orders-handler.mjs')
  writeFileSync(file, 'export const handler = async () => ({ batchItemFailures: [] })\n')
  const refused = await sluice(['run', file, '--topics', 'orders', '--json', '--site', site.file])
  const { error } = JSON.parse(refused.stdout) as { error: { code: string; fix: string } }
  const unnamed = join(site.dir, 'handler.mjs')
  writeFileSync(unnamed, 'export const handler = async () => undefined\n')
  t.regex((await sluice(['run', unnamed, '--topics', 'orders', '--site', site.file])).stderr, /SLU_USE[^]*--name/)
  const named = await sluice(['run', unnamed, '--topics', 'orders', '--name', 'orders', '--json', '--site', site.file])
  t.is((JSON.parse(named.stdout) as { error: { code: string } }).error.code, 'SLU_LOG_TOPIC_MISSING')
  t.like(error, { code: 'SLU_LOG_TOPIC_MISSING', fix: `sluice topics apply ${file} --topics orders --site ${site.file}` })
  const applied = await sluice(error.fix.split(' ').slice(1))
  t.deepEqual(
    applied.stdout.split('\n').filter((line) => line.includes('orders')),
    ['created  orders', 'created  orders.dlq'],
  )
  t.is((await sluice(['topics', 'apply', file, '--site', site.file])).code, 1, 'without topics it is bad use')
})
