import { createServer, type RequestListener } from 'node:http'
import { createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import { createHealthTable } from '../../../functions/route-inference/health-table.ts'
import { decodeRequest } from '../../../functions/route-inference/request.ts'
import { createRouter, type RouterOptions } from '../../../functions/route-inference/router.ts'
import { systemClock } from '../../../infra/clock.ts'
import { createHttpCall } from '../../../infra/endpoints/http-call.ts'
import { startModelServer, type ModelServer } from '../../../infra/endpoints/simulator/model-server.ts'
import { nodeHashing } from '../../../infra/hashing.ts'
import { silentTelemetry } from '../../../infra/observability/telemetry.ts'
import type { LogRecord } from '../../../schemas/log.ts'
import type { Clock, EndpointCall, EndpointOutcome, EndpointRequest } from '../../../schemas/ports.ts'
import type { InferenceResult, Verdict } from '../../../schemas/records.ts'
import { createVirtualClock, settled } from '../../fakes/virtual-clock.ts'
import { testCodecs } from '../../helpers/codecs.ts'
import { until } from '../../helpers/until.ts'

const codecs = testCodecs()
const recordOf = (value: Buffer, key: string, nowMs: number, topic = 'inference.requests'): LogRecord => ({
  topic,
  partition: 0,
  offset: 0n,
  timestampMs: nowMs,
  appendMs: nowMs,
  key: Buffer.from(key),
  value,
  headers: [],
})

interface TestEndpoint {
  readonly id: string
  readonly url?: string
  readonly api?: 'openai' | 'oip'
  readonly models?: readonly string[]
  readonly slots?: number
}

/** A router over `call`, which is real HTTP unless told otherwise. */
function world(endpoints: readonly TestEndpoint[], call: EndpointCall, clock: Clock, more: Partial<RouterOptions> = {}) {
  const health = createHealthTable({ codecs, clock })
  const router = createRouter({
    routerVersion: '1',
    pools: [{ name: 'p', accelerator: 'x', endpoints: endpoints.map((e) => ({ url: `http://${e.id}`, api: 'openai', models: ['m'], slots: 4, ...e })) }],
    contracts: [],
    perTenantMax: 9,
    resultBytesMax: 1e6,
    ports: { call, clock, random: () => 0, telemetry: silentTelemetry, health },
    ...more,
  })
  const verdict = (endpoint: string, name: Verdict): void => {
    const row = { endpoint, pool: 'p', sourcePartition: 0, generation: 1, verdict: name, weight: 1, reasons: ['r'], sinceMs: 0, observedMs: 0 }
    const value = codecs.encode('EndpointHealth', { ...row, expiresMs: clock.nowMs() + 1e9, sourceOffset: 0, causeAppendMs: null })
    health.apply(recordOf(value, `${endpoint}/0`, clock.nowMs(), 'pool.health'))
  }
  const routeRecord = (value: Buffer, signal = new AbortController().signal): Promise<InferenceResult> => {
    const decoded = decodeRequest(recordOf(value, 'r', clock.nowMs()), { codecs }, nodeHashing, { requestBytesMax: 1e5, defaultDeadlineMs: 10_000 })
    return router.route(decoded, { signal, idempotencyKey: decoded.request.id, carrier: {} })
  }
  const ask = (fields: object = {}, signal?: AbortSignal): Promise<InferenceResult> =>
    routeRecord(Buffer.from(JSON.stringify({ id: 'r', model: 'm', api: 'openai.chat', body: '{"model":"m"}', createdMs: clock.nowMs(), tenant: 't', ...fields })), signal)
  return { ask, routeRecord, verdict }
}

const answered = (status: number, headers = {}): Extract<EndpointOutcome, { kind: 'answered' }> => ({
  kind: 'answered',
  status,
  headers,
  body: Buffer.from(`${status}`),
  firstByteMs: 1,
  totalMs: 1,
})

/** A router under virtual time whose endpoints say what `reply` makes of their name and the number of the call. */
function scripted(reply: (endpoint: string, n: number) => EndpointOutcome | Promise<EndpointOutcome>, endpoints: readonly TestEndpoint[], more: Partial<RouterOptions> = {}) {
  const clock = createVirtualClock(1e12)
  const called: string[] = []
  const call = async (request: EndpointRequest): Promise<EndpointOutcome> => {
    const { host } = new URL(request.url)
    return reply(host, called.push(host))
  }
  return { clock, called, ...world(endpoints, call, clock, more) }
}

/** Real HTTP over undici, closed with the test. */
function overHttp(t: ExecutionContext, endpoints: readonly TestEndpoint[], more: Partial<RouterOptions> = {}) {
  const http = createHttpCall()
  t.teardown(() => http.close())
  return world(endpoints, http.call, systemClock, more)
}

async function listen(t: ExecutionContext, onRequest: RequestListener) {
  const server = createServer(onRequest)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

async function simulated(t: ExecutionContext, id: string, models: readonly string[] = ['m'], baseMs = 0): Promise<ModelServer> {
  const server = await startModelServer({ id, models, slots: 4, latency: { baseMs, perTokenMs: 0, outputTokens: 1 }, random: () => 0.5, clock: systemClock })
  t.teardown(() => server.close())
  return server
}

test('router: over real HTTP an endpoint that resets and one that is gone cost no request (R4)', async (t) => {
  const good = await listen(t, (request, response) => void request.resume().on('end', () => response.end('{}')))
  const bad = await listen(t, (request) => void request.socket.destroy())
  const { ask } = overHttp(t, [
    { id: 'good', url: good.url },
    { id: 'bad', url: bad.url },
    { id: 'gone', url: 'http://127.0.0.1:1' },
  ])
  const results = await Promise.all([1, 2, 3].map(() => ask({ id: 'é' })))
  t.deepEqual(
    results.map((r) => r.endpoint),
    ['good', 'good', 'good'],
  )
})

test('router: time in the queue is counted once, however often a request goes back to it', async (t) => {
  const { clock, ask, verdict } = scripted(() => answered(200), [{ id: 'a' }])
  verdict('a', 'DRAIN')
  const result = ask()
  await clock.advance(300)
  verdict('a', 'ROUTE_OK')
  verdict('a', 'DRAIN') // before the woken request had its turn
  await clock.advance(200)
  verdict('a', 'ROUTE_OK')
  t.like(await result, { status: 200, timings: { queueMs: 500, totalMs: 500 } })
})

test('router: passes that were answered "busy" or never sent do not raise the retry budget (R4)', async (t) => {
  for (const busy of [answered(429, { 'retry-after': '0' }), answered(503, { 'retry-after': '0' })]) {
    const { clock, called, ask } = scripted((_, n) => (n <= 60 ? busy : n === 61 ? answered(200) : answered(500)), [{ id: 'a' }])
    const first = ask()
    await clock.advance(6000)
    t.is((await first).status, 200)
    const failed = await Promise.all([1, 2, 3, 4].map(() => ask()))
    t.true(failed.every((r) => r.code === 'SLU_ROUTE_ENDPOINT_FAILED'))
    t.is(called.length - 61, 4 + 3, 'more than the floor of three retries on five requests')
  }
})

test('router: an answer in doubt is the caller’s when the second opinion fails, is late, too large, in doubt or nowhere to be had', async (t) => {
  const endings: Record<string, EndpointOutcome> = {
    failed: { kind: 'failed', reason: 'reset', responseBytes: 0 },
    status: answered(500),
    late: { kind: 'timed-out' },
    large: { kind: 'too-large', responseBytes: 9 },
    busy: answered(429),
    gone: { kind: 'not-sent', reason: 'ECONNREFUSED' },
    doubt: answered(401),
  }
  for (const [name, second] of Object.entries(endings)) {
    const { ask, called } = scripted((endpoint) => (endpoint === 'a' ? answered(404) : second), [{ id: 'a' }, { id: 'b' }])
    t.like(await ask(), { status: 404, endpoint: 'a', code: 'SLU_ROUTE_INVALID' }, name)
    t.deepEqual(called, ['a', 'b'], `${name}: the one in doubt was asked again`)
  }
  const alone = scripted(() => answered(403), [{ id: 'a' }])
  t.is((await alone.ask()).status, 403)
  t.is(alone.called.length, 1)
})

test('router: a 404 that another endpoint contradicts opens the breaker of the first, a 404 that stands never does (R5)', async (t) => {
  const wrong = scripted((endpoint) => answered(endpoint === 'a' ? 404 : 200), [{ id: 'a' }, { id: 'b' }])
  for (let i = 0; i < 6; i++) t.like(await wrong.ask(), { status: 200, endpoint: 'b' })
  t.is(wrong.called.filter((endpoint) => endpoint === 'a').length, 5)
  const right = scripted(() => answered(404), [{ id: 'a' }, { id: 'b' }])
  for (let i = 0; i < 6; i++) t.is((await right.ask()).status, 404)
  t.is(right.called.filter((endpoint) => endpoint === 'a').length, 6)
})

test('router: a busy endpoint before it does not make the first failure of another the fault of the request (R5)', async (t) => {
  const replies: Record<string, EndpointOutcome> = { a: answered(429, { 'retry-after': '0' }), b: answered(500), c: answered(200) }
  const { ask, called, clock } = scripted((endpoint) => replies[endpoint] as EndpointOutcome, [{ id: 'a' }, { id: 'b' }, { id: 'c' }])
  for (let i = 0; i < 6; i++) {
    t.is((await ask()).endpoint, 'c')
    await clock.advance(4000) // within the retry budget, and shorter than an open breaker
  }
  t.is(called.filter((endpoint) => endpoint === 'b').length, 5, 'five failures in a row did not open the breaker')
})

test('router: a deadline beyond what a timer can hold is refused, never taken for one that has passed', async (t) => {
  const { ask } = overHttp(t, [{ id: 'gone', url: 'http://127.0.0.1:1' }])
  const result = await ask({ deadlineMs: systemClock.nowMs() + 2 ** 32 })
  t.like(result, { status: 400, code: 'SLU_ROUTE_INVALID', attempts: undefined })
  t.regex(result.body.toString(), /more than a day/)
})

test('router: over real HTTP a second opinion tells a lost model from a wrong request', async (t) => {
  const [lost, serving, other] = [await simulated(t, 'lost', ['x']), await simulated(t, 'serving'), await simulated(t, 'other', ['x'])]
  const one = await overHttp(t, [lost, serving]).ask()
  t.like(one, { status: 200, endpoint: 'serving', code: null })
  t.deepEqual(
    one.evidence?.attempts.map((a) => `${a.endpoint} ${a.outcome}`),
    ['lost 404', 'serving 200'],
  )
  const both = await overHttp(t, [lost, other]).ask()
  t.like(both, { status: 404, code: 'SLU_ROUTE_INVALID', endpoint: 'lost' })
  t.regex(both.body.toString(), /model not found/, 'the words of the endpoint were lost')
  t.deepEqual([lost.stats().requests, other.stats().requests], [2, 1])
})

test('router: over its bound a tenant is refused at once, its waiting requests and other tenants are not (R6)', async (t) => {
  const held: (() => void)[] = []
  const server = await listen(t, (request, response) => void request.resume().on('end', () => held.push(() => response.end('{}'))))
  const { ask } = overHttp(t, [{ id: 'a', url: server.url, slots: 1 }], { perTenantMax: 2 })
  const running = ask()
  const waiting = [ask(), ask()]
  t.like(await ask(), { status: 429, code: 'SLU_ROUTE_TENANT_LIMIT', endpoint: null, evidence: { attempts: [] } })
  const other = ask({ tenant: 'u' })
  for (let i = 0; i < 4; i++) {
    await until(() => held.length > 0, 5000, 'a request at the endpoint')
    t.is(held.length, 1, 'more requests than slots')
    held.shift()?.()
  }
  t.deepEqual(
    (await Promise.all([running, ...waiting, other])).map((r) => r.status),
    [200, 200, 200, 200],
  )
})

test('router: a request that was sent and came back busy is not turned away by the bound of its tenant (R4, R6)', async (t) => {
  const { ask, clock } = scripted((_, n) => answered(n === 1 ? 429 : 200, { 'retry-after': '1' }), [{ id: 'a' }], { perTenantMax: 1 })
  const first = ask()
  await settled()
  t.is((await ask()).code, 'SLU_ROUTE_TENANT_LIMIT')
  await clock.advance(1000)
  t.is((await first).status, 200)
  const busy = scripted((_, n) => answered(n <= 2 ? 429 : 200, { 'retry-after': '1' }), [{ id: 'a' }], { perTenantMax: 1 })
  const both = [busy.ask(), busy.ask()]
  await busy.clock.advance(1000)
  t.deepEqual(
    (await Promise.all(both)).map((r) => r.status),
    [200, 200],
  )
})

test('router: work that no endpoint can finish in time is refused on arrival and never sent, also when all are full', async (t) => {
  const server = await simulated(t, 'slow', ['m'], 300)
  const { ask } = overHttp(t, [{ ...server, slots: 1 }])
  t.is((await ask()).status, 200)
  const soon = (): object => ({ deadlineMs: systemClock.nowMs() + 150 })
  const refused = await ask(soon())
  t.like(refused, { status: 504, code: 'SLU_ROUTE_DEADLINE', evidence: { attempts: [], lost: { infeasible: 1 } } })
  const running = ask()
  const whileFull = await ask(soon())
  t.like(whileFull, { status: 504, evidence: { attempts: [], lost: { full: 1 } } })
  for (const { body, timings } of [refused, whileFull]) {
    t.regex(body.toString(), /no endpoint can finish in time/)
    t.is(timings.queueMs, 0, 'it waited for what could not be')
  }
  t.is((await running).status, 200, 'without a short deadline it is served')
  t.is(server.stats().requests, 2)
})

test('router: health that changes between the wake-up and the send stops the send, at whatever turn (R7)', async (t) => {
  const server = await simulated(t, 'a')
  let sentWhileDrained = 0
  let sent = 0
  for (let turns = 0; turns < 8; turns++) {
    const http = createHttpCall()
    let isDrained = true
    const call: EndpointCall = (request) => {
      sent++
      if (isDrained) sentWhileDrained++
      return http.call(request)
    }
    const { ask, verdict } = world([server], call, systemClock)
    verdict('a', 'DRAIN')
    const result = ask()
    await settled()
    verdict('a', 'ROUTE_OK')
    isDrained = false
    for (let i = 0; i < turns; i++) await Promise.resolve()
    verdict('a', 'DRAIN')
    isDrained = true
    await settled()
    verdict('a', 'ROUTE_OK')
    isDrained = false
    t.is((await result).status, 200)
    await http.close()
  }
  t.is(sent, 8)
  t.is(sentWhileDrained, 0)
})

/** A server that answers by hand over kept connections and notes the idempotency keys it saw and worked on. */
async function byHand(t: ExecutionContext) {
  const sockets = new Set<Socket>()
  const state = { isResetting: false, seen: [] as string[], worked: [] as string[], sockets }
  const server = createTcpServer((socket) => {
    sockets.add(socket.on('error', () => undefined))
    let text = ''
    let answers = 0
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString('latin1')
      if (!text.endsWith('{"model":"m"}')) return
      const key = /idempotency-key: (\S+)/.exec(text)?.[1] ?? ''
      text = ''
      state.seen.push(key)
      // As when the server gave up an idle connection in the moment in which the request was on its way.
      if (state.isResetting && answers > 0) return void socket.resetAndDestroy()
      answers++
      state.worked.push(key)
      socket.write('HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return { state, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }
}

test('router: a kept connection that the server resets under a request costs no request and runs none twice (R4)', async (t) => {
  const { state, url } = await byHand(t)
  const { ask } = overHttp(t, [{ id: 'a', url }])
  t.is((await ask({ id: 'first' })).status, 200)
  await settled() // the client learns that its connection is free again
  t.is((await ask({ id: 'kept' })).status, 200)
  await settled()
  t.is(state.sockets.size, 1, 'the connection was not kept')
  state.isResetting = true
  const reset = await ask({ id: 'reset' })
  t.is(reset.status, 200)
  t.deepEqual(
    reset.evidence?.attempts.map((a) => a.outcome),
    ['failed', '200'],
  )
  t.deepEqual(state.worked, ['first', 'kept', 'reset'], 'a request ran twice')
  t.deepEqual(state.seen.slice(-2), ['reset', 'reset'], 'the second try had another key')
})

test('router: a kept connection that the server has closed costs no request and runs none twice (R4)', async (t) => {
  const { state, url } = await byHand(t)
  const { ask } = overHttp(t, [{ id: 'a', url }])
  for (const id of ['1', '2', '3', '4', '5']) {
    t.is((await ask({ id })).status, 200)
    await settled()
    for (const socket of state.sockets) socket.end()
  }
  t.deepEqual(state.worked, ['1', '2', '3', '4', '5'])
})

test('router: what may exceed a contract’s context never reaches a substitute; it waits for the model asked for, and the evidence says why (R2)', async (t) => {
  const contracts = [{ name: 'c', model: 'm', substitutes: ['s'], maxContextTokens: 500 }]
  const { ask, called, verdict, clock } = scripted(() => answered(200), [{ id: 'own' }, { id: 'sub', models: ['s'] }], { contracts })
  verdict('own', 'DRAIN')
  t.like(await ask({ contract: 'c' }), { status: 200, endpoint: 'sub', model: 's' })
  const long = ask({ contract: 'c', body: `{"model":"m","prompt":"${'x'.repeat(500)}"}` })
  await clock.advance(10_000)
  t.like(await long, { code: 'SLU_ROUTE_NO_ENDPOINT', evidence: { contract: 'c', lost: { 'unhealthy:r': 1, context: 1 } } })
  t.deepEqual(called, ['sub'])
  const only = scripted(() => answered(200), [{ id: 'sub', models: ['s'] }], { contracts })
  t.like(await only.ask({ contract: 'c', body: '{"model":"m","max_tokens":9999}' }), { status: 413, code: 'SLU_ROUTE_BODY_TOO_LARGE' })
  t.like(await only.ask({ contract: 'c' }), { status: 200, model: 's' })
})

test('router: a version asked for is named in the result only where it was called, never for a substitute (R2)', async (t) => {
  const endpoints = [
    { id: 'own', api: 'oip' as const },
    { id: 'sub', api: 'oip' as const, models: ['s'] },
  ]
  const { ask, verdict } = scripted(() => answered(200), endpoints, { contracts: [{ name: 'c', model: 'm', substitutes: ['s'] }] })
  const request = { api: 'oip.infer', modelVersion: '7', contract: 'c', body: '{}' }
  t.like(await ask(request), { status: 200, model: 'm', modelVersion: '7' })
  verdict('own', 'DRAIN')
  t.like(await ask(request), { status: 200, model: 's', modelVersion: null })
})

test('router: a call that took long and ends now does not give the retries of meanwhile back (R4)', async (t) => {
  const reply = (n: number): EndpointOutcome | Promise<EndpointOutcome> => (n === 1 ? new Promise((resolve) => clock.setTimer(9000, () => resolve(answered(200)))) : answered(500))
  const { ask, called, clock } = scripted((_, n) => reply(n), [{ id: 'a' }, { id: 'b' }])
  const long = ask()
  await clock.advance(8500)
  const failing = async (): Promise<number> => {
    const before = called.length
    t.is((await ask()).code, 'SLU_ROUTE_ENDPOINT_FAILED')
    return called.length - before
  }
  t.deepEqual([await failing(), await failing()], [3, 2], 'the floor of three retries')
  await clock.advance(600)
  t.is((await long).status, 200)
  t.is(await failing(), 1, 'a fourth retry within 10 s')
})

test('router: how fast an endpoint refuses says nothing about how fast it works', async (t) => {
  const { ask } = scripted((_, n) => ({ ...answered(n === 1 ? 422 : 200), totalMs: 5000 }), [{ id: 'a' }])
  t.is((await ask()).status, 422)
  t.like(await ask({ deadlineMs: 1e12 + 1000 }), { status: 200 })
  t.like(await ask({ deadlineMs: 1e12 + 1000 }), { status: 504, evidence: { lost: { infeasible: 1 } } }, 'an answer is a sample')
})

test('router: who waits too long for its own deadline, or for another model, never keeps a free slot from the next (R8)', async (t) => {
  const { ask, clock } = scripted(
    (endpoint) => new Promise((resolve) => clock.setTimer(endpoint === 'a' ? 300 : 100, () => resolve({ ...answered(200), totalMs: 400 }))),
    [
      { id: 'a', slots: 1 },
      { id: 'b', slots: 1, models: ['s'] },
    ],
  )
  const of = (model: string) => ({ model, body: `{"model":"${model}"}` })
  const sample = [ask(), ask(of('s'))]
  await clock.advance(300)
  await Promise.all(sample)
  const running = [ask(), ask(of('s'))]
  const soon = ask({ deadlineMs: clock.nowMs() + 500 })
  const later = ask()
  const other = ask(of('s'))
  await clock.advance(200)
  t.is((await Promise.race([other, settled()]))?.status, 200, 'b was free, yet its request waited')
  await clock.advance(600)
  t.like(await soon, { code: 'SLU_ROUTE_DEADLINE' })
  t.like(await later, { status: 200, timings: { queueMs: 300 } })
  await Promise.all(running)
})
