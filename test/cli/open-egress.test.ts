import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import test from 'ava'
import { loadSite, type LoadedSite } from '../../cli/load-site.ts'
import { openEgress, readPolicy, verifyLedgerFolder } from '../../cli/open-egress.ts'
import { sealPolicyFolder } from '../../infra/egress/seal.ts'
import { temporaryFolder } from '../helpers/gate.ts'

function site(): { readonly loaded: LoadedSite; readonly dir: string } {
  const dir = temporaryFolder()
  cpSync('policy', join(dir, 'policy'), { recursive: true })
  writeFileSync(join(dir, 'site.yaml'), readFileSync('site.yaml', 'utf8'))
  cpSync('schemas/health-rules.yaml', join(dir, 'schemas/health-rules.yaml'))
  return { loaded: loadSite(resolve(dir, 'site.yaml')), dir }
}

function edit(dir: string, file: string, change: (text: string) => string): void {
  writeFileSync(join(dir, 'policy', file), change(readFileSync(join(dir, 'policy', file), 'utf8')))
}

test('open egress: the bundle is the first leaf, and is not recorded twice', async (t) => {
  const { loaded } = site()
  t.is(await verifyLedgerFolder(loaded), 'no ledger yet')
  t.regex(readPolicy(loaded), /hall-1-starter v1 \(unsigned\)/)
  for (let start = 0; start < 2; start++) {
    const egress = await openEgress(loaded, {})
    t.like(await egress.verify(), { size: 1, verified: true })
    await egress.close()
  }
  t.is(await verifyLedgerFolder(loaded), '1 leaves, verified')
})

test('open egress: a file edited after sealing closes the gate before a ledger is made (E22)', async (t) => {
  const { loaded, dir } = site()
  edit(dir, 'caps.json', (c) => c.replace('60000', '60001'))
  t.like(await t.throwsAsync(openEgress(loaded, {})), { code: 'SLU_EGRESS_POLICY' })
  t.throws(() => readPolicy(loaded))
  t.false(existsSync(loaded.pathOf(loaded.site.egress.ledger)))
})

test('open egress: a changed bundle needs a new version, an older one is refused (E11)', async (t) => {
  const { loaded, dir } = site()
  await (await openEgress(loaded, {})).close()
  edit(dir, 'caps.json', (c) => c.replace('60000', '60001'))
  sealPolicyFolder(join(dir, 'policy'))
  t.like(await t.throwsAsync(openEgress(loaded, {})), { code: 'SLU_EGRESS_POLICY' })
  edit(dir, 'manifest.json', (m) => m.replace('"version": 1', '"version": 2'))
  const next = await openEgress(loaded, {})
  t.is(next.ledger.size, 2)
  await next.close()
  edit(dir, 'manifest.json', (m) => m.replace('"version": 2', '"version": 1'))
  t.like(await t.throwsAsync(openEgress(loaded, {})), { code: 'SLU_EGRESS_POLICY' })
})

test('open egress: a destination that the bundle does not know is refused (E22)', async (t) => {
  const { dir } = site()
  writeFileSync(join(dir, 'site.yaml'), readFileSync(join(dir, 'site.yaml'), 'utf8').replace('name: carry', 'name: elsewhere'))
  t.like(await t.throwsAsync(openEgress(loadSite(join(dir, 'site.yaml')), {})), { code: 'SLU_EGRESS_POLICY' })
})
