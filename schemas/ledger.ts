/**
 * The leaves of the egress ledger (egress.md §6) and what is known of a cell from them.
 *
 * Owns: the shapes, frozen (F): a leaf is the canonical JSON of `{v, type, ledger, seq, nonce}` and the members below; a reader ignores
 * members it does not know, no writer renames one. Integers and strings only; '' = none. Times are epoch ms, hashes lower-case hex.
 * `denied` and `withheld` carry no hash of the data: values of low entropy could be found by trying (E33).
 */

/** (F) What gets exactly one final decision. `window` = windowStartMs / length of the grid; `cell` is an enum of the bundle, or UNLISTED_CELL. */
export interface CellIdentity {
  readonly site: string
  readonly metric: string
  readonly grid: string
  readonly window: number
  readonly cell: string
}

/** Cells the bundle does not list share this name: what stands in their labels is not repeated, not even in the ledger. */
export const UNLISTED_CELL = 'unlisted'

/** (F) The key of the object of a cell at every destination. */
export function objectKey(c: CellIdentity): string {
  return `${c.site}/${c.metric}/${c.grid}/${c.window}/${c.cell}.json`
}

/** The record a decision was made on. */
export interface LeafSource {
  readonly topic: string
  readonly partition: number
  readonly first: number
  readonly last: number
}

interface Decided extends CellIdentity {
  /** Hash of the bundle's manifest, and its version. */
  readonly bundle: string
  readonly version: number
  readonly reasons: readonly string[]
  readonly source: LeafSource
  readonly at: number
}

/** No `policy/root` yet. */
export const NO_ROOT = '0'.repeat(64)

/** The bundle in force from here on. */
export interface PolicyLeaf {
  readonly type: 'policy'
  readonly bundle: string
  readonly bundle_id: string
  readonly version: number
  readonly signature: string
  /** SHA-256 of `policy/root`, hex: the keys that may sign; `NO_ROOT` while the bundle is unsigned. The first leaf of a ledger is of this type. */
  readonly root: string
  readonly at: number
}

export interface DecisionLeaf extends Decided {
  readonly type: 'denied' | 'withheld'
}

/** Written, durable and published before a byte is sent. Reserves its bytes for good. */
export interface IntentLeaf extends Decided {
  readonly type: 'intent'
  readonly decision: 'released' | 'withheld'
  readonly key: string
  readonly destination: string
  readonly sha256: string
  readonly bytes: number
  /** Disclosure rules as `pass` or `fail`, never the numbers. */
  readonly facts: Readonly<Record<string, string>>
  readonly budget: { readonly bytes: number; readonly objects: number }
}

export type OutcomeStatus = 'stored' | 'exists-same' | 'abandoned'

export interface OutcomeLeaf {
  readonly type: 'outcome'
  /** Index of the intent it closes. */
  readonly intent: number
  readonly key: string
  readonly destination: string
  readonly status: OutcomeStatus
  readonly etag: string
  readonly checksum: string
  readonly at: number
}

export type LeafDraft = PolicyLeaf | DecisionLeaf | IntentLeaf | OutcomeLeaf

/** One object on its way to one destination; `outcome` null = open. */
export interface IntentState {
  readonly index: number
  readonly leaf: IntentLeaf
  readonly outcome: OutcomeLeaf | null
}

/** (F) The one final decision of a cell. */
export interface CellDecision {
  readonly decision: 'released' | 'withheld' | 'denied'
  /** Of the leaf that decided. */
  readonly leafIndex: number
  readonly reasons: readonly string[]
  readonly bundle: string
  readonly version: number
  readonly at: number
  readonly intents: readonly IntentState[]
}
