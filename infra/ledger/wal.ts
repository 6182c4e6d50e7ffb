/**
 * The write-ahead log of a ledger: its authority (egress.md §6).
 *
 * Owns: the frames (F): uint32 length of the payload, uint8 type (1 leaf, 2 checkpoint), uint32 CRC-32 of type and payload, payload; all big
 * endian. A batch is its leaves and one signed checkpoint. `scan` keeps through the last valid checkpoint; what follows was never
 * acknowledged. A checkpoint frame whose CRC is right and whose root, size or signature is wrong is no torn tail: it is damage (E18).
 */
import { crc32 } from 'node:zlib'
import type { Checkpoint, Verifier } from './checkpoint.ts'
import { MerkleTree } from './merkle.ts'

export const LEAF_BYTES_MAX = 65_535
const HEAD_BYTES = 9
const CHECKPOINT_BYTES_MAX = 4096
const LEAF_FRAME = 1
const CHECKPOINT_FRAME = 2

function frame(type: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt32BE(payload.length, 0)
  head.writeUInt8(type, 4)
  head.writeUInt32BE(crc32(payload, crc32(Buffer.from([type]))), 5)
  return Buffer.concat([head, payload])
}

/** One batch as it is written: its leaves, then the note that covers them. */
export function encodeBatch(leaves: readonly Buffer[], note: string): Buffer {
  return Buffer.concat([...leaves.map((leaf) => frame(LEAF_FRAME, leaf)), frame(CHECKPOINT_FRAME, Buffer.from(note))])
}

export interface Scan {
  /** Leaves under the last valid checkpoint. */
  readonly leaves: readonly Buffer[]
  /** The last valid checkpoint; null = none. */
  readonly checkpoint: Checkpoint | null
  readonly note: string
  /** Bytes to keep. */
  readonly bytes: number
  /** Root after `size` leaves, for each size asked for. */
  readonly rootAt: ReadonlyMap<number, Buffer>
  /** What stands after the kept bytes and why it ended; null = nothing. */
  readonly tail: string | null
  /** Damage that no torn write explains; names the first leaf it may concern. */
  readonly damage: { readonly leaf: number; readonly reason: string } | null
}

/** Reads frames from the start. `sizes`: tree sizes whose root the caller wants. Never throws. */
export function scan(bytes: Buffer, verifier: Verifier, sizes: readonly number[] = []): Scan {
  const tree = new MerkleTree()
  const rootAt = new Map<number, Buffer>()
  const wanted = new Set(sizes)
  const leaves: Buffer[] = []
  let kept = { leaves: 0, bytes: 0, checkpoint: null as Checkpoint | null, note: '' }
  let tail: string | null = null
  let damage: Scan['damage'] = null
  if (wanted.has(0)) rootAt.set(0, tree.root())
  for (let at = 0; at < bytes.length && damage === null;) {
    const next = readFrame(bytes, at)
    if (typeof next === 'string') {
      tail = next
      break
    }
    at = next.end
    if (next.type === LEAF_FRAME) {
      leaves.push(next.payload)
      tree.append(next.payload)
      if (wanted.has(tree.size)) rootAt.set(tree.size, tree.root())
      continue
    }
    const note = next.payload.toString('utf8')
    const checkpoint = verifier.open(note)
    if (checkpoint === null) damage = { leaf: kept.leaves, reason: 'a checkpoint is not signed by the key of this ledger' }
    else if (checkpoint.size !== tree.size || !checkpoint.root.equals(tree.root())) damage = { leaf: kept.leaves, reason: 'a checkpoint does not cover the leaves before it' }
    else kept = { leaves: leaves.length, bytes: at, checkpoint, note }
  }
  if (tail === null && damage === null && kept.bytes < bytes.length) tail = 'leaves without a checkpoint'
  return { leaves: leaves.slice(0, kept.leaves), checkpoint: kept.checkpoint, note: kept.note, bytes: kept.bytes, rootAt, tail, damage }
}

function readFrame(bytes: Buffer, at: number): { type: number; payload: Buffer; end: number } | string {
  if (bytes.length - at < HEAD_BYTES) return 'a frame is cut short'
  const length = bytes.readUInt32BE(at)
  const type = bytes.readUInt8(at + 4)
  if (type !== LEAF_FRAME && type !== CHECKPOINT_FRAME) return 'a frame of no known type'
  if (length > (type === LEAF_FRAME ? LEAF_BYTES_MAX : CHECKPOINT_BYTES_MAX)) return 'a frame is longer than any can be'
  const end = at + HEAD_BYTES + length
  if (end > bytes.length) return 'a frame is cut short'
  const payload = bytes.subarray(at + HEAD_BYTES, end)
  if (crc32(payload, crc32(Buffer.from([type]))) !== bytes.readUInt32BE(at + 5)) return 'a frame does not match its checksum'
  return { type, payload, end }
}
