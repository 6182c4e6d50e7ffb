/**
 * The choice of an endpoint (routing.md §3): pure; time and randomness are arguments.
 *
 * Owns: the filters in their order, with the reason each lost endpoint is counted under, and the score. Stages: filter (model, health, breaker,
 * rest, slot, deadline) → score → power of two choices. R2: endpoints of a substitute model compete only where none of an earlier model is left.
 * Score = (own in-flight + 1) × relative latency ÷ (slots × health weight); the lower wins.
 */
import type { Random } from '../../schemas/ports.ts'
import type { EndpointStanding } from './health-table.ts'
import type { EndpointApi } from './apis.ts'

/** An endpoint as it stands at the moment of the choice. */
export interface Candidate {
  readonly id: string
  readonly pool: string
  readonly api: EndpointApi
  readonly models: readonly string[]
  readonly slots: number
  readonly inFlight: number
  /** No row = nobody watches its devices: it may serve. */
  readonly standing: EndpointStanding | undefined
  readonly isBreakerOpen: boolean
  readonly isResting: boolean
  /** EWMA of recent samples of the same model and size class; null without one. */
  readonly latencyMs: number | null
}

export interface Ask {
  readonly api: EndpointApi
  /** The model asked for, then the substitutes a contract declares, in order (R2). */
  readonly models: readonly string[]
  /** Substitutes that a contract names but does not cover this request with (R2): for the evidence. */
  readonly barred?: readonly string[]
  readonly remainingMs: number
  /** Already tried by this request: used only if nothing else is left (R4). */
  readonly tried: ReadonlySet<string>
}

export interface Scored {
  readonly endpoint: string
  readonly score: number
}

export interface Choice {
  readonly chosen: { readonly endpoint: string; readonly pool: string; readonly model: string } | null
  readonly considered: number
  readonly lost: Readonly<Record<string, number>>
  readonly top: readonly Scored[]
  /** Endpoints of the models too slow for the deadline, whatever else speaks against them: waiting only makes it worse. */
  readonly infeasible: number
  /** Endpoints that may come back and finish before the deadline. */
  readonly mayReturn: number
}

const TOP_MAX = 8

/** Whether an endpoint may get new work by its health (R7, R10). */
export function mayServe(standing: EndpointStanding | undefined): boolean {
  if (standing === undefined) return true
  return (standing.verdict === 'ROUTE_OK' || standing.verdict === 'DEPRIORITISE') && standing.weight > 0
}

/** Why an endpoint cannot take the request now; null if it can. */
export function lostReason(candidate: Candidate, ask: Ask): string | null {
  if (candidate.api !== ask.api) return 'wrong-api'
  if (!ask.models.some((model) => candidate.models.includes(model))) {
    return ask.barred?.some((model) => candidate.models.includes(model)) === true ? 'context' : 'wrong-model'
  }
  if (!mayServe(candidate.standing)) return `unhealthy:${candidate.standing?.reasons[0] ?? candidate.standing?.verdict ?? ''}`
  if (candidate.isBreakerOpen) return 'breaker-open'
  if (candidate.isResting) return 'busy'
  if (candidate.inFlight >= candidate.slots) return 'full'
  return isTooSlow(candidate, ask) ? 'infeasible' : null
}

const isTooSlow = (candidate: Candidate, ask: Ask): boolean => candidate.latencyMs !== null && candidate.latencyMs > ask.remainingMs
/** Reasons that last as long as the configuration. */
const LASTING: ReadonlySet<string> = new Set(['wrong-api', 'wrong-model', 'context'])

/** Scores comparable within one set: latency is relative to the fastest known; an unknown one counts as the fastest, so that it is tried. */
export function scores(candidates: readonly Candidate[]): number[] {
  const known = candidates.flatMap((c) => (c.latencyMs === null ? [] : [c.latencyMs]))
  const fastestMs = Math.max(1, Math.min(...known))
  return candidates.map((c) => {
    const relative = c.latencyMs === null ? 1 : Math.max(1, c.latencyMs) / fastestMs
    return ((c.inFlight + 1) * relative) / (c.slots * (c.standing?.weight ?? 1))
  })
}

/** Index of the better of two distinct picks. */
function powerOfTwo(values: readonly number[], random: Random): number {
  if (values.length === 1) return 0
  const first = Math.min(values.length - 1, Math.floor(random() * values.length))
  const step = 1 + Math.min(values.length - 2, Math.floor(random() * (values.length - 1)))
  const second = (first + step) % values.length
  return (values[second] as number) < (values[first] as number) ? second : first
}

/** One choice. Changes nothing: the caller takes the lease. */
export function choose(candidates: readonly Candidate[], ask: Ask, random: Random): Choice {
  const lost: Record<string, number> = {}
  const usable: Candidate[] = []
  let infeasible = 0
  let mayReturn = 0
  for (const candidate of candidates) {
    const reason = lostReason(candidate, ask)
    if (reason === null) usable.push(candidate)
    else lost[reason] = (lost[reason] ?? 0) + 1
    if (reason !== null && LASTING.has(reason)) continue
    if (isTooSlow(candidate, ask)) infeasible++
    else mayReturn++
  }
  const found = { considered: candidates.length, lost, infeasible, mayReturn }
  const fresh = usable.filter((c) => !ask.tried.has(c.id))
  const left = fresh.length > 0 ? fresh : usable
  for (const model of ask.models) {
    const set = left.filter((c) => c.models.includes(model))
    if (set.length === 0) continue
    const values = scores(set)
    const winner = set[powerOfTwo(values, random)] as Candidate
    const top = set.map((c, i) => ({ endpoint: c.id, score: values[i] as number })).sort((a, b) => a.score - b.score)
    return { ...found, chosen: { endpoint: winner.id, pool: winner.pool, model }, top: top.slice(0, TOP_MAX) }
  }
  return { ...found, chosen: null, top: [] }
}
