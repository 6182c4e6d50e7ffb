import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { until } from '../helpers/until.ts'
import { startMembers, type Members } from './members.ts'

const dir = mkdtempSync(join(tmpdir(), 'chaos-members-'))
test.after.always(() => rmSync(dir, { recursive: true, force: true }))

/** Members whose program is this shell text instead of `bin/sluice`. */
function startAs(name: string, script: string): Members {
  const program = join(dir, name)
  writeFileSync(program, `#!/bin/sh\n${script}\n`)
  chmodSync(program, 0o755)
  return startMembers([{ name, functions: ['f'], siteFile: 'site.yaml' }], dir, {}, program)
}

// `exec`: one process, as bin/sluice is.
const RUNNING = `echo "sluice x: f running; metrics" >&2; exec sleep 600`

test('chaos members: a killed one is started again, which is no crash', async (t) => {
  const members = startAs('killed', RUNNING)
  await until(() => members.state('killed') === 'running')
  t.true(members.kill('killed', 1))
  t.false(members.kill('killed', 1), 'it is down')
  await until(() => members.state('killed') === 'running')
  t.deepEqual(members.crashes, [])
  t.is(members.startRetries(), 0)
  await members.abandon()
  t.is(members.state('killed'), 'down')
})

test('chaos members: one that ran and ends by itself is a crash, with its last words', async (t) => {
  const members = startAs('crashing', `echo "f running; then this" >&2; exit 2`)
  await until(() => members.crashes.length > 0)
  t.regex(members.crashes[0] as string, /crashing ended by itself \(exit 2\):[^]*then this/)
  await members.abandon()
})

test('chaos members: one that cannot start is tried again and counted apart', async (t) => {
  const members = startAs('slow', `exit 2`)
  await until(() => members.startRetries() > 1)
  t.deepEqual(members.crashes, [])
  await members.abandon()
})

test('chaos members: frozen is not running, thawed is; stop ends frozen ones too', async (t) => {
  const members = startAs('frozen', RUNNING)
  await until(() => members.state('frozen') === 'running')
  t.true(members.freeze('frozen'))
  t.false(members.kill('frozen', 1))
  members.thaw('frozen')
  t.is(members.state('frozen'), 'running')
  t.true(members.freeze('frozen'))
  await members.stop()
  t.is(members.state('frozen'), 'down')
  t.deepEqual(members.crashes, [])
})
