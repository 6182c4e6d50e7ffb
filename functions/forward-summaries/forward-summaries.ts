/**
 * forward-summaries: the gate. Summaries in, permitted objects and receipts out (egress.md).
 *
 * Owns: the order of one record: parse → project → final decision in the ledger? → disclosure and policy → canonical bytes → caps → intent
 * (durable, published) → PUT → outcome → receipt. Any exception, missing fact or refusing destination → SLU_EGRESS_HOLD: nothing leaves,
 * the record is tried again for as long as it takes. What cannot be a summary is a dead letter (E01–E03).
 * Invariants: one final decision per cell, looked up before anything else (W11, E08, E13, E30); no byte without a durable intent; an open
 * intent sends its original bytes and nothing new (E31); a denied cell sends nothing.
 */
import { isSluiceError, SluiceError } from '../../schemas/errors.ts'
import { objectKey, UNLISTED_CELL, type CellDecision, type IntentLeaf, type LeafDraft, type LeafSource } from '../../schemas/ledger.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { metrics } from '../../schemas/metrics.ts'
import type { PolicyBundle } from '../../schemas/policy.ts'
import type { Clock, Hashing, LedgerPort, ObjectStore } from '../../schemas/ports.ts'
import type { EgressReceipt, WindowSummary } from '../../schemas/records.ts'
import { defineFunction, type Emit, type TaskContext, type TaskFunction } from '../../streams/define-function.ts'
import { canonicalObject } from './canonical.ts'
import { closedReason, decide, type Decision } from './decide.ts'
import { createMint } from './exportable.ts'
import { project, type Projected } from './project.ts'
import { createSettle, type Settle } from './settle.ts'

export interface ForwardSummariesOptions {
  readonly site: string
  readonly policy: PolicyBundle
  readonly ports: { readonly ledger: LedgerPort; readonly destinations: readonly ObjectStore[]; readonly hashing: Hashing; readonly clock: Clock }
}

const INPUT = 'metrics.windows'
const OUTPUT = 'egress.receipts'
const DEADLINE_MS = 60_000
/** A window that ends later than this from now comes from a clock that runs ahead (E14). */
const FUTURE_MAX_MS = 300_000

function hold(detail: string, cause?: unknown): SluiceError {
  return new SluiceError('SLU_EGRESS_HOLD', detail, cause)
}

/** A metric of the same family is already withheld for a cell of this pool in this window (E28). */
export function isFamilyWithheld({ metric, identity, pool }: Projected, policy: PolicyBundle, ledger: LedgerPort): boolean {
  if (metric.family === null) return false
  const cells = [...policy.cells].flatMap(([key, id]) => ((JSON.parse(key) as [string])[0] === pool ? [id] : []))
  return metrics.some(
    (m) =>
      m.family === metric.family &&
      policy.permits.get(m.name)?.cells.some((cell) => cells.includes(cell) && ledger.decisionFor({ ...identity, metric: m.name, cell })?.decision === 'withheld') === true,
  )
}

/** The leaves of a decision and the bytes they name. */
function leavesOf(
  projected: Projected,
  decision: Exclude<Decision, { kind: 'hold' }>,
  options: ForwardSummariesOptions,
  source: LeafSource,
  at: number,
): { leaves: LeafDraft[]; objects: Buffer[] } {
  const { policy, ports } = options
  const decided = { ...projected.identity, bundle: policy.hash, version: policy.manifest.version, reasons: decision.reasons, source, at }
  if (decision.kind === 'denied') return { leaves: [{ type: 'denied', ...decided }], objects: [] }
  const bytes = canonicalObject(projected, decision.permit, policy, decision.kind === 'released' ? 'value' : 'withheld')
  const sha256 = ports.hashing.sha256(bytes).toString('hex')
  const intents = decision.destinations.map((destination): IntentLeaf => ({
    type: 'intent',
    ...decided,
    decision: decision.kind,
    key: objectKey(projected.identity),
    destination,
    sha256,
    bytes: bytes.length,
    facts: decision.facts,
    budget: { bytes: bytes.length, objects: 1 },
  }))
  const usage = ports.ledger.usage(at)
  const { bytesPerDay, objectsPerHour } = policy.caps
  if (usage.bytesToday + bytes.length * intents.length > bytesPerDay) throw hold('the bytes of this day are used up')
  if (usage.objectsThisHour + intents.length > objectsPerHour) throw hold('the objects of this hour are used up')
  return { leaves: [...(decision.kind === 'withheld' ? [{ type: 'withheld' as const, ...decided }] : []), ...intents], objects: [bytes] }
}

/** Decides a cell for good, or throws. The decision stands in the ledger, durable, when this resolves. */
async function decideCell(projected: Projected, options: ForwardSummariesOptions, record: LogRecord): Promise<CellDecision> {
  const { policy, ports } = options
  const at = Math.max(ports.clock.nowMs(), 0)
  if (projected.windowEndMs > at + FUTURE_MAX_MS) throw new SluiceError('SLU_RECORD_FUTURE', `${projected.identity.metric}: its window lies in the future (E14)`)
  const unlisted = ports.ledger.decisionFor({ ...projected.identity, cell: UNLISTED_CELL })
  const decision = decide(projected, policy, {
    nowMs: at,
    ledgerMs: ports.ledger.highestMs,
    destinations: ports.destinations.map((d) => d.name),
    isFamilyWithheld: isFamilyWithheld(projected, policy, ports.ledger),
    isDecidedAsUnlisted: unlisted !== null && unlisted.bundle !== policy.hash,
  })
  if (decision.kind === 'hold') throw hold(decision.reason)
  const offset = Number(record.offset)
  const { leaves, objects } = leavesOf(projected, decision, options, { topic: INPUT, partition: record.partition, first: offset, last: offset }, at)
  await ports.ledger.append(leaves, objects)
  const final = ports.ledger.decisionFor(projected.identity)
  if (final === null) throw hold('the ledger does not hold the decision it acknowledged')
  return final
}

/** Epoch ms, once the clock and the bundle's time allow anything to leave (E11, E14). Throws SLU_EGRESS_HOLD. */
function checkedNowMs({ policy, ports }: ForwardSummariesOptions): number {
  const nowMs = ports.clock.nowMs()
  const reason = closedReason(policy, { nowMs, ledgerMs: ports.ledger.highestMs })
  if (reason !== null) throw hold(reason)
  return nowMs
}

/** The settling of intents under this bundle: for the gate, and for what a restart finds open. */
export function settleFor(options: ForwardSummariesOptions): Settle {
  const { policy, ports } = options
  return createSettle({
    ledger: ports.ledger,
    destinations: new Map(ports.destinations.map((d) => [d.name, d])),
    policy,
    mint: createMint(ports.hashing),
    checkedNowMs: () => checkedNowMs(options),
  })
}

/** One receipt per destination; a denied cell has one, with no destination. */
function receiptsOf(projected: Projected, final: CellDecision): EgressReceipt[] {
  const common = {
    objectKey: objectKey(projected.identity),
    policyVersion: `v${final.version} unsigned ${final.bundle.slice(0, 16)}`,
    decision: final.decision,
    reasons: final.reasons,
  }
  if (final.intents.length === 0) return [{ ...common, destination: '', sha256: null, bytes: 0, leafIndex: final.leafIndex, outcome: 'none', atMs: final.at }]
  return final.intents.map(({ leaf, index, outcome }) => ({
    ...common,
    destination: leaf.destination,
    sha256: leaf.sha256,
    bytes: leaf.bytes,
    leafIndex: index,
    outcome: outcome?.status ?? 'open',
    atMs: outcome?.at ?? leaf.at,
  }))
}

interface Gate {
  readonly options: ForwardSummariesOptions
  readonly settle: Settle
  /** Decisions under way, by object key. */
  readonly deciding: Map<string, Promise<CellDecision>>
}

/** Records of one cell meet here: the first decides, the others get its decision (cells the bundle does not list share one). */
function decideOnce(projected: Projected, record: LogRecord, { options, deciding }: Gate): Promise<CellDecision> {
  const key = objectKey(projected.identity)
  const underWay = deciding.get(key)
  if (underWay !== undefined) return underWay
  const own = decideCell(projected, options, record).finally(() => deciding.delete(key))
  deciding.set(key, own)
  return own
}

async function forward(summary: WindowSummary, record: LogRecord, context: TaskContext, gate: Gate): Promise<readonly Emit[]> {
  const { options, settle } = gate
  const { ports, policy, site } = options
  const projected = project(summary, site, policy)
  const before = ports.ledger.decisionFor(projected.identity)
  const known = before ?? (await decideOnce(projected, record, gate))
  for (const intent of known.intents) if (intent.outcome === null) await settle(intent, before === null ? 'fresh' : 'found-open', context.signal)
  const final = ports.ledger.decisionFor(projected.identity) ?? known
  return receiptsOf(projected, final).map((receipt) => ({ to: 'topic', topic: OUTPUT, key: receipt.objectKey, value: context.codecs.encode('EgressReceipt', receipt) }))
}

/** The gate as a function of the site. Throws SLU_EGRESS_POLICY for a bundle of another site. */
export function forwardSummaries(options: ForwardSummariesOptions): TaskFunction<WindowSummary> {
  if (options.policy.site !== options.site) throw new SluiceError('SLU_EGRESS_POLICY', `the bundle is of site ${options.policy.site}, this is ${options.site}`)
  const gate: Gate = { options, settle: settleFor(options), deciding: new Map() }
  return defineFunction<TaskFunction<WindowSummary>>({
    kind: 'task',
    readsOnly: true,
    name: 'forward-summaries',
    inputs: [INPUT],
    outputs: [OUTPUT],
    order: 'partition',
    concurrency: 16,
    deadlineMs: DEADLINE_MS,
    decode: (record, { codecs }) => {
      if (record.value === null) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'WindowSummary: the record has no value')
      const summary = codecs.decode('WindowSummary', record.value)
      // Resolving another writer's schema would strip what it added: only what this schema writes, byte for byte, is read (E01, E03).
      if (!codecs.encode('WindowSummary', summary).equals(record.value))
        throw new SluiceError('SLU_EGRESS_UNKNOWN_FIELD', 'WindowSummary was not written with the schema of this gate')
      return summary
    },
    handle: async (summary, record, context) => {
      try {
        return await forward(summary, record, context, gate)
      } catch (error) {
        // Whatever is not one of our own answers is a fact that is missing: hold, never a dead letter.
        throw isSluiceError(error) ? error : hold('the gate met an error it does not know', error)
      }
    },
  })
}
