/**
 * Projection: what of a summary the gate may look at, and under which identity (egress.md §1).
 *
 * Owns: the check of every field against the bundle's classes, and the closed names that a cell is known by outside. Unknown fields reject
 * the whole object, they are not stripped (E01). Names are looked up in Maps exactly as they are, never normalised first (E02, E03).
 * What is rejected is parked as a dead letter and its text is repeated nowhere. Pure.
 */
import { SluiceError } from '../../schemas/errors.ts'
import { UNLISTED_CELL, type CellIdentity } from '../../schemas/ledger.ts'
import { metricByName, type MetricRow } from '../../schemas/metrics.ts'
import { cellLookupKey, gridName, type FieldClassName, type PolicyBundle } from '../../schemas/policy.ts'
import type { ContributorFact, WindowSummary } from '../../schemas/records.ts'

export interface Projected {
  readonly identity: CellIdentity
  readonly metric: MetricRow
  readonly pool: string
  readonly gridMs: number
  readonly windowStartMs: number
  readonly windowEndMs: number
  /** Used to compute, never sent as it is. */
  readonly sum: number
  readonly count: number
  readonly contributorFacts: readonly ContributorFact[]
  readonly contributorOverflow: boolean
  readonly isPartial: boolean
}

/** The least open class each field that leaves in some form must have. */
const LEAVING: readonly (keyof WindowSummary)[] = ['site', 'metric', 'unit', 'windowStartMs', 'windowEndMs', 'sum']
const FIELD = /^[a-z][A-Za-z0-9]{0,63}$/

function reject(detail: string): SluiceError {
  return new SluiceError('SLU_EGRESS_UNKNOWN_FIELD', detail)
}

/** Throws SLU_EGRESS_UNKNOWN_FIELD for a field without a place in the bundle, or one whose class forbids what the gate does with it. */
function assertFields(summary: WindowSummary, classes: PolicyBundle['classes']): void {
  const own = Object.keys(summary)
  for (const field of own) if (!FIELD.test(field) || !classes.has(field)) throw reject('WindowSummary: a field that the bundle does not know (E01)')
  for (const field of LEAVING) {
    const given: FieldClassName = classes.get(field)?.class ?? 'never'
    if (given !== 'public-summary') throw reject(`WindowSummary.${field}: its class ${given} does not leave`)
  }
}

/** Throws a SluiceError that parks the record; what it returns is made of closed enums and numbers. */
export function project(summary: WindowSummary, site: string, policy: PolicyBundle): Projected {
  assertFields(summary, policy.classes)
  if (summary.site !== site) throw reject('WindowSummary.site is another site')
  const metric = metricByName.get(summary.metric)
  if (metric === undefined || !metric.isAggregated) throw reject('WindowSummary.metric is no metric of this release (E02)')
  if (summary.unit !== metric.unit || summary.contributorKind !== metric.contributor) throw reject(`${metric.name}: unit or kind of contributor is not that of the metric`)
  const { windowStartMs, windowEndMs } = summary
  const gridMs = windowEndMs - windowStartMs
  // A shifted or stretched window would be a second view of the same samples (E08).
  if (!Number.isSafeInteger(windowStartMs) || !Number.isSafeInteger(gridMs) || windowStartMs < 0 || gridMs < 1 || windowStartMs % gridMs !== 0)
    throw reject(`${metric.name}: the window does not lie on a grid (E08)`)
  if (!Number.isFinite(summary.sum) || !Number.isSafeInteger(summary.count) || summary.count < 1) throw reject(`${metric.name}: sum or count is no number that can be (E03)`)
  const cell = policy.cells.get(cellLookupKey(summary.pool, summary.attributes)) ?? UNLISTED_CELL
  return {
    identity: { site, metric: metric.name, grid: gridName(gridMs), window: windowStartMs / gridMs, cell },
    metric,
    pool: summary.pool,
    gridMs,
    windowStartMs,
    windowEndMs,
    sum: summary.sum,
    count: summary.count,
    contributorFacts: summary.contributorFacts,
    contributorOverflow: summary.contributorOverflow,
    isPartial: summary.partial,
  }
}
