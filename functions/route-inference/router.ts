/**
 * One request from admission to result: the loop around the choice.
 *
 * Owns: the stages admit → choose or wait → call → judge → repeat or answer, and the evidence of them. Invariants: R2 (only models asked for or under
 * contract), R3 (past the deadline nothing is sent; in flight it is aborted), R4 (attempts, budget, another endpoint first), R5 (each call ends its
 * breaker's account once), R7 (health is looked at in the same turn in which the call starts), R8 (no endpoint: wait until the deadline).
 * A lease and a breaker's account are given back whatever way a call ends.
 */
import { asSluiceError, SluiceError } from '../../schemas/errors.ts'
import type { Clock, EndpointCall, EndpointOutcome, Random, Telemetry } from '../../schemas/ports.ts'
import type { InferenceResult, RouteAttempt, RouteEvidence } from '../../schemas/records.ts'
import { attributeNames, metricNames } from '../../schemas/telemetry-names.ts'
import { apis, isHeaderValue, requestHeaders, type ApiRow } from './apis.ts'
import { endingOf, outcomeName, type Answered, type AttemptEnding } from './attempt.ts'
import { withStringAt } from './body-fields.ts'
import type { CallEnding } from './breaker.ts'
import { choose, mayServe, type Choice } from './choose.ts'
import { candidatesOf, endpointsOf, latencyKey, type Endpoint, type PoolOptions } from './endpoints.ts'
import type { HealthTable } from './health-table.ts'
import { createLatency, sizeClass } from './latency.ts'
import { createLeases, type Lease } from './leases.ts'
import type { DecodedRequest } from './request.ts'
import { answer, refusal, type Served } from './result.ts'
import { createRetryBudget, type RetryBudget } from './retry-budget.ts'
import { createWaiting } from './waiting.ts'

export interface Contract {
  readonly name: string
  readonly model: string
  /** Declared equivalent, in order of preference. */
  readonly substitutes: readonly string[]
  readonly maxContextTokens?: number | undefined
}

export interface RouterOptions {
  readonly routerVersion: string
  readonly pools: readonly PoolOptions[]
  readonly contracts: readonly Contract[]
  readonly perTenantMax: number
  readonly resultBytesMax: number
  readonly attemptsMax?: number
  readonly ports: { readonly call: EndpointCall; readonly clock: Clock; readonly random: Random; readonly telemetry: Telemetry; readonly health: HealthTable }
}

export interface Send {
  readonly signal: AbortSignal
  readonly idempotencyKey: string
  readonly carrier: Readonly<Record<string, string>>
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
  readonly models: readonly string[]
  readonly size: number
  readonly startMs: number
  readonly tried: Set<string>
  readonly attempts: RouteAttempt[]
  choice: Choice | null
  spent: number
  doubted: { readonly answered: Answered; readonly taken: Taken } | null
  queueMs: number
  firstByteMs: number | null
}

const ATTEMPTS_MAX = 3
const ATTEMPTS_KEPT_MAX = 32

/** An id may hold any character; a header may not. */
const headerText = (text: string): string => (isHeaderValue(text) ? text : encodeURIComponent(text.toWellFormed()))

const isCancel = (reason: unknown): boolean => reason === 'cancelled' || (reason instanceof SluiceError && reason.code === 'SLU_ROUTE_CANCELLED')

/** Why over 70 lines: one state machine over a request; its parts that decide are pure and stand in their own files. */
export function createRouter(options: RouterOptions): Router {
  const { clock, random, telemetry, health, call } = options.ports
  const endpoints = endpointsOf(options.pools)
  const leases = createLeases(new Map([...endpoints.values()].map((e) => [e.id, e.slots])))
  const latency = createLatency()
  const waiting = createWaiting(clock)
  const budgets = new Map<string, RetryBudget>(options.pools.map((p) => [p.name, createRetryBudget()]))
  const contracts = new Map(options.contracts.map((c) => [c.name, c]))
  const alarmed = new Set<string>()
  const attemptsMax = options.attemptsMax ?? ATTEMPTS_MAX
  leases.onRelease(() => waiting.offer())
  health.onChange(() => waiting.offer())

  const measurePools = (pool: string): void => {
    const members = [...endpoints.values()].filter((e) => e.pool === pool)
    const attributes = { [attributeNames.pool]: pool }
    telemetry.gauge(
      metricNames.poolInFlight,
      members.reduce((sum, e) => sum + leases.inFlight(e.id), 0),
      attributes,
    )
    telemetry.gauge(
      metricNames.poolSlots,
      members.reduce((sum, e) => sum + e.slots, 0),
      attributes,
    )
    telemetry.gauge(metricNames.poolQueueDepth, waiting.depth())
  }
  /** R10: an expired row holds its last verdict, with an alarm once per endpoint until it is fresh again. */
  const alarm = (): void => {
    for (const id of endpoints.keys()) {
      const isExpired = health.get(id)?.isExpired === true
      if (isExpired && !alarmed.has(id)) telemetry.log('warn', `health of endpoint ${id} is unknown: its row expired; the last verdict holds`)
      if (isExpired) alarmed.add(id)
      else alarmed.delete(id)
    }
  }
  const look = (work: Work): Choice => {
    const nowMs = clock.nowMs()
    const candidates = candidatesOf(endpoints.values(), work.models, work.size, nowMs, { health, leases, latency })
    return choose(candidates, { api: work.api.spokenBy, models: work.models, remainingMs: work.decoded.deadlineMs - nowMs, tried: work.tried }, random)
  }
  const take = (work: Work): Taken | null => {
    work.choice = look(work)
    const { chosen } = work.choice
    if (chosen === null) return null
    const lease = leases.take(chosen.endpoint)
    return lease === null ? null : { lease, endpoint: endpoints.get(chosen.endpoint) as Endpoint, model: chosen.model }
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
    const served: Served = { model: taken.model, pool, endpoint, accelerator }
    const attributes = { [attributeNames.pool]: pool, [attributeNames.reason]: taken.model === work.decoded.request.model ? 'asked' : 'contract' }
    telemetry.count(metricNames.routeDecisions, 1, { ...attributes, [attributeNames.outcome]: answered.status < 400 ? 'ok' : 'client-error' })
    return answer(work.decoded.request, answered, served, timingsOf(work), evidenceOf(work))
  }
  const gaveUp = (work: Work): InferenceResult => {
    const reason: unknown = work.send.signal.reason
    if (!isCancel(reason)) throw asSluiceError(reason, 'SLU_HANDLER_TIMEOUT')
    return refuse(work, new SluiceError('SLU_ROUTE_CANCELLED', ''))
  }

  /** R2: the models that may answer. Throws what the request is refused with. */
  const admit = (decoded: DecodedRequest): readonly string[] => {
    if (decoded.error !== null) throw decoded.error
    const { request } = decoded
    const models = [request.model]
    if (request.contract !== null) {
      const contract = contracts.get(request.contract)
      if (contract?.model !== request.model) throw new SluiceError('SLU_ROUTE_CONTRACT_UNKNOWN', request.contract.slice(0, 100))
      models.push(...contract.substitutes)
    }
    const serving = [...endpoints.values()].filter((e) => models.some((m) => e.models.includes(m)))
    if (serving.length === 0) throw new SluiceError('SLU_ROUTE_MODEL_UNKNOWN', request.model.slice(0, 100))
    const spokenBy = apis.get(request.api)?.spokenBy
    if (!serving.some((e) => e.api === spokenBy)) throw new SluiceError('SLU_ROUTE_API_UNSUPPORTED', request.api.slice(0, 100))
    if (decoded.deadlineMs <= clock.nowMs()) throw new SluiceError('SLU_ROUTE_DEADLINE', 'on arrival')
    return models
  }

  /** R8. Throws what the request is refused with. */
  const acquire = async (work: Work): Promise<Taken | null> => {
    const { deadlineMs, request } = work.decoded
    const sinceMs = clock.nowMs()
    for (;;) {
      if (work.send.signal.aborted) return null
      if (clock.nowMs() >= deadlineMs) throw new SluiceError('SLU_ROUTE_DEADLINE', '')
      const at = take(work)
      if (at !== null) return at
      const choice = work.choice as Choice
      if (choice.infeasible > 0 && choice.mayReturn === 0) throw new SluiceError('SLU_ROUTE_DEADLINE', 'no endpoint can finish in time')
      if (waiting.ofTenant(request.tenant) >= options.perTenantMax) throw new SluiceError('SLU_ROUTE_TENANT_LIMIT', `${options.perTenantMax} wait`)
      const ending = await waiting.wait({ deadlineMs, tenant: request.tenant, signal: work.send.signal, take: () => take(work) })
      work.queueMs += clock.nowMs() - sinceMs
      if (ending.kind === 'aborted') return null
      if (ending.kind === 'deadline') throw new SluiceError((work.choice?.lost['full'] ?? 0) > 0 ? 'SLU_ROUTE_DEADLINE' : 'SLU_ROUTE_NO_ENDPOINT', 'waited until the deadline')
      // R7: health may have changed between the wake-up and this turn.
      const again = candidatesOf([ending.value.endpoint], work.models, work.size, clock.nowMs(), { health, leases, latency })[0]
      if (again !== undefined && mayServe(again.standing)) return ending.value
      ending.value.lease.release()
    }
  }

  const rest = (endpoint: Endpoint, ms: number): void => {
    endpoint.restUntilMs = Math.max(endpoint.restUntilMs, clock.nowMs() + ms)
    clock.setTimer(ms, () => waiting.offer())
  }

  const execute = (work: Work, { endpoint, model }: Taken): Promise<EndpointOutcome> => {
    const { request, deadlineMs, modelRange } = work.decoded
    const isSubstitute = model !== request.model
    return call({
      url: endpoint.url + work.api.path(model, isSubstitute ? null : request.modelVersion),
      method: 'POST',
      headers: {
        ...requestHeaders(request.headers),
        ...Object.fromEntries(Object.entries(work.send.carrier).filter(([, value]) => isHeaderValue(value))),
        'content-type': request.contentType,
        'idempotency-key': headerText(work.send.idempotencyKey),
      },
      body: isSubstitute && modelRange !== null ? withStringAt(request.body, modelRange, model) : request.body,
      timeoutMs: deadlineMs - clock.nowMs(),
      signal: work.send.signal,
      responseBytesMax: options.resultBytesMax,
    })
  }

  const attempt = async (work: Work, taken: Taken): Promise<AttemptEnding> => {
    const { endpoint, lease, model } = taken
    const startMs = clock.nowMs()
    const end = endpoint.breaker.begin(startMs)
    let ending: CallEnding = 'neutral'
    measurePools(endpoint.pool)
    try {
      const outcome = await execute(work, taken)
      const judged = endingOf(outcome, work.api.isIdempotent, random)
      if (outcome.kind === 'answered') work.firstByteMs = outcome.firstByteMs
      if (judged.next === 'answer' || judged.next === 'second-opinion' || judged.next === 'too-large') ending = 'success'
      // R5: a request's second failure on another endpoint is charged to the request.
      else if (judged.next === 'failed') ending = [...work.tried].some((id) => id !== endpoint.id) ? 'neutral' : 'failure'
      else if (judged.next === 'again') ending = judged.ending
      if (judged.next === 'answer' && outcome.kind === 'answered') latency.add(latencyKey(endpoint.id, model, work.size), outcome.totalMs, clock.nowMs())
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
      const reopensMs = endpoint.breaker.opensAtMs(clock.nowMs())
      if (reopensMs !== null) clock.setTimer(reopensMs - clock.nowMs(), () => waiting.offer())
      lease.release()
      work.tried.add(endpoint.id)
      measurePools(endpoint.pool)
    }
  }

  /** The next step after an attempt: a result, or null to go on. */
  const judge = (work: Work, taken: Taken, ending: AttemptEnding): InferenceResult | null => {
    switch (ending.next) {
      case 'answer':
        return deliver(work, ending.answered, taken)
      case 'second-opinion': {
        if (work.doubted !== null) return deliver(work, work.doubted.answered, work.doubted.taken)
        const other = look(work).chosen?.endpoint
        if (other === undefined || work.tried.has(other)) return deliver(work, ending.answered, taken)
        work.doubted = { answered: ending.answered, taken }
        return null
      }
      case 'again':
        return null
      case 'too-large':
        return refuse(work, new SluiceError('SLU_ROUTE_RESULT_TOO_LARGE', `limit ${options.resultBytesMax} bytes`))
      case 'deadline':
        return refuse(work, new SluiceError('SLU_ROUTE_DEADLINE', 'in flight'))
      case 'aborted':
        return gaveUp(work)
      case 'failed': {
        work.spent++
        const mayRepeat = ending.mayRepeat && work.spent < attemptsMax && budgets.get(taken.endpoint.pool)?.take(clock.nowMs()) === true
        return mayRepeat ? null : refuse(work, new SluiceError('SLU_ROUTE_ENDPOINT_FAILED', `${work.spent} attempts`))
      }
    }
  }

  return {
    route: async (decoded, send) => {
      const api = apis.get(decoded.request.api)
      const base = { decoded, send, startMs: clock.nowMs(), size: sizeClass(decoded.request.body.length), choice: null, spent: 0, doubted: null, queueMs: 0, firstByteMs: null }
      const work: Work = { ...base, api: api as ApiRow, models: [], tried: new Set(), attempts: [] }
      try {
        const admitted: Work = Object.assign(work, { models: admit(decoded) })
        alarm()
        for (;;) {
          const taken = await acquire(admitted)
          if (taken === null) return gaveUp(admitted)
          if (admitted.spent === 0) budgets.get(taken.endpoint.pool)?.sent(clock.nowMs())
          const result = judge(admitted, taken, await attempt(admitted, taken))
          if (result !== null) return result
        }
      } catch (thrown) {
        if (thrown instanceof SluiceError && thrown.code.startsWith('SLU_ROUTE_')) return refuse(work, thrown)
        throw thrown
      }
    },
  }
}
