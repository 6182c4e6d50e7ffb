import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { egressVerify } from '../../cli/egress.ts'
import type { Invocation } from '../../cli/invocation.ts'
import { openGate, summary } from '../helpers/gate.ts'

function invocation(): { readonly call: Invocation; readonly documents: Record<string, unknown>[]; readonly notes: string[] } {
  const documents: Record<string, unknown>[] = []
  const notes: string[] = []
  const output = { isJson: true, line: () => {}, json: (d: unknown) => void documents.push(d as Record<string, unknown>), note: (n: string) => void notes.push(n), error: () => {} }
  return { call: { siteFile: 'site.yaml', output, environment: {} }, documents, notes }
}

test('egress verify: a sound ledger gives 0, a changed one 3 with its first bad leaf (E18)', async (t) => {
  const { dir, send, ledger } = await openGate()
  await send(summary())
  const sound = invocation()
  t.is(await egressVerify(sound.call, [dir], {}), 0)
  t.like(sound.documents[0], { size: 2, verified: true, code: null })
  t.is(await egressVerify(sound.call, [dir], { key: ledger.vkey }), 0)
  await ledger.close()
  const wal = readFileSync(join(dir, 'wal'))
  wal.writeUInt8(wal.readUInt8(50) ^ 1, 50)
  writeFileSync(join(dir, 'wal'), wal)
  const bad = invocation()
  t.is(await egressVerify(bad.call, [dir], {}), 3)
  t.like(bad.documents[0], { verified: false, code: 'SLU_LEDGER_CORRUPT', problem: { leaf: 0 } })
  t.true(bad.notes.join('').includes('leaf 0'))
})

test('egress verify: a foreign key does not verify', async (t) => {
  const own = await openGate()
  const other = await openGate()
  await own.send(summary())
  t.is(await egressVerify(invocation().call, [own.dir], { key: other.ledger.vkey }), 3)
})
