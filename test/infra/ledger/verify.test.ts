import { createHash } from 'node:crypto'
import { appendFileSync, copyFileSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { createSigner } from '../../../infra/ledger/checkpoint.ts'
import { encodeLeaf } from '../../../infra/ledger/leaf.ts'
import { openLedger } from '../../../infra/ledger/ledger.ts'
import { MerkleTree } from '../../../infra/ledger/merkle.ts'
import { verifyLedger } from '../../../infra/ledger/verify.ts'
import { encodeBatch } from '../../../infra/ledger/wal.ts'
import type { LeafDraft } from '../../../schemas/ledger.ts'
import { NOW_MS, ORIGIN, openGate, summary, temporaryFolder } from '../../helpers/gate.ts'

/** A ledger that the gate has written: one released, one withheld, one denied. */
async function written(): Promise<{ dir: string; vkey: string }> {
  const { dir, ledger, send } = await openGate()
  await send(summary())
  await send(summary({ pool: 'trainium-a' }, [1, 2, 3]))
  await send(summary({ metric: 'hw.gpu.memory.limit' }))
  const { vkey } = ledger
  await ledger.close()
  return { dir, vkey }
}

test('verify: files and a public key are enough; key, lock and write access are not needed', async (t) => {
  const { dir, vkey } = await written()
  const copy = temporaryFolder()
  mkdirSync(join(copy, 'objects'))
  for (const file of ['wal', 'checkpoint']) copyFileSync(join(dir, file), join(copy, file))
  for (const file of readdirSync(join(dir, 'objects'))) copyFileSync(join(dir, 'objects', file), join(copy, 'objects', file))
  t.like(await verifyLedger(copy, vkey), { verified: true, problem: null, size: 6, origin: ORIGIN, counts: { released: 1, withheld: 1, denied: 1, open: 0 } })
  t.like(await verifyLedger(copy), { verified: false, problem: { reason: 'no usable verifier key' } })
})

test('verify: it holds while the writer runs, whatever stands behind the published checkpoint', async (t) => {
  const { dir, vkey } = await written()
  appendFileSync(join(dir, 'wal'), Buffer.from([0, 0, 1, 0, 1, 9, 9]))
  t.true((await verifyLedger(dir, vkey)).verified)
})

test('verify: each changed byte of the log names a leaf or the checkpoint, and none passes (E18)', async (t) => {
  const { dir, vkey } = await written()
  const wal = readFileSync(join(dir, 'wal'))
  for (let at = 0; at < wal.length; at += 37) {
    const bad = Buffer.from(wal)
    bad.writeUInt8(bad.readUInt8(at) ^ 0x10, at)
    writeFileSync(join(dir, 'wal'), bad)
    const verdict = await verifyLedger(dir, vkey)
    t.false(verdict.verified, `byte ${at}`)
    t.is(typeof verdict.problem?.leaf, 'number', `byte ${at}`)
  }
})

test('verify: a missing log, checkpoint or object, and another key, do not verify, and nothing is thrown (E18)', async (t) => {
  const { dir, vkey } = await written()
  const other = await written()
  t.regex((await verifyLedger(dir, other.vkey)).problem?.reason ?? '', /not signed by this key/)
  const [object = ''] = readdirSync(join(dir, 'objects'))
  rmSync(join(dir, 'objects', object))
  t.regex((await verifyLedger(dir, vkey)).problem?.reason ?? '', /missing: objects/)
  rmSync(join(dir, 'checkpoint'))
  t.regex((await verifyLedger(dir, vkey)).problem?.reason ?? '', /checkpoint is missing/)
  rmSync(join(dir, 'wal'))
  t.regex((await verifyLedger(dir, vkey)).problem?.reason ?? '', /no ledger here/)
})

/** A ledger forged by somebody who holds the key: well signed, and wrong in what it says. */
async function forged(...drafts: LeafDraft[]): Promise<{ dir: string; vkey: string }> {
  const dir = temporaryFolder()
  const ledger = await openLedger({ dir, origin: ORIGIN })
  const { vkey } = ledger
  await ledger.close()
  const signer = createSigner(ORIGIN, readFileSync(join(dir, 'key'), 'utf8'))
  const tree = new MerkleTree()
  const leaves = drafts.map((draft, i) => encodeLeaf(draft, ORIGIN, i, createHash('md5').update(String(i)).digest('hex')))
  for (const leaf of leaves) tree.append(leaf)
  const note = signer.sign({ size: tree.size, root: tree.root() })
  writeFileSync(join(dir, 'wal'), encodeBatch(leaves, note))
  writeFileSync(join(dir, 'checkpoint'), note)
  return { dir, vkey }
}

test('verify: a well signed ledger that decides one cell twice, or closes what was never open, is named (E08)', async (t) => {
  const denied: LeafDraft = {
    type: 'denied',
    site: 'hall-1',
    metric: 'hw.power',
    grid: '5s',
    window: 1,
    cell: 'c',
    bundle: 'b',
    version: 1,
    reasons: [],
    source: { topic: 't', partition: 0, first: 0, last: 0 },
    at: NOW_MS,
  }
  const outcome: LeafDraft = { type: 'outcome', intent: 0, key: 'k', destination: 'd', status: 'stored', etag: '', checksum: '', at: NOW_MS }
  for (const [drafts, leaf] of [
    [[denied, denied], 1],
    [[denied, outcome], 1],
  ] as const) {
    const { dir, vkey } = await forged(...drafts)
    t.like(await verifyLedger(dir, vkey), { verified: false, problem: { leaf } })
    await t.throwsAsync(openLedger({ dir, origin: ORIGIN }), { message: /SLU_LEDGER_CORRUPT.*leaf 1/ })
  }
  t.true((await verifyLedger((await forged(denied)).dir)).verified)
})
