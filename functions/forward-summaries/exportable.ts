/**
 * `Exportable`: the only kind of value that is sent (egress.md §1).
 *
 * Owns: the brand and the runtime check beside it. A mint belongs to one gate; it makes an exportable from a durable intent and exactly the
 * bytes the intent names. A value that only looks like one, through a cast or from plain JavaScript, is refused before a byte leaves.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { IntentLeaf } from '../../schemas/ledger.ts'
import type { Hashing } from '../../schemas/ports.ts'

declare const brand: unique symbol

/** Opaque: only the mint that made it can open it. */
export interface Exportable {
  readonly [brand]: true
}

interface Sealed {
  readonly key: string
  readonly bytes: Buffer
  readonly sha256: Buffer
}

export interface Mint {
  /** Throws SLU_LEDGER_CORRUPT when the bytes are not those of the intent. */
  make(leaf: IntentLeaf, bytes: Buffer): Exportable
  /** Throws SLU_EGRESS_HOLD for anything this mint did not make. */
  open(value: Exportable): Sealed
}

export function createMint(hashing: Hashing): Mint {
  const made = new WeakMap<object, Sealed>()
  return {
    make: (leaf, bytes) => {
      const sha256 = hashing.sha256(bytes)
      if (bytes.length !== leaf.bytes || sha256.toString('hex') !== leaf.sha256) throw new SluiceError('SLU_LEDGER_CORRUPT', `${leaf.key}: the bytes are not those of its intent`)
      const value = Object.freeze({}) as Exportable
      made.set(value, { key: leaf.key, bytes, sha256 })
      return value
    },
    open: (value) => {
      const sealed = made.get(value)
      if (sealed === undefined) throw new SluiceError('SLU_EGRESS_HOLD', 'the sender was given something that the gate did not make')
      return sealed
    },
  }
}
