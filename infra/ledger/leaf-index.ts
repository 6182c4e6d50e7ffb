/**
 * What the leaves say, kept in memory: the final decision of each cell, open intents, reserved budget, latest policy.
 *
 * Owns: the fold over leaves, the same at start and while running; and the claims of leaves that are being written, so that two writers of
 * one process cannot decide one cell (E08, E13). Derived from the ledger alone: nothing in it is ever authority.
 * Grows with the number of decisions (a few hundred bytes each); see docs/adr/0004.
 */
import { objectKey, type CellDecision, type CellIdentity, type IntentState, type LeafDraft } from '../../schemas/ledger.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000

interface Decision extends Omit<CellDecision, 'intents'> {
  readonly intents: IntentState[]
}

export class LeafIndex {
  highestMs = 0
  policy: { bundle: string; version: number; versionMax: number } | null = null
  readonly #cells = new Map<string, Decision>()
  readonly #open = new Map<number, IntentState>()
  readonly #claims = new Set<string>()
  #day = { start: -1, bytes: 0 }
  #hour = { start: -1, objects: 0 }

  /** Takes in a durable leaf. Returns what is wrong with it, or null. */
  apply(leaf: LeafDraft, index: number): string | null {
    this.highestMs = Math.max(this.highestMs, leaf.at)
    if (leaf.type === 'policy') {
      const { bundle, version } = leaf
      this.policy = { bundle, version, versionMax: Math.max(version, this.policy?.versionMax ?? 0) }
      return null
    }
    if (leaf.type === 'outcome') return this.#close(leaf, index)
    const key = objectKey(leaf)
    let decision = this.#cells.get(key)
    if (leaf.type !== 'intent') {
      if (decision !== undefined) return 'its cell has a final decision already'
      this.#cells.set(key, { decision: leaf.type, leafIndex: index, reasons: leaf.reasons, bundle: leaf.bundle, version: leaf.version, at: leaf.at, intents: [] })
      return null
    }
    if (decision === undefined) {
      if (leaf.decision === 'withheld') return 'no decision stands before it'
      decision = { decision: 'released', leafIndex: index, reasons: leaf.reasons, bundle: leaf.bundle, version: leaf.version, at: leaf.at, intents: [] }
      this.#cells.set(key, decision)
    } else if (decision.decision !== leaf.decision || decision.intents.some((i) => i.leaf.destination === leaf.destination)) return 'its cell has a final decision already'
    const state: IntentState = { index, leaf, outcome: null }
    decision.intents.push(state)
    this.#open.set(index, state)
    return null
  }

  #close(leaf: LeafDraft & { type: 'outcome' }, index: number): string | null {
    const open = this.#open.get(leaf.intent)
    if (open === undefined || open.leaf.key !== leaf.key || open.leaf.destination !== leaf.destination) return `outcome ${index} closes no open intent`
    this.#open.delete(leaf.intent)
    const intents = this.#cells.get(objectKey(open.leaf))?.intents as IntentState[]
    intents[intents.indexOf(open)] = { ...open, outcome: leaf }
    return null
  }

  /** Reserves budget: at the call for leaves being written, at start for those read. Never given back. */
  reserve(leaf: LeafDraft): void {
    if (leaf.type !== 'intent') return
    const day = Math.floor(leaf.at / DAY_MS)
    const hour = Math.floor(leaf.at / HOUR_MS)
    if (day > this.#day.start) this.#day = { start: day, bytes: 0 }
    if (hour > this.#hour.start) this.#hour = { start: hour, objects: 0 }
    if (day === this.#day.start) this.#day.bytes += leaf.budget.bytes
    if (hour === this.#hour.start) this.#hour.objects += leaf.budget.objects
  }

  usage(atMs: number): { bytesToday: number; objectsThisHour: number } {
    // A time before the latest one counts against the latest period: a clock set back frees nothing.
    const day = Math.floor(atMs / DAY_MS)
    const hour = Math.floor(atMs / HOUR_MS)
    return { bytesToday: day > this.#day.start ? 0 : this.#day.bytes, objectsThisHour: hour > this.#hour.start ? 0 : this.#hour.objects }
  }

  /** Marks what these leaves decide as being decided; the name of what already is, or null. All or nothing. */
  claim(leaves: readonly LeafDraft[]): { readonly taken: string } | { readonly names: readonly string[] } {
    const names = new Set<string>()
    for (const leaf of leaves) {
      if (leaf.type === 'policy') continue
      const name = leaf.type === 'outcome' ? `outcome of ${leaf.intent}` : objectKey(leaf)
      const isTaken = this.#claims.has(name) || (leaf.type === 'outcome' ? !this.#open.has(leaf.intent) : this.#cells.has(name))
      if (isTaken) return { taken: name }
      names.add(name)
    }
    for (const name of names) this.#claims.add(name)
    return { names: [...names] }
  }

  release(names: readonly string[]): void {
    for (const name of names) this.#claims.delete(name)
  }

  decisionFor(cell: CellIdentity): CellDecision | null {
    return this.#cells.get(objectKey(cell)) ?? null
  }

  openIntents(): IntentState[] {
    return [...this.#open.values()]
  }
}
