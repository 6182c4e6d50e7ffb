/**
 * One leaf as bytes: canonical JSON `{v, type, ledger, seq, nonce, …}` (egress.md §6, F).
 *
 * Owns: encoding a draft and reading leaves back. A reader accepts members it does not know (later releases add some) and refuses what
 * contradicts its place: another ledger, another index, text that is not canonical.
 */
import { canonicalJson, parseCanonicalJson } from '../../schemas/canonical-json.ts'
import type { LeafDraft } from '../../schemas/ledger.ts'
import { LEAF_BYTES_MAX } from './wal.ts'

/** `nonce`: 16 random bytes in hex, so that equal contents have different hashes. Throws TypeError for what has no canonical form. */
export function encodeLeaf(draft: LeafDraft, ledger: string, seq: number, nonce: string): Buffer {
  const bytes = Buffer.from(canonicalJson({ ...draft, v: 1, ledger, seq, nonce }))
  if (bytes.length > LEAF_BYTES_MAX) throw new TypeError(`a leaf of ${bytes.length} bytes`)
  return bytes
}

const TYPES: readonly unknown[] = ['policy', 'denied', 'withheld', 'intent', 'outcome']
const LATER_TYPES: readonly unknown[] = ['tombstone', 'looked']

/** The leaf at `seq`; null for a type whose meaning a later release brings; a text that says what is wrong with it. */
export function decodeLeaf(bytes: Buffer, ledger: string, seq: number): LeafDraft | null | string {
  let leaf: Record<string, unknown>
  try {
    leaf = parseCanonicalJson(bytes.toString('utf8')) as Record<string, unknown>
  } catch {
    return 'it is not canonical JSON'
  }
  if (leaf['v'] !== 1) return `version ${String(leaf['v'])} is not known`
  if (leaf['ledger'] !== ledger) return 'it belongs to another ledger'
  if (leaf['seq'] !== seq) return `it says it stands at ${String(leaf['seq'])}`
  if (typeof leaf['nonce'] !== 'string' || !/^[0-9a-f]{32}$/.test(leaf['nonce'])) return 'it has no nonce'
  if (LATER_TYPES.includes(leaf['type'])) return null
  if (!TYPES.includes(leaf['type'])) return `type ${String(leaf['type'])} is not known`
  return leaf as unknown as LeafDraft
}
