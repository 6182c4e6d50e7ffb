/**
 * The ledger, measured: what the gate decided and what left, as the ledger acknowledged it (operations.md §1).
 *
 * Owns: a `LedgerPort` around another. Counted is what became durable, once per cell for a decision, per destination for bytes, so the page and
 * the ledger cannot tell different stories. Leaves, objects and errors pass through unchanged.
 */
import type { LeafDraft } from '../../schemas/ledger.ts'
import type { LedgerPort, Telemetry } from '../../schemas/ports.ts'
import { attributeNames, metricNames } from '../../schemas/telemetry-names.ts'

export function measuredLedger(ledger: LedgerPort, telemetry: Telemetry): LedgerPort {
  const measureSize = (): void => {
    telemetry.gauge(metricNames.egressLedgerSize, ledger.size)
    telemetry.gauge(metricNames.egressPending, ledger.openIntents().length)
  }

  const measureDecision = (leaves: readonly LeafDraft[]): void => {
    const counted = new Set<string>()
    for (const leaf of leaves) {
      if (leaf.type === 'policy' || leaf.type === 'outcome') continue
      const decision = leaf.type === 'intent' ? leaf.decision : leaf.type
      const cell = [leaf.metric, leaf.grid, leaf.window, leaf.cell].join(' ')
      if (counted.has(cell)) continue
      counted.add(cell)
      telemetry.count(metricNames.egressDecisions, 1, {
        [attributeNames.decision]: decision,
        [attributeNames.reason]: leaf.reasons[0] ?? 'permitted',
        [attributeNames.policyVersion]: leaf.version,
      })
    }
  }

  measureSize()
  return {
    get size() {
      return ledger.size
    },
    get highestMs() {
      return ledger.highestMs
    },
    get policy() {
      return ledger.policy
    },
    decisionFor: (cell) => ledger.decisionFor(cell),
    openIntents: () => ledger.openIntents(),
    object: (sha256) => ledger.object(sha256),
    usage: (atMs) => ledger.usage(atMs),
    append: async (leaves, objects) => {
      const open = new Map(leaves.some((leaf) => leaf.type === 'outcome') ? ledger.openIntents().map((intent) => [intent.index, intent.leaf] as const) : [])
      const written = await ledger.append(leaves, objects)
      measureDecision(leaves)
      for (const leaf of leaves) {
        const intent = leaf.type === 'outcome' ? open.get(leaf.intent) : undefined
        if (leaf.type !== 'outcome' || intent === undefined) continue
        const destination = { [attributeNames.egressDestination]: leaf.destination }
        telemetry.record(metricNames.egressAckDuration, Math.max(0, leaf.at - intent.at) / 1000, { ...destination, [attributeNames.outcome]: leaf.status })
        if (leaf.status !== 'abandoned') telemetry.count(metricNames.egressBytes, intent.bytes, destination)
      }
      measureSize()
      return written
    },
  }
}
