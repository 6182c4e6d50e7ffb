import test from 'ava'
import { createSeed, createSigner, createVerifier } from '../../../infra/ledger/checkpoint.ts'
import { MerkleTree } from '../../../infra/ledger/merkle.ts'
import { encodeBatch, scan } from '../../../infra/ledger/wal.ts'

const signer = createSigner('example.org/hall-1/egress/1', createSeed())
const verifier = createVerifier(signer.vkey)

/** Batches of the given numbers of leaves, one after the other. */
function written(...sizes: number[]): { bytes: Buffer; ends: number[] } {
  const tree = new MerkleTree()
  const batches = sizes.map((size) => {
    const leaves = Array.from({ length: size }, (_, i) => Buffer.from(`leaf ${tree.size + i}`))
    for (const leaf of leaves) tree.append(leaf)
    return encodeBatch(leaves, signer.sign({ size: tree.size, root: tree.root() }))
  })
  let at = 0
  return { bytes: Buffer.concat(batches), ends: batches.map((b) => (at += b.length)) }
}

test('wal: a frame is length, type, CRC-32 of type and payload, payload, big endian (F)', (t) => {
  const note = signer.sign({ size: 1, root: Buffer.alloc(32) })
  const bytes = encodeBatch([Buffer.from('ab')], note)
  t.is(bytes.readUInt32BE(0), 2)
  t.is(bytes.readUInt8(4), 1)
  t.is(bytes.readUInt32BE(5), 0x21d9_e9b7, 'CRC-32 of 01 61 62, as zlib has it')
  t.is(bytes.subarray(9, 11).toString(), 'ab')
  t.is(bytes.readUInt32BE(11), Buffer.byteLength(note))
  t.is(bytes.readUInt8(15), 2)
})

test('wal: whole batches are read back with their roots, nothing behind them', (t) => {
  const { bytes } = written(2, 1, 5)
  const read = scan(bytes, verifier, [0, 3, 8])
  t.like(read, { bytes: bytes.length, tail: null, damage: null })
  t.is(read.leaves.length, 8)
  t.is(read.checkpoint?.size, 8)
  t.true(read.rootAt.get(8)?.equals(read.checkpoint?.root as Buffer))
  t.is(read.rootAt.size, 3)
  t.like(scan(Buffer.alloc(0), verifier), { bytes: 0, checkpoint: null, tail: null, damage: null })
})

test('wal: cut at every byte of the last batch, exactly the batches before it are kept: none lost, none invented', (t) => {
  const { bytes, ends } = written(2, 3)
  const [first = 0] = ends
  for (let cut = first; cut < bytes.length; cut++) {
    const read = scan(bytes.subarray(0, cut), verifier)
    t.is(read.bytes, first, `cut at ${cut}`)
    t.is(read.leaves.length, 2)
    t.is(read.damage, null)
    t.is(read.tail === null, cut === first)
  }
})

test('wal: garbage, zeros and old frames behind the last batch are not taken for leaves', (t) => {
  const { bytes } = written(2)
  for (const tail of [Buffer.alloc(4096), Buffer.alloc(10, 0xff), bytes.subarray(0, 20), Buffer.from('{"v":1}'), Buffer.from([0, 0, 0, 1, 7, 0, 0, 0, 0, 1])]) {
    const read = scan(Buffer.concat([bytes, tail]), verifier)
    t.is(read.bytes, bytes.length)
    t.is(read.leaves.length, 2)
    t.not(read.tail, null)
  }
})

test('wal: a flipped bit anywhere never passes: the log ends before it, or damage is named (E18)', (t) => {
  const { bytes } = written(1, 1)
  for (let at = 0; at < bytes.length; at++) {
    const bad = Buffer.from(bytes)
    bad.writeUInt8(bad.readUInt8(at) ^ (1 << (at % 8)), at)
    const read = scan(bad, verifier)
    t.true(read.damage !== null || read.leaves.length < 2, `byte ${at}`)
  }
})

test('wal: a sound frame with a checkpoint of other leaves or another key is damage, not a torn tail (E18)', (t) => {
  const leaves = [Buffer.from('a')]
  const tree = new MerkleTree()
  tree.append(Buffer.from('b'))
  t.deepEqual(scan(encodeBatch(leaves, signer.sign({ size: 1, root: tree.root() })), verifier).damage, { leaf: 0, reason: 'a checkpoint does not cover the leaves before it' })
  const other = createSigner('example.org/hall-1/egress/1', createSeed())
  t.is(scan(encodeBatch([Buffer.from('b')], other.sign({ size: 1, root: tree.root() })), verifier).damage?.leaf, 0)
})
