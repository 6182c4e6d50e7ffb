/**
 * One request from admission to result: the loop around the choice.
 *
 * Owns: the stages admit → choose or wait → call → judge → repeat or answer, and the evidence of them. Invariants: R2 (only models asked for or under
 * contract), R3 (past the deadline nothing is sent; in flight it is aborted), R4 (attempts, budget, another endpoint first), R5 (each call ends its
 * breaker's account once), R7 (health is looked at in the same turn in which the call starts), R8 (no endpoint: wait until the deadline).
 * A lease and a breaker's account are given back whatever way a call ends. An answer in doubt (401, 403, 404) is kept until one other endpoint has
 * spoken; whatever becomes of that second opinion, short of an answer, the one in doubt is the caller's.
 * Why over 300 lines: the stages change one `Work` together; all that decides without changing it stands in its own file.
 */
import { asSluiceError, isSluiceError, SluiceError } from '../../schemas/errors.ts'
import type { Clock, EndpointCall, Random, Telemetry } from '../../schemas/ports.ts'
import type { InferenceResult, RouteAttempt, RouteEvidence } from '../../schemas/records.ts'
import { attributeNames, metricNames } from '../../schemas/telemetry-names.ts'
import { apis, type ApiRow } from './apis.ts'
import { endingOf, outcomeName, type Answered, type AttemptEnding } from './attempt.ts'
import type { CallEnding } from './breaker.ts'
import { choose, mayServe, type Choice } from './choose.ts'
import { allowedModels, type AllowedModels, type Contract } from './contracts.ts'
import { endpointRequest, type Send } from './endpoint-request.ts'
import { candidatesOf, endpointsOf, latencyKey, type Endpoint, type PoolOptions } from './endpoints.ts'
import type { HealthTable } from './health-table.ts'
import { createLatency, sizeClass } from './latency.ts'
import { createLeases, type Lease } from './leases.ts'
import type { DecodedRequest } from './request.ts'
import { createPoolMeasures } from './pool-measures.ts'
import { answer, refusal, type Served } from './result.ts'
import { createRetryBudget, type RetryBudget } from './retry-budget.ts'
import { createWaiting, type Refused } from './waiting.ts'

export interface RouterOptions {
  readonly routerVersion: string
  readonly pools: readonly PoolOptions[]
  readonly contracts: readonly Contract[]
  readonly perTenantMax: number
  readonly resultBytesMax: number
  readonly attemptsMax?: number
  readonly ports: { readonly call: EndpointCall; readonly clock: Clock; readonly random: Random; readonly telemetry: Telemetry; readonly health: HealthTable }
}

export interface Router {
  /** Resolves with a result for every ending that is the request's; rejects with the reason of `signal` when the work is given up, not cancelled. */
  route(decoded: DecodedRequest, send: Send): Promise<InferenceResult>
}

/** A lease that was taken by a choice. */
interface Taken {
  readonly lease: Lease
  readonly endpoint: Endpoint
  readonly model: string
}

interface Work {
  readonly decoded: DecodedRequest
  readonly send: Send
  readonly api: ApiRow
  readonly allowed: AllowedModels
  readonly size: number
  readonly startMs: number
  readonly tried: Set<string>
  /** Endpoints that failed it. */
  readonly failedAt: Set<string>
  readonly attempts: RouteAttempt[]
  choice: Choice | null
  /** Attempts that count (R4). */
  spent: number
  /** Whether it stands in a retry budget as sent. */
  isCounted: boolean
  doubted: { readonly answered: Answered; readonly taken: Taken } | null
  queueMs: number
  firstByteMs: number | null
}

const ATTEMPTS_MAX = 3
const ATTEMPTS_KEPT_MAX = 32

const isCancel = (reason: unknown): boolean => reason === 'cancelled' || (isSluiceError(reason) && reason.code === 'SLU_ROUTE_CANCELLED')

/** Why over 70 lines: one state machine over a request; its parts that decide are pure and stand in their own files. */
export function createRouter(options: RouterOptions): Router {
  const { clock, random, telemetry, health, call } = options.ports
  const endpoints = endpointsOf(options.pools)
  const leases = createLeases(new Map([...endpoints.values()].map((e) => [e.id, e.slots])))
  const latency = createLatency()
  const waiting = createWaiting(clock)
  const budgets = new Map<string, RetryBudget>(options.pools.map((p) => [p.name, createRetryBudget()]))
  const contracts = new Map(options.contracts.map((c) => [c.name, c]))
  const measures = createPoolMeasures({ endpoints, health, leases, waiting, clock, telemetry })
  const attemptsMax = options.attemptsMax ?? ATTEMPTS_MAX
  leases.onRelease(() => waiting.offer())
  health.onChange(() => {
    waiting.offer()
    measures.measureAll()
  })

  const look = (work: Work): Choice => {
    const nowMs = clock.nowMs()
    const candidates = candidatesOf(endpoints.values(), work.allowed.models, work.size, nowMs, { health, leases, latency })
    return choose(candidates, { ...work.allowed, api: work.api.spokenBy, remainingMs: work.decoded.deadlineMs - nowMs, tried: work.tried }, random)
  }
  const take = (work: Work): Taken | null => {
    work.choice = look(work)
    const { chosen } = work.choice
    // Who has a doubtful answer wants to hear one other endpoint, or none.
    if (chosen === null || (work.doubted !== null && work.tried.has(chosen.endpoint))) return null
    const lease = leases.take(chosen.endpoint)
    return lease === null ? null : { lease, endpoint: endpoints.get(chosen.endpoint) as Endpoint, model: chosen.model }
  }
  /** To a waiter: only its own deadline can keep it from what others of its kind may still take. */
  const offered = (work: Work): { readonly value: Taken } | Refused => {
    const value = take(work)
    if (value !== null) return { value }
    return (work.choice?.lost['infeasible'] ?? 0) > 0 ? 'not-me' : 'none-left'
  }
  const evidenceOf = (work: Work): RouteEvidence => ({
    routerVersion: options.routerVersion,
    contract: work.decoded.request.contract,
    snapshot: health.snapshot(),
    considered: work.choice?.considered ?? 0,
    attempts: work.attempts,
    lost: work.choice?.lost ?? {},
    top: work.choice?.top ?? [],
  })
  const timingsOf = (work: Work): InferenceResult['timings'] => ({ queueMs: work.queueMs, firstByteMs: work.firstByteMs, totalMs: clock.nowMs() - work.startMs })
  const refuse = (work: Work, error: SluiceError): InferenceResult => {
    telemetry.count(metricNames.routeDecisions, 1, { [attributeNames.pool]: 'none', [attributeNames.reason]: error.code, [attributeNames.outcome]: 'refused' })
    return refusal(work.decoded.request, error, timingsOf(work), evidenceOf(work))
  }
  const deliver = (work: Work, answered: Answered, taken: Taken): InferenceResult => {
    const { id: endpoint, pool, accelerator } = taken.endpoint
    const isAsked = taken.model === work.decoded.request.model
    const served: Served = { model: taken.model, modelVersion: isAsked ? work.decoded.request.modelVersion : null, pool, endpoint, accelerator }
    const attributes = { [attributeNames.pool]: pool, [attributeNames.reason]: isAsked ? 'asked' : 'contract' }
    telemetry.count(metricNames.routeDecisions, 1, { ...attributes, [attributeNames.outcome]: answered.status < 400 ? 'ok' : 'client-error' })
    return answer(work.decoded.request, answered, served, timingsOf(work), evidenceOf(work))
  }
  /** No second opinion came: the answer in doubt is the caller's (routing.md §2), and a 4xx that is answered is a success (R5). */
  const deliverDoubted = (work: Work, { answered, taken }: NonNullable<Work['doubted']>): InferenceResult => {
    taken.endpoint.breaker.note('success', clock.nowMs())
    return deliver(work, answered, taken)
  }
  const gaveUp = (work: Work): InferenceResult => {
    const reason: unknown = work.send.signal.reason
    if (!isCancel(reason)) throw asSluiceError(reason, 'SLU_HANDLER_TIMEOUT')
    return refuse(work, new SluiceError('SLU_ROUTE_CANCELLED', ''))
  }

  /** R2: the models that may answer. Throws what the request is refused with. */
  const admit = (decoded: DecodedRequest): AllowedModels => {
    if (decoded.error !== null) throw decoded.error
    const { request } = decoded
    const allowed = allowedModels(request, contracts)
    const servingAny = (models: readonly string[]): Endpoint[] => [...endpoints.values()].filter((e) => models.some((m) => e.models.includes(m)))
    const serving = servingAny(allowed.models)
    if (serving.length === 0 && servingAny(allowed.barred).length > 0)
      throw new SluiceError('SLU_ROUTE_BODY_TOO_LARGE', `contract ${request.contract} may not cover its context, and only substitutes are served`)
    if (serving.length === 0) throw new SluiceError('SLU_ROUTE_MODEL_UNKNOWN', request.model.slice(0, 100))
    const spokenBy = apis.get(request.api)?.spokenBy
    if (!serving.some((e) => e.api === spokenBy)) throw new SluiceError('SLU_ROUTE_API_UNSUPPORTED', request.api.slice(0, 100))
    if (decoded.deadlineMs <= clock.nowMs()) throw new SluiceError('SLU_ROUTE_DEADLINE', 'on arrival')
    return allowed
  }

  /** R8. Throws what the request is refused with; null = given up. */
  const acquire = async (work: Work): Promise<Taken | null> => {
    const { deadlineMs, request } = work.decoded
    if (clock.nowMs() >= deadlineMs) throw new SluiceError('SLU_ROUTE_DEADLINE', '')
    const at = take(work)
    if (at !== null) return at
    const choice = work.choice as Choice
    if (choice.infeasible > 0 && choice.mayReturn === 0) throw new SluiceError('SLU_ROUTE_DEADLINE', 'no endpoint can finish in time')
    // Who was sent once is not turned away later: a busy endpoint gives the request back to the queue (R4).
    if (work.attempts.length === 0 && waiting.ofTenant(request.tenant) >= options.perTenantMax) throw new SluiceError('SLU_ROUTE_TENANT_LIMIT', `${options.perTenantMax} wait`)
    const sinceMs = clock.nowMs()
    const kind = JSON.stringify([work.api.spokenBy, work.allowed.models])
    const ending = await waiting.wait({ deadlineMs, tenant: request.tenant, kind, signal: work.send.signal, take: () => offered(work) })
    work.queueMs += clock.nowMs() - sinceMs
    if (ending.kind === 'aborted') return null
    if (ending.kind === 'taken') return ending.value
    work.choice = look(work)
    const { lost } = work.choice
    const isOnlyLate = (lost['full'] ?? 0) + (lost['infeasible'] ?? 0) > 0
    throw new SluiceError(isOnlyLate ? 'SLU_ROUTE_DEADLINE' : 'SLU_ROUTE_NO_ENDPOINT', 'waited until the deadline')
  }

  /** R3, R7: whether the call may still be made, in the very turn in which it would start. */
  const maySend = (work: Work, { endpoint }: Taken): boolean => clock.nowMs() < work.decoded.deadlineMs && mayServe(health.get(endpoint.id))

  const rest = (endpoint: Endpoint, ms: number): void => {
    endpoint.restUntilMs = Math.max(endpoint.restUntilMs, clock.nowMs() + ms)
    clock.setTimer(ms, () => waiting.offer())
  }
  const offerWhenReopened = (endpoint: Endpoint): void => {
    const reopensMs = endpoint.breaker.opensAtMs(clock.nowMs())
    if (reopensMs !== null) clock.setTimer(reopensMs - clock.nowMs(), () => waiting.offer())
  }

  /** What the breaker of the endpoint hears. */
  const callEnding = (work: Work, endpoint: Endpoint, judged: AttemptEnding): CallEnding => {
    switch (judged.next) {
      case 'answer':
      case 'too-large':
        return 'success'
      case 'second-opinion':
        // The first one in doubt is noted when the second opinion is known.
        return work.doubted === null ? 'neutral' : 'success'
      case 'failed': {
        // R5: a request's second failure on another endpoint is charged to the request.
        const hasFailedElsewhere = [...work.failedAt].some((id) => id !== endpoint.id)
        work.failedAt.add(endpoint.id)
        return hasFailedElsewhere ? 'neutral' : 'failure'
      }
      case 'again':
        return judged.ending
      case 'deadline':
      case 'aborted':
        return 'neutral'
    }
  }

  const attempt = async (work: Work, taken: Taken): Promise<AttemptEnding> => {
    const { endpoint, lease, model } = taken
    const startMs = clock.nowMs()
    const end = endpoint.breaker.begin(startMs)
    let ending: CallEnding = 'neutral'
    measures.measure(endpoint.pool)
    try {
      const target = { url: endpoint.url, model, timeoutMs: work.decoded.deadlineMs - startMs, responseBytesMax: options.resultBytesMax }
      const outcome = await call(endpointRequest(work.decoded, work.send, work.api, target))
      const judged = endingOf(outcome, work.api.isIdempotent, random)
      if (outcome.kind === 'answered') work.firstByteMs = outcome.firstByteMs
      ending = callEnding(work, endpoint, judged)
      if (judged.next !== 'again' && !work.isCounted) {
        budgets.get(endpoint.pool)?.sent(clock.nowMs())
        work.isCounted = true
      }
      // A refusal is quick: as a sample it would draw requests to who refuses them.
      if (judged.next === 'answer' && judged.answered.status < 300) latency.add(latencyKey(endpoint.id, model, work.size), judged.answered.totalMs, clock.nowMs())
      if (judged.next === 'again') rest(endpoint, judged.restMs)
      if (work.attempts.length < ATTEMPTS_KEPT_MAX) work.attempts.push({ endpoint: endpoint.id, startMs, outcome: outcomeName(outcome) })
      telemetry.record(metricNames.clientOperationDuration, (clock.nowMs() - startMs) / 1000, {
        [attributeNames.genAiOperation]: work.api.operation,
        [attributeNames.genAiModel]: model,
        [attributeNames.outcome]: outcomeName(outcome),
      })
      return judged
    } finally {
      end(ending, clock.nowMs())
      offerWhenReopened(endpoint)
      lease.release()
      work.tried.add(endpoint.id)
      measures.measure(endpoint.pool)
    }
  }

  /** The next step after an attempt: a result, or null to go on. */
  const judge = (work: Work, taken: Taken, ending: AttemptEnding): InferenceResult | null => {
    const { doubted } = work
    switch (ending.next) {
      case 'answer':
        // A 2xx of another endpoint counts against the one in doubt.
        doubted?.taken.endpoint.breaker.note(ending.answered.status < 300 ? 'failure' : 'success', clock.nowMs())
        if (doubted !== null) offerWhenReopened(doubted.taken.endpoint)
        return deliver(work, ending.answered, taken)
      case 'second-opinion':
        if (doubted !== null) return deliverDoubted(work, doubted)
        work.doubted = { answered: ending.answered, taken }
        return null
      case 'again':
        return null
      case 'aborted':
        return gaveUp(work)
      case 'too-large':
        return doubted !== null ? deliverDoubted(work, doubted) : refuse(work, new SluiceError('SLU_ROUTE_RESULT_TOO_LARGE', `limit ${options.resultBytesMax} bytes`))
      case 'deadline':
        return doubted !== null ? deliverDoubted(work, doubted) : refuse(work, new SluiceError('SLU_ROUTE_DEADLINE', 'in flight'))
      case 'failed': {
        if (doubted !== null) return deliverDoubted(work, doubted)
        work.spent++
        const mayRepeat = ending.mayRepeat && work.spent < attemptsMax && budgets.get(taken.endpoint.pool)?.take(clock.nowMs()) === true
        return mayRepeat ? null : refuse(work, new SluiceError('SLU_ROUTE_ENDPOINT_FAILED', `${work.spent} attempts`))
      }
    }
  }

  const run = async (work: Work): Promise<InferenceResult> => {
    for (;;) {
      if (work.send.signal.aborted) return gaveUp(work)
      const { doubted } = work
      // A second opinion is never waited for, nor asked past the deadline.
      const taken = doubted === null ? await acquire(work) : clock.nowMs() < work.decoded.deadlineMs ? take(work) : null
      if (taken === null && doubted !== null) return deliverDoubted(work, doubted)
      if (taken === null) return gaveUp(work)
      if (!maySend(work, taken)) {
        taken.lease.release()
        continue
      }
      const result = judge(work, taken, await attempt(work, taken))
      if (result !== null) return result
    }
  }

  return {
    route: async (decoded, send) => {
      const api = apis.get(decoded.request.api) as ApiRow
      const fresh = { choice: null, spent: 0, isCounted: false, doubted: null, queueMs: 0, firstByteMs: null, tried: new Set<string>(), failedAt: new Set<string>() }
      const work: Work = { ...fresh, decoded, send, api, allowed: { models: [], barred: [] }, size: sizeClass(decoded.request.body.length), startMs: clock.nowMs(), attempts: [] }
      try {
        const admitted: Work = Object.assign(work, { allowed: admit(decoded) })
        measures.alarm()
        return await run(admitted)
      } catch (thrown) {
        if (isSluiceError(thrown) && thrown.code.startsWith('SLU_ROUTE_')) return refuse(work, thrown)
        throw thrown
      }
    },
  }
}
