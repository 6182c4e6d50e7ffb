import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { knownProcesses, registerProcess } from '../../cli/processes.ts'

function site(t: { teardown(act: () => void): void }) {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-processes-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  return { dir, pathOf: (named: string) => join(dir, named), folder: join(dir, '.sluice/processes') }
}
/** Above every pid that a kernel gives. */
const NOBODY = 2 ** 22 + 1

test('processes: who registered is known until it takes that back; who was killed is forgotten and its file removed', (t) => {
  const here = site(t)
  t.deepEqual(knownProcesses(here), [])
  const [own, parent] = [
    { pid: process.pid, url: 'http://127.0.0.1:1' },
    { pid: process.ppid, url: 'http://127.0.0.1:2' },
  ]
  const leave = registerProcess(here, own)
  registerProcess(here, parent)
  registerProcess(here, { pid: NOBODY, url: 'http://127.0.0.1:3' })
  t.deepEqual(
    knownProcesses(here),
    [own, parent].sort((a, b) => a.pid - b.pid),
  )
  t.deepEqual(readdirSync(here.folder).toSorted(), [`${own.pid}.json`, `${parent.pid}.json`].toSorted())
  leave()
  leave()
  t.deepEqual(knownProcesses(here), [parent])
})

test('processes: files of another host, of no process or of nobody known are passed over, and left alone', (t) => {
  const here = site(t)
  mkdirSync(here.folder, { recursive: true })
  const files = {
    '1.json': JSON.stringify({ pid: 1, host: `not-${hostname()}`, url: 'http://127.0.0.1:1' }),
    '2.json': '{',
    '3.json': 'null',
    '4.json': JSON.stringify({ pid: 'x', host: hostname(), url: 'http://127.0.0.1:1' }),
    'notes.txt': 'x',
  }
  for (const [name, text] of Object.entries(files)) writeFileSync(join(here.folder, name), text)
  t.deepEqual(knownProcesses(here), [])
  t.deepEqual(readdirSync(here.folder).toSorted(), Object.keys(files).toSorted())
})

test('processes: a folder that cannot be written keeps nobody from starting', (t) => {
  const here = site(t)
  writeFileSync(join(here.dir, '.sluice'), 'a file where the folder would be')
  t.notThrows(() => registerProcess(here, { pid: process.pid, url: 'http://127.0.0.1:1' })())
  t.deepEqual(knownProcesses(here), [])
})
