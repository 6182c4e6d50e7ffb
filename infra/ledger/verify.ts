/**
 * Verification of a ledger folder with nothing but its files and a public key (egress.md §6).
 *
 * Owns: the verdict and the first bad leaf. Stages: published checkpoint → frames, roots and signatures → each leaf against its place and
 * the ones before it → bytes of every object against its intent. Opens nothing for writing and may run beside the writer: what stands
 * behind the published checkpoint is not acknowledged and is left out of the verdict (E18, E29).
 */
import { readFile } from 'node:fs/promises'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { createVerifier, type Verifier } from './checkpoint.ts'
import { decodeLeaf } from './leaf.ts'
import { LeafIndex } from './leaf-index.ts'
import { scan } from './wal.ts'

export interface LedgerVerdict {
  /** Of the published checkpoint. */
  readonly size: number
  /** Base64, as it stands in the checkpoint. */
  readonly root: string
  readonly verified: boolean
  /** The first leaf that does not hold (null = none in particular), and why. */
  readonly problem: { readonly leaf: number | null; readonly reason: string } | null
  readonly origin: string
  readonly vkey: string
  readonly counts: { readonly released: number; readonly withheld: number; readonly denied: number; readonly open: number }
}

const readOrNull = (path: string): Promise<Buffer | null> => readFile(path).catch(() => null)

/** Verifies the ledger of a folder; `vkey` null = the one beside it. Never rejects: what cannot be read is not verified. */
export async function verifyLedger(dir: string, vkey: string | null = null): Promise<LedgerVerdict> {
  const key = vkey ?? (await readOrNull(join(dir, 'vkey')))?.toString('utf8').trim() ?? ''
  const none = { released: 0, withheld: 0, denied: 0, open: 0 }
  const failed = (reason: string, leaf: number | null = null, size = 0, root = '', origin = '', counts = none): LedgerVerdict => ({
    size,
    root,
    verified: false,
    problem: { leaf, reason },
    origin,
    vkey: key,
    counts,
  })
  let verifier: Verifier
  try {
    verifier = createVerifier(key)
  } catch {
    return failed('no usable verifier key')
  }
  const note = await readOrNull(join(dir, 'checkpoint'))
  const wal = await readOrNull(join(dir, 'wal'))
  if (wal === null) return failed('there is no ledger here: wal is missing')
  const published = note === null ? null : verifier.open(note.toString('utf8'))
  if (published === null) return failed(note === null ? 'the published checkpoint is missing' : 'the published checkpoint is not signed by this key')
  const { size } = published
  const root = published.root.toString('base64')
  const fail = (reason: string, leaf: number | null): LedgerVerdict => failed(reason, leaf, size, root, published.origin, counts)
  const read = scan(wal, verifier, [size])
  const index = new LeafIndex()
  const counts = { ...none }
  for (let seq = 0; seq < Math.min(size, read.leaves.length); seq++) {
    const leaf = decodeLeaf(read.leaves[seq] as Buffer, published.origin, seq)
    if (typeof leaf === 'string') return fail(leaf, seq)
    if (leaf === null) continue
    const wrong = index.apply(leaf, seq)
    if (wrong !== null) return fail(wrong, seq)
    if (leaf.type === 'denied' || leaf.type === 'withheld') counts[leaf.type]++
    if (leaf.type !== 'intent') continue
    if (leaf.decision === 'released') counts.released++
    const bytes = await readOrNull(join(dir, 'objects', leaf.sha256))
    if (bytes === null) return fail(`the bytes that were sent are missing: objects/${leaf.sha256}`, seq)
    if (bytes.length !== leaf.bytes || createHash('sha256').update(bytes).digest('hex') !== leaf.sha256) return fail(`objects/${leaf.sha256} is not what was sent`, seq)
  }
  counts.open = index.openIntents().length
  if (read.damage !== null && read.damage.leaf < size) return fail(read.damage.reason, read.damage.leaf)
  if (read.leaves.length < size) return fail(read.tail ?? 'the ledger is shorter than its published checkpoint', read.leaves.length)
  if (!read.rootAt.get(size)?.equals(published.root)) return fail('the published checkpoint does not cover these leaves', null)
  return { size, root, verified: true, problem: null, origin: published.origin, vkey: key, counts }
}
