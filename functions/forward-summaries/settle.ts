/**
 * From an open intent to its outcome (egress.md §6, "Reconcile"; §7).
 *
 * Owns: the only place that sends. A fresh intent is put at once; one found open is looked up first: equal bytes there → done; absent → the
 * original bytes again, or, when another bundle is in force now, closed as `abandoned` (E31); anything else → hold. The bundle's time is
 * checked again right before the send. Per object and destination one settling runs at a time (a partition that came back meets its own
 * earlier try, E13).
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { IntentState, OutcomeLeaf, OutcomeStatus } from '../../schemas/ledger.ts'
import type { LedgerPort, ObjectStore } from '../../schemas/ports.ts'
import type { PolicyBundle } from '../../schemas/policy.ts'
import type { Mint } from './exportable.ts'

export interface SettleOptions {
  readonly ledger: LedgerPort
  readonly destinations: ReadonlyMap<string, ObjectStore>
  readonly policy: PolicyBundle
  readonly mint: Mint
  /** Epoch ms, checked; throws SLU_EGRESS_POLICY or SLU_EGRESS_HOLD when nothing may leave now. */
  readonly checkedNowMs: () => number
}

export type Settle = (intent: IntentState, how: 'fresh' | 'found-open', signal: AbortSignal) => Promise<OutcomeLeaf>

interface Ending {
  readonly status: OutcomeStatus
  readonly etag: string
  readonly checksum: string
}

const hold = (detail: string): SluiceError => new SluiceError('SLU_EGRESS_HOLD', detail)

export function createSettle(options: SettleOptions): Settle {
  const { ledger, policy, mint } = options
  const running = new Map<number, Promise<OutcomeLeaf>>()

  const send = async ({ leaf }: IntentState, store: ObjectStore, signal: AbortSignal): Promise<Ending> => {
    if (leaf.bundle !== policy.hash) throw hold('the bundle of the intent is not the one in force')
    const exportable = mint.make(leaf, await ledger.object(leaf.sha256))
    options.checkedNowMs()
    const { key, bytes, sha256 } = mint.open(exportable)
    const put = await store.put({ key, bytes, sha256 }, signal)
    if (put.kind === 'stored' || put.kind === 'exists-same') return { status: put.kind, etag: put.etag, checksum: put.checksum }
    if (put.kind === 'exists-other') throw new SluiceError('SLU_EGRESS_CONFLICT', `${store.name}: ${key}: ${put.reason}`)
    throw hold(`${store.name}: ${put.reason}`)
  }

  const lookUp = async (intent: IntentState, store: ObjectStore, signal: AbortSignal): Promise<Ending> => {
    const { leaf } = intent
    const head = await store.head(leaf.key, signal)
    if (head.kind === 'unknown') throw hold(`${store.name}: ${head.reason}`)
    if (head.kind === 'present') {
      if (head.sha256 !== leaf.sha256 || head.bytes !== leaf.bytes) throw new SluiceError('SLU_EGRESS_CONFLICT', `${store.name}: ${leaf.key}`)
      return { status: 'exists-same', etag: '', checksum: head.sha256 }
    }
    return leaf.bundle === policy.hash ? send(intent, store, signal) : { status: 'abandoned', etag: '', checksum: '' }
  }

  const settle: Settle = async (intent, how, signal) => {
    const { leaf, index } = intent
    const store = options.destinations.get(leaf.destination)
    if (store === undefined) throw hold(`destination ${leaf.destination} of an open intent is not configured`)
    const ending = await (how === 'fresh' ? send : lookUp)(intent, store, signal)
    const outcome: OutcomeLeaf = { type: 'outcome', intent: index, key: leaf.key, destination: leaf.destination, ...ending, at: Math.max(options.checkedNowMs(), leaf.at) }
    await ledger.append([outcome])
    return outcome
  }

  return (intent, how, signal) => {
    let now = running.get(intent.index)
    if (now === undefined) {
      now = settle(intent, how, signal).finally(() => running.delete(intent.index))
      running.set(intent.index, now)
    }
    return now
  }
}
