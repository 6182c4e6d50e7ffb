import { EventEmitter } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { untilSignal } from '../../cli/signals.ts'
import { siteInFolder, sluice } from '../helpers/site.ts'

test('signals: the first one asks, by its name; what nobody caught is told by its code and ends the waiting', async (t) => {
  const events = new EventEmitter()
  const told: string[] = []
  const ending = untilSignal((error) => void told.push(error.code), events)
  t.false(ending.signal.aborted)
  events.emit('SIGTERM')
  t.is(await ending.asked, 'SIGTERM')
  t.true(ending.signal.aborted)
  for (let i = 0; i < 2; i++) events.emit('uncaughtException', new TypeError('late'), 'unhandledRejection')
  const error = await t.throwsAsync(ending.uncaught, { code: 'SLU_HANDLER_UNCAUGHT' })
  t.is((error.cause as Error).message, 'late')
  t.deepEqual(told, ['SLU_HANDLER_UNCAUGHT', 'SLU_HANDLER_UNCAUGHT'])
})

/** Two records in; the handler of the second leaves something behind that throws once both are handled. */
const HANDLER = (leave: string): string => `
import { defineFunction } from 'sluice'
export default defineFunction({
  kind: 'map',
  name: 'leaver',
  inputs: ['leaver.in'],
  outputs: ['leaver.out'],
  decode: (record) => record.value.toString(),
  handle: (text, record) => {
    if (text === 'leave') { ${leave} }
    return [{ to: 'topic', topic: 'leaver.out', key: record.key, value: record.value }]
  },
})
`

for (const [what, leave] of [
  ['timer', "setTimeout(() => { throw new Error('thrown late') }, 300)"],
  ['promise', "void Promise.reject(new Error('thrown late'))"],
] as const)
  test(`signals: a ${what} that a handler leaves behind ends the process in order, with code and exit code, and what was handled is written`, async (t) => {
    t.timeout(120_000)
    const site = siteInFolder()
    t.teardown(site.remove)
    const file = join(site.dir, 'leaver.ts')
    writeFileSync(file, HANDLER(leave))
    const environment = { SLUICE_SITE: site.file }
    t.is((await sluice(['topics', 'apply', file], environment)).code, 0)
    t.is((await sluice(['send', 'leaver.in', '--lines', '--key', 'k'], environment, 'stay\nleave\n')).code, 0)
    const ended = await sluice(['run', file, '--json'], environment)
    t.is(ended.code, 2, ended.stderr)
    t.like((JSON.parse(ended.stdout) as { error: object }).error, { code: 'SLU_HANDLER_UNCAUGHT', chain: ['thrown late'] })
    t.regex(ended.stderr, /leaver\.ts:\d+/, 'where it was thrown')
    const out = await sluice(['tail', 'leaver.out', '--from', 'start', '--until-end', '--json'], environment)
    const values = out.stdout
      .trim()
      .split('\n')
      .map((line) => (JSON.parse(line) as { value: string }).value)
    t.deepEqual(values.sort(), ['leave', 'stay'])
  })
