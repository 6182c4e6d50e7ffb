/**
 * A simulated day of the router: endpoints that fail in every way the call port knows, health that flaps, requests that are cancelled.
 *
 * Owns: the run of one seed under virtual time, and what it counted. Every breach is a string that names rule and request; none = the run held.
 * Rules looked at: one ending per request; R2 (model), R3 (nothing sent or answered late), R4 (attempts), R7 (health at the moment of the call),
 * slots, R8 (all end by their deadline), and that nothing is left behind: leases, waiters, timers, breakers that never close.
 */
import { createHealthTable } from '../../functions/route-inference/health-table.ts'
import { decodeRequest } from '../../functions/route-inference/request.ts'
import { createRouter } from '../../functions/route-inference/router.ts'
import { mayServe } from '../../functions/route-inference/choose.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import { silentTelemetry } from '../../infra/observability/telemetry.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { EndpointOutcome, EndpointRequest } from '../../schemas/ports.ts'
import type { InferenceResult, Verdict } from '../../schemas/records.ts'
import { metricNames } from '../../schemas/telemetry-names.ts'
import { createVirtualClock, settled } from '../fakes/virtual-clock.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { seededRandom } from './once.ts'

const codecs = testCodecs()
const START_MS = 1e12
const DEFAULT_DEADLINE_MS = 20_000
const ENDPOINTS = [
  { id: 'a', models: ['m'], slots: 2 },
  { id: 'b', models: ['m'], slots: 1 },
  { id: 'c', models: ['m', 's'], slots: 2 },
  { id: 'z', models: ['s'], slots: 2 },
]
const VERDICTS: readonly Verdict[] = ['ROUTE_OK', 'ROUTE_OK', 'DEPRIORITISE', 'DO_NOT_ROUTE', 'DRAIN']

export interface RoutingRun {
  readonly breaches: readonly string[]
  readonly requests: number
  readonly calls: number
  readonly failures: number
  readonly busy: number
  readonly doubts: number
  readonly cancelled: number
  readonly waited: number
  readonly codes: Readonly<Record<string, number>>
}

export async function simulateRouting(seed: number): Promise<RoutingRun> {
  const random = seededRandom(seed)
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T
  const clock = createVirtualClock(START_MS)
  const health = createHealthTable({ codecs, clock })
  const breaches: string[] = []
  const inFlight = new Map<string, number>()
  const failuresOf = new Map<string, number>()
  const gauges = new Map<string, number>()
  const count = { calls: 0, failures: 0, busy: 0, doubts: 0, cancelled: 0, waited: 0 }
  const codes: Record<string, number> = {}
  /** Endpoints that fail whatever they get. */
  const broken = new Set<string>()
  let isCalm = false

  const outcome = (endpoint: string, id: string): EndpointOutcome => {
    const answered = (status: number, headers = {}): EndpointOutcome => ({ kind: 'answered', status, headers, body: Buffer.from(id), firstByteMs: 1, totalMs: 2 })
    if (broken.has(endpoint)) return answered(500)
    const roll = isCalm ? 0 : random()
    if (roll < 0.5) return answered(200)
    if (roll < 0.55) return answered(pick([400, 422]))
    if (roll < 0.62) return answered(pick([401, 403, 404]))
    if (roll < 0.72) return answered(pick([429, 503, 529]), random() < 0.5 ? { 'retry-after': pick(['0', '1', 'soon']) } : {})
    if (roll < 0.84) return answered(pick([408, 500, 502]))
    if (roll < 0.88) return { kind: 'not-sent', reason: 'ECONNREFUSED' }
    if (roll < 0.98) return { kind: 'failed', reason: 'reset', responseBytes: pick([0, 0, 9]) }
    return { kind: 'too-large', responseBytes: 9 }
  }
  /** Takes its time, keeps to the timeout and to the abort, as the real call does. */
  const call = (request: EndpointRequest): Promise<EndpointOutcome> => {
    const endpoint = new URL(request.url).host
    const id = request.headers['idempotency-key'] as string
    const now = (inFlight.get(endpoint) ?? 0) + 1
    inFlight.set(endpoint, now)
    count.calls++
    if (!mayServe(health.get(endpoint))) breaches.push(`R7 ${id}: sent to ${endpoint}, which may not serve`)
    if (now > (ENDPOINTS.find((e) => e.id === endpoint)?.slots ?? 0)) breaches.push(`slots: ${now} on ${endpoint}`)
    if (!(request.timeoutMs > 0)) breaches.push(`R3 ${id}: sent past its deadline`)
    if (endpoint === 'z' && !id.startsWith('contract')) breaches.push(`R2 ${id}: sent to a substitute without a contract`)
    if ((failuresOf.get(id) ?? 0) >= 3) breaches.push(`R4 ${id}: sent after three failures`)
    const result = outcome(endpoint, id)
    const takesMs = isCalm ? 1 : pick([0, 1, 5, 50, 400, 3000, 30_000])
    return new Promise((resolve) => {
      const end = (ending: EndpointOutcome): void => {
        cancelWork()
        cancelTimeout()
        request.signal.removeEventListener('abort', onAbort)
        inFlight.set(endpoint, (inFlight.get(endpoint) ?? 0) - 1)
        const status = ending.kind === 'answered' ? ending.status : 0
        const isBusy = [429, 503, 529].includes(status)
        if (isBusy) count.busy++
        if ([401, 403, 404].includes(status)) count.doubts++
        if (ending.kind === 'failed' || (!isBusy && (status === 408 || status >= 500))) {
          count.failures++
          failuresOf.set(id, (failuresOf.get(id) ?? 0) + 1)
        }
        resolve(ending)
      }
      const onAbort = (): void => end({ kind: 'aborted' })
      const cancelWork = clock.setTimer(takesMs, () => end(result))
      const cancelTimeout = clock.setTimer(request.timeoutMs, () => end({ kind: 'timed-out' }))
      request.signal.addEventListener('abort', onAbort)
    })
  }

  const router = createRouter({
    routerVersion: '1',
    pools: [{ name: 'p', accelerator: 'x', endpoints: ENDPOINTS.map((e) => ({ ...e, url: `http://${e.id}`, api: 'openai' })) }],
    contracts: [{ name: 'c', model: 'm', substitutes: ['s'] }],
    perTenantMax: 6,
    resultBytesMax: 1e6,
    ports: { call, clock, random, telemetry: { ...silentTelemetry, gauge: (name, value) => void gauges.set(name, value) }, health },
  })
  const verdict = (endpoint: string, name: Verdict): void => {
    const row = { endpoint, pool: 'p', sourcePartition: 0, generation: 1, verdict: name, weight: name === 'DEPRIORITISE' ? 0.5 : 1, reasons: ['r'], sinceMs: 0, observedMs: 0 }
    const value = codecs.encode('EndpointHealth', { ...row, expiresMs: 2e12, sourceOffset: 0, causeAppendMs: null })
    health.apply({ topic: 'pool.health', partition: 0, offset: 0n, timestampMs: 0, appendMs: 0, key: Buffer.from(`${endpoint}/0`), value, headers: [] })
  }

  let made = 0
  const pending = new Map<string, { readonly abort: AbortController; readonly ended: Promise<void> }>()
  const ask = (withinMs: number | null, hasContract: boolean): Promise<InferenceResult | null> => {
    const nowMs = clock.nowMs()
    const id = `${hasContract ? 'contract' : 'plain'}-${++made}`
    const fields = { id, model: 'm', api: 'openai.chat', body: '{"model":"m"}', createdMs: nowMs, tenant: pick(['t', 'u']), ...(hasContract ? { contract: 'c' } : {}) }
    const value = Buffer.from(JSON.stringify({ ...fields, ...(withinMs === null ? {} : { deadlineMs: nowMs + withinMs }) }))
    const record = { topic: 'inference.requests', partition: 0, offset: BigInt(made), timestampMs: nowMs, appendMs: nowMs, key: Buffer.from(id), value, headers: [] }
    const decoded = decodeRequest(record, { codecs }, nodeHashing, { requestBytesMax: 1e5, defaultDeadlineMs: DEFAULT_DEADLINE_MS })
    const abort = new AbortController()
    const routed = router.route(decoded, { signal: abort.signal, idempotencyKey: id, carrier: {} }).then(
      (result) => {
        const code = result.code ?? 'ok'
        codes[code] = (codes[code] ?? 0) + 1
        if (result.timings.queueMs > 0) count.waited++
        if (result.timings.queueMs > result.timings.totalMs) breaches.push(`${id}: ${result.timings.queueMs} ms in the queue of ${result.timings.totalMs} ms in all`)
        if (clock.nowMs() > decoded.deadlineMs) breaches.push(`R3 ${id}: answered ${clock.nowMs() - decoded.deadlineMs} ms late`)
        if (result.code === null && result.body.toString() !== id) breaches.push(`${id}: has the answer of ${result.body.toString()}`)
        if (result.model === 's' && !hasContract) breaches.push(`R2 ${id}: answered by s`)
        return result
      },
      (error: unknown) => {
        if (!(error instanceof SluiceError && error.code === 'SLU_LOG_STALE_EPOCH')) breaches.push(`${id}: ${String(error)}`)
        return null
      },
    )
    const ended = routed.then(() => void pending.delete(id))
    pending.set(id, { abort, ended })
    return routed
  }

  for (let step = 0; step < 120; step++) {
    const roll = random()
    if (roll < 0.55) void ask(pick([null, 1, 50, 500, 5000, 60_000]), random() < 0.3)
    else if (roll < 0.7) verdict(pick(ENDPOINTS).id, pick(VERDICTS))
    else if (roll < 0.76 && pending.size > 0) {
      const { abort } = pick([...pending.values()])
      abort.abort(new SluiceError(random() < 0.7 ? 'SLU_ROUTE_CANCELLED' : 'SLU_LOG_STALE_EPOCH', ''))
      count.cancelled++
    } else if (roll < 0.8) {
      const { id } = pick(ENDPOINTS)
      if (!broken.delete(id)) broken.add(id)
    } else await clock.advance(pick([0, 1, 10, 200, 1000, 7000]))
    if (random() < 0.3) await Promise.resolve()
  }
  isCalm = true
  const all = (name: Verdict): void => {
    for (const { id } of ENDPOINTS) verdict(id, name)
  }
  const mustPass = async (what: string, asked: readonly Promise<InferenceResult | null>[]): Promise<void> => {
    for (const result of await Promise.all(asked)) if (result?.status !== 200) breaches.push(`${what}: ${result?.code ?? 'given up'}`)
  }
  all('ROUTE_OK')
  await clock.advance(61_000)
  if (pending.size > 0) breaches.push(`R8: ${[...pending.keys()].join(', ')} never ended`)
  // Everything breaks until breakers open, and heals. They let somebody try again within a minute, without being asked again.
  for (const { id } of ENDPOINTS) broken.add(id)
  for (let i = 0; i < 40; i++) {
    void ask(1000, true)
    await clock.advance(100)
  }
  broken.clear()
  await clock.advance(1000)
  const healed = [ask(60_500, true)]
  await clock.advance(61_000)
  await mustPass('R5: after an outage', healed)
  // More requests than slots pass from hand to hand.
  const crowd = Array.from({ length: 12 }, () => ask(60_500, true))
  await clock.advance(61_000)
  await mustPass('R8: a crowd', crowd)
  // Nothing may serve, then health returns: who waits hears of it by itself.
  all('DRAIN')
  const waiters = [1, 2, 3, 4].map(() => ask(60_500, true))
  await clock.advance(10)
  all('ROUTE_OK')
  await clock.advance(100)
  if (pending.size > 0) breaches.push(`R8: ${pending.size} wait although every endpoint may serve`)
  await clock.advance(61_000)
  await mustPass('R8: after a drain', waiters)
  await settled()
  await clock.advance(61_000)
  if ([...inFlight.values()].some((n) => n !== 0)) breaches.push('a call never ended')
  for (const name of [metricNames.poolInFlight, metricNames.poolQueueDepth]) if (gauges.get(name) !== 0) breaches.push(`${name} is ${gauges.get(name)} when all is over`)
  if (clock.timers() > 0) breaches.push(`${clock.timers()} timers were left behind`)
  return { breaches, requests: made, ...count, codes }
}
