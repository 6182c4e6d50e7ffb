/**
 * The decision of the gate on one cell (egress.md §2, §4): deny by default.
 *
 * Owns: the rules in their order and the reasons in words of this table only. `denied` = the policy does not let this metric, grid or cell
 * leave; `withheld` = it may leave, this one may not; `hold` = a fact is missing, nothing is decided (D: never a guess). Pure.
 * Invariants: partial never passes (W6); one grid per metric (E08); a bundle applies from its `firstWindow` on (E30); expired = closed (E11);
 * below the minimum group or all zero = withheld (E06); a family with a withheld twin in the same pool and window is withheld (E28).
 */
import { UNLISTED_CELL } from '../../schemas/ledger.ts'
import type { Permit, PolicyBundle } from '../../schemas/policy.ts'
import { disclosureFacts } from './disclosure.ts'
import type { Projected } from './project.ts'

export type Reason =
  | 'permitted'
  | 'not-permitted'
  | 'metric-denied'
  | 'grid-not-permitted'
  | 'cell-not-permitted'
  | 'destination-not-permitted'
  | 'before-first-window'
  | 'decided-as-unlisted'
  | 'partial'
  | 'all-zero'
  | 'below-minimum-group'
  | 'family-withheld'

export interface GateFacts {
  readonly nowMs: number
  /** Latest time in the ledger: time never runs back behind it (E14). */
  readonly ledgerMs: number
  /** Destinations this site has. */
  readonly destinations: readonly string[]
  /** A metric of the same family is withheld for this pool and window. */
  readonly isFamilyWithheld: boolean
  /** Unlisted cells of this metric and window were denied under another bundle: listing one later must not open them again (E30). */
  readonly isDecidedAsUnlisted: boolean
}

export type Decision =
  | { readonly kind: 'hold'; readonly reason: string }
  | { readonly kind: 'denied'; readonly reasons: readonly Reason[] }
  | {
      readonly kind: 'released' | 'withheld'
      readonly reasons: readonly Reason[]
      readonly permit: Permit
      readonly destinations: readonly string[]
      /** Disclosure rules as they went; for the ledger of the site only. */
      readonly facts: Readonly<Record<string, 'pass' | 'fail'>>
    }

const CLOCK_BEHIND_MAX_MS = 300_000

/** Why nothing may leave now, or null. */
export function closedReason({ manifest }: PolicyBundle, { nowMs, ledgerMs }: Pick<GateFacts, 'nowMs' | 'ledgerMs'>): string | null {
  if (nowMs < ledgerMs - CLOCK_BEHIND_MAX_MS) return 'the clock runs more than 5 minutes behind the ledger (E14)'
  const time = Math.max(nowMs, ledgerMs)
  if (time >= manifest.expires) return 'the policy bundle has expired (E11)'
  if (time < manifest.notBefore) return 'the policy bundle is not valid yet (E11)'
  return null
}

/** The permit that covers this cell, or why there is none. */
function permitFor({ identity, windowStartMs }: Projected, policy: PolicyBundle): Permit | Reason {
  if (policy.denials.has(identity.metric)) return 'metric-denied'
  const permit = policy.permits.get(identity.metric)
  if (permit === undefined) return 'not-permitted'
  if (!policy.grids.has(identity.grid) || permit.grid !== identity.grid) return 'grid-not-permitted'
  if (identity.cell === UNLISTED_CELL || !permit.cells.includes(identity.cell)) return 'cell-not-permitted'
  if (windowStartMs < policy.manifest.firstWindow) return 'before-first-window'
  return permit
}

/** Decides; the same arguments always give the same decision. */
export function decide(projected: Projected, policy: PolicyBundle, facts: GateFacts): Decision {
  const reason = closedReason(policy, facts)
  if (reason !== null) return { kind: 'hold', reason }
  const permit = permitFor(projected, policy)
  if (typeof permit === 'string') return { kind: 'denied', reasons: [permit] }
  if (facts.isDecidedAsUnlisted) return { kind: 'denied', reasons: ['decided-as-unlisted'] }
  const destinations = permit.destinations.filter((d) => facts.destinations.includes(d))
  if (destinations.length === 0) return { kind: 'denied', reasons: ['destination-not-permitted'] }
  const disclosure = disclosureFacts(projected)
  if (typeof disclosure === 'string') return { kind: 'hold', reason: `${projected.identity.metric}: ${disclosure}` }
  const isGroupTooSmall = disclosure.contributors < policy.minContributors[projected.metric.contributor]
  const failed: Reason[] = []
  if (projected.isPartial) failed.push('partial')
  if (disclosure.isAllZero) failed.push('all-zero')
  if (isGroupTooSmall) failed.push('below-minimum-group')
  if (facts.isFamilyWithheld) failed.push('family-withheld')
  const mark = (isFailed: boolean): 'pass' | 'fail' => (isFailed ? 'fail' : 'pass')
  return {
    kind: failed.length === 0 ? 'released' : 'withheld',
    reasons: failed.length === 0 ? ['permitted'] : failed,
    permit,
    destinations,
    facts: { complete: mark(projected.isPartial), min_group: mark(isGroupTooSmall), non_zero: mark(disclosure.isAllZero), family: mark(facts.isFamilyWithheld) },
  }
}
