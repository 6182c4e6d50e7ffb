import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { readPolicyFolder, shippedSchemaBytes } from '../../../infra/egress/policy-folder.ts'
import { sealPolicyFolder } from '../../../infra/egress/seal.ts'
import { ROOT } from '../../helpers/site.ts'

function copy(): { dir: string; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-seal-'))
  cpSync(join(ROOT, 'policy'), dir, { recursive: true })
  return { dir, remove: () => rmSync(dir, { recursive: true, force: true }) }
}

test('seal: the shipped bundle is sealed; sealing it again changes no byte', (t) => {
  const { dir, remove } = copy()
  const before = readFileSync(join(dir, 'manifest.json'))
  t.is(sealPolicyFolder(dir).hash, readPolicyFolder(join(ROOT, 'policy')).hash)
  t.deepEqual(readFileSync(join(dir, 'manifest.json')), before)
  remove()
})

test('seal: an edited bundle is refused until it is sealed, and has another hash then', (t) => {
  const { dir, remove } = copy()
  const old = readPolicyFolder(dir).hash
  appendFileSync(join(dir, 'caps.json'), '\n')
  t.throws(() => readPolicyFolder(dir), { message: /caps.json.*edited/ })
  t.not(sealPolicyFolder(dir).hash, old)
  t.is(readPolicyFolder(dir).signature, 'unsigned')
  remove()
})

test('seal: a bundle that breaks a rule is not sealed, and its manifest stays as it was', (t) => {
  const { dir, remove } = copy()
  const before = readFileSync(join(dir, 'manifest.json'))
  writeFileSync(join(dir, 'policies.json'), readFileSync(join(dir, 'policies.json'), 'utf8').replace('"tenant": 10', '"tenant": 2'))
  t.throws(() => sealPolicyFolder(dir), { message: /minContributors.tenant/ })
  t.deepEqual(readFileSync(join(dir, 'manifest.json')), before)
  remove()
})

test('seal: a schema that gained a field closes the bundle until somebody seals it anew (E01)', (t) => {
  const { dir, remove } = copy()
  const drifted = Buffer.from(shippedSchemaBytes().toString('utf8').replace('"fields": [', '"fields": [{"name":"customer","type":"string"},'))
  t.throws(() => readPolicyFolder(dir, drifted), { message: /window-summary.avsc/ })
  t.is(sealPolicyFolder(dir, drifted).classes.get('customer')?.class, 'never')
  remove()
})
