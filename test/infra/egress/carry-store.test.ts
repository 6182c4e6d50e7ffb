import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { createCarryStore } from '../../../infra/egress/carry-store.ts'

const { signal } = new AbortController()
const KEY = 'hall-1/hw.gpu.memory.usage/5s/12/blackwell-a.json'
const object = (text: string, key = KEY) => ({ key, bytes: Buffer.from(text), sha256: createHash('sha256').update(text).digest() })

function folder(): { dir: string; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-carry-'))
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

test('carry: an object lies under its key with its bytes, and nothing half-written lies beside it', async (t) => {
  const { dir, remove } = folder()
  const store = createCarryStore('carry', join(dir, 'new', 'folder/'))
  const o = object('{"a":1}')
  t.deepEqual(await store.put(o, signal), { kind: 'stored', etag: '', checksum: o.sha256.toString('hex') })
  t.is(readFileSync(join(dir, 'new/folder', KEY), 'utf8'), '{"a":1}')
  t.deepEqual(readdirSync(join(dir, 'new/folder/hall-1/hw.gpu.memory.usage/5s/12')), ['blackwell-a.json'])
  t.deepEqual(await store.head(KEY, signal), { kind: 'present', bytes: 7, sha256: o.sha256.toString('hex') })
  remove()
})

test('carry: the first write wins; other bytes are a conflict and change nothing (W11)', async (t) => {
  const { dir, remove } = folder()
  const store = createCarryStore('carry', dir)
  await store.put(object('first'), signal)
  t.is((await store.put(object('first'), signal)).kind, 'exists-same')
  t.is((await store.put(object('other'), signal)).kind, 'exists-other')
  t.is(readFileSync(join(dir, KEY), 'utf8'), 'first')
  t.deepEqual(readdirSync(join(dir, 'hall-1/hw.gpu.memory.usage/5s/12')), ['blackwell-a.json'])
  remove()
})

test('carry: of many writers of one key at the same time one wins and none overwrites it', async (t) => {
  const { dir, remove } = folder()
  const store = createCarryStore('carry', dir)
  const kinds = (await Promise.all(Array.from({ length: 16 }, (_, i) => store.put(object(`writer ${i}`), signal)))).map((p) => p.kind)
  t.is(kinds.filter((k) => k === 'stored').length, 1)
  t.is(kinds.filter((k) => k === 'exists-other').length, 15)
  remove()
})

test('carry: a key that leaves the folder, or is no key, is refused before a file is touched (E04)', async (t) => {
  const { dir, remove } = folder()
  const store = createCarryStore('carry', join(dir, 'inner'))
  for (const key of [
    '../x.json',
    'hall-1/../../x/5s/1/a.json',
    '/etc/x',
    'hall-1/hw.power/5s/12/a.txt',
    'hall-1/hw.power/5s/-1/a.json',
    'hall-1/hw.power/5s/1/A.json',
    'hall-1/hw..power/5s/1/a.json',
    'hall-1/hw.power/5s/1/a.json\0',
    '',
  ]) {
    t.is((await store.put(object('x', key), signal)).kind, 'hold', key)
    t.is((await store.head(key, signal)).kind, 'unknown', key)
  }
  t.false(existsSync(join(dir, 'inner')))
  remove()
})

test('carry: a path that cannot be written or read holds and is never taken for absent or stored', async (t) => {
  const { dir, remove } = folder()
  writeFileSync(join(dir, 'hall-1'), 'a file where a folder should be')
  const store = createCarryStore('carry', dir)
  t.is((await store.put(object('x'), signal)).kind, 'hold')
  t.is((await store.head(KEY, signal)).kind, 'unknown')
  rmSync(join(dir, 'hall-1'))
  symlinkSync('/dev/null/nowhere', join(dir, 'hall-1'))
  t.is((await store.put(object('x'), signal)).kind, 'hold')
  remove()
})

test('carry: an aborted call writes nothing', async (t) => {
  const { dir, remove } = folder()
  const abort = new AbortController()
  abort.abort()
  t.is((await createCarryStore('carry', dir).put(object('x'), abort.signal)).kind, 'retry')
  t.deepEqual(readdirSync(dir), [])
  remove()
})
