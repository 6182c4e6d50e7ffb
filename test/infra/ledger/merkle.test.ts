import { createHash } from 'node:crypto'
import fc from 'fast-check'
import test from 'ava'
import { leafHash, MerkleTree } from '../../../infra/ledger/merkle.ts'

/** Inputs and roots of the test vectors that RFC 6962 implementations share (certificate-transparency). */
const INPUTS = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f']
const ROOTS = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
]

test('merkle: the roots are those of the shared RFC 6962 vectors, from the empty tree on', (t) => {
  const tree = new MerkleTree()
  t.is(tree.root().toString('hex'), createHash('sha256').digest('hex'))
  INPUTS.forEach((input, i) => {
    tree.append(Buffer.from(input, 'hex'))
    t.is(tree.root().toString('hex'), ROOTS[i] ?? '')
    t.is(tree.size, i + 1)
  })
})

/** The definition of RFC 6962, word for word: split at the largest power of two smaller than n. */
function defined(leaves: readonly Buffer[]): Buffer {
  if (leaves.length === 1) return leafHash(leaves[0] as Buffer)
  let k = 1
  while (k * 2 < leaves.length) k *= 2
  return createHash('sha256')
    .update(Buffer.from([1]))
    .update(defined(leaves.slice(0, k)))
    .update(defined(leaves.slice(k)))
    .digest()
}

test('merkle: the incremental root is that of the definition, for any number of leaves', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 4 }), { minLength: 1, maxLength: 70 }), (inputs) => {
      const leaves = inputs.map((x) => Buffer.from(x))
      const tree = new MerkleTree()
      for (const leaf of leaves) tree.append(leaf)
      return tree.root().equals(defined(leaves))
    }),
  )
  t.pass()
})
