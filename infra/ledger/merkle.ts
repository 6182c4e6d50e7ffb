/**
 * RFC 6962 Merkle tree hashing, incremental.
 *
 * Owns: leaf and node hashes and a compact range (one root per set bit of the size), from which the root follows in O(log n). No maintained
 * package has just this; the primitive is `node:crypto`. Held against the test vectors of RFC 6962 implementations in the test.
 */
import { createHash } from 'node:crypto'

const LEAF = Buffer.from([0])
const NODE = Buffer.from([1])

export function leafHash(leaf: Uint8Array): Buffer {
  return createHash('sha256').update(LEAF).update(leaf).digest()
}

function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return createHash('sha256').update(NODE).update(left).update(right).digest()
}

export class MerkleTree {
  #size = 0
  /** Roots of the complete subtrees, largest first. */
  #roots: Buffer[] = []

  get size(): number {
    return this.#size
  }

  append(leaf: Uint8Array): void {
    let hash = leafHash(leaf)
    for (let rest = this.#size; rest % 2 === 1; rest = (rest - 1) / 2) hash = nodeHash(this.#roots.pop() as Buffer, hash)
    this.#roots.push(hash)
    this.#size++
  }

  /** Of the empty tree: SHA-256 of nothing. */
  root(): Buffer {
    const right = this.#roots.at(-1)
    if (right === undefined) return createHash('sha256').digest()
    return this.#roots.slice(0, -1).reduceRight((hash, left) => nodeHash(left, hash), right)
  }
}
