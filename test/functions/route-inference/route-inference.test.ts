import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { createHealthTable } from '../../../functions/route-inference/health-table.ts'
import { routeInference } from '../../../functions/route-inference/route-inference.ts'
import { systemClock } from '../../../infra/clock.ts'
import { createHttpCall } from '../../../infra/endpoints/http-call.ts'
import { startModelServer } from '../../../infra/endpoints/simulator/model-server.ts'
import { nodeHashing } from '../../../infra/hashing.ts'
import { silentTelemetry } from '../../../infra/observability/telemetry.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { inferenceResultFromJson } from '../../../schemas/inference-json.ts'
import type { LogRecord } from '../../../schemas/log.ts'
import type { EndpointOutcome, EndpointRequest } from '../../../schemas/ports.ts'
import type { InferenceRequest, InferenceResult, Verdict } from '../../../schemas/records.ts'
import { createVirtualClock, settled } from '../../fakes/virtual-clock.ts'
import { shippedSchemas, testCodecs } from '../../helpers/codecs.ts'

const codecs = testCodecs()
const record = (value: Buffer | null, key: string, topic = 'inference.requests'): LogRecord => ({
  topic,
  partition: 1,
  offset: 0n,
  timestampMs: 1e12,
  appendMs: 1e12,
  key: Buffer.from(key),
  value,
  headers: [],
})
const ok = (body = '{"usage":{"prompt_tokens":3,"completion_tokens":4}}', status = 200, headers = {}): EndpointOutcome => ({
  kind: 'answered',
  status,
  headers,
  body: Buffer.from(body),
  firstByteMs: 1,
  totalMs: 2,
})

function world(
  reply: (request: EndpointRequest, n: number) => EndpointOutcome | Promise<EndpointOutcome>,
  slots = 2,
  [first, second]: readonly ['openai' | 'oip', 'openai' | 'oip'] = ['openai', 'openai'],
) {
  const clock = createVirtualClock(1e12)
  const health = createHealthTable({ codecs, clock })
  const sent: EndpointRequest[] = []
  const call = async (request: EndpointRequest): Promise<EndpointOutcome> => reply(request, sent.push(request))
  const endpoint = (id: string, models = ['m'], api: 'openai' | 'oip' = 'openai') => ({ id, url: `http://${id}`, api, models, slots })
  const definition = routeInference({
    site: 's',
    routerVersion: '1',
    contracts: [{ name: 'c', model: 'm', substitutes: ['s'] }],
    pools: [
      { name: 'p', accelerator: 'b300', endpoints: [endpoint('a', ['m'], first), endpoint('b', ['m'], second)] },
      { name: 'q', accelerator: 'trn3', endpoints: [endpoint('z', ['s'])] },
    ],
    defaultDeadlineMs: 1000,
    dedupeMs: 1,
    skewMs: 1,
    maxInFlight: 8,
    requestBytesMax: 200,
    resultBytesMax: 2000,
    perTenantMax: 1,
    ports: { call, clock, random: () => 0, hashing: nodeHashing, telemetry: silentTelemetry, health },
  })
  const verdict = (id: string, name: Verdict): void => {
    const row = {
      endpoint: id,
      pool: 'p',
      sourcePartition: 0,
      generation: 1,
      verdict: name,
      weight: 1,
      reasons: ['r'],
      sinceMs: 0,
      observedMs: 0,
      expiresMs: 2e12,
      sourceOffset: 0,
      causeAppendMs: null,
    }
    health.apply(record(codecs.encode('EndpointHealth', row), `${id}/0`, 'pool.health'))
  }
  const ask = async (more: object = {}, signal = new AbortController().signal): Promise<InferenceResult> => {
    const source = record(Buffer.from(JSON.stringify({ id: 'r', model: 'm', api: 'openai.chat', body: '{"model":"m"}', createdMs: 1e12, tenant: 't', ...more })), 'r')
    const context = { site: 's', codecs, nowMs: clock.nowMs }
    const [emit] = await definition.handle(definition.decode(source, context), source, {
      ...context,
      signal,
      deadlineMs: 2e12,
      attempt: 1,
      idempotencyKey: 'r',
      carrier: { traceparent: 'tp' },
    })
    if (emit?.to !== 'topic' || emit.value === null || emit.partition !== 1) throw new Error('no result in the partition of the request (R1)')
    return inferenceResultFromJson(emit.value)
  }
  return { clock, sent, ask, verdict, definition }
}
const tried = (w: ReturnType<typeof world>): string[] => w.sent.map((r) => new URL(r.url).host)

test('route inference: an answer carries what served it, tokens, trace and key', async (t) => {
  const w = world(() => ok())
  const result = await w.ask()
  t.like(result, { status: 200, code: null, pool: 'p', model: 'm', usage: { inputTokens: 3, outputTokens: 4 } })
  t.like(w.sent[0]?.headers, { traceparent: 'tp', 'idempotency-key': 'r' })
  t.is(w.sent[0]?.body?.toString(), '{"model":"m"}')
})

test('route inference: bad requests are answered with their code and never sent', async (t) => {
  const w = world(() => ok())
  const expect = async (more: object, status: number, code: string, tt: ExecutionContext = t): Promise<unknown> => tt.like(await w.ask(more), { status, code }, code)
  await expect({ model: 'x', body: '{}' }, 404, 'SLU_ROUTE_MODEL_UNKNOWN')
  await expect({ body: '{"model":"other"}' }, 400, 'SLU_ROUTE_INVALID')
  await expect({ body: '{"stream":true}' }, 400, 'SLU_ROUTE_STREAM_UNSUPPORTED')
  await expect({ api: 'oip.infer' }, 400, 'SLU_ROUTE_API_UNSUPPORTED')
  await expect({ body: `{"x":"${'y'.repeat(300)}"}` }, 413, 'SLU_ROUTE_BODY_TOO_LARGE')
  await expect({ deadlineMs: 1e12 - 1 }, 504, 'SLU_ROUTE_DEADLINE')
  await expect({ contract: 'nope' }, 400, 'SLU_ROUTE_CONTRACT_UNKNOWN')
  t.regex((await w.ask({ deadlineMs: 1e9 })).body.toString(), /seconds/)
  t.is(w.sent.length, 0)
  t.throws(() => w.definition.decode(record(Buffer.from('\0no'), 'r'), { site: 's', codecs, nowMs: () => 0 }))
})

test('route inference: DRAIN gets no new work; with none left it waits and goes on when health returns (R7, R8)', async (t) => {
  const w = world(() => ok())
  w.verdict('a', 'DRAIN')
  t.is((await w.ask()).endpoint, 'b')
  w.verdict('b', 'DO_NOT_ROUTE')
  const late = w.ask()
  await settled()
  w.verdict('a', 'ROUTE_OK')
  t.is((await late).endpoint, 'a')
  w.verdict('a', 'DRAIN')
  const none = w.ask()
  await w.clock.advance(1000)
  t.like(await none, { status: 503, code: 'SLU_ROUTE_NO_ENDPOINT' })
})

test('route inference: only a contract lets a substitute answer, and only its model bytes change (R2)', async (t) => {
  const w = world(() => ok())
  w.verdict('a', 'DRAIN')
  w.verdict('b', 'DRAIN')
  t.like(await w.ask({ contract: 'c', body: '{"model":"m","n":9223372036854775807}' }), { model: 's', pool: 'q' })
  t.is(w.sent[0]?.body?.toString(), '{"model":"s","n":9223372036854775807}')
})

test('route inference: a failed attempt goes to another endpoint, three at most; a broken answer is not repeated (R4)', async (t) => {
  const once = world((_, n) => (n === 1 ? { kind: 'failed', reason: 'reset', responseBytes: 0 } : ok()))
  t.is((await once.ask()).status, 200)
  t.is(new Set(tried(once)).size, 2)
  const always = world(() => ok('', 500))
  t.like(await always.ask(), { status: 502, code: 'SLU_ROUTE_ENDPOINT_FAILED' })
  t.is(always.sent.length, 3)
  const broken = world(() => ({ kind: 'failed', reason: 'reset', responseBytes: 7 }))
  await broken.ask()
  t.is(broken.sent.length, 1)
})

test('route inference: busy endpoints rest and spend no attempts (R4)', async (t) => {
  const w = world((_, n) => (n <= 2 ? ok('', 429, { 'retry-after': '0.5' }) : ok()))
  const result = w.ask()
  await w.clock.advance(600)
  t.is((await result).status, 200)
  t.is(w.sent.length, 3)
})

test('route inference: a cancelled request is answered 499 and its slot is free again (R1)', async (t) => {
  const w = world((request) => new Promise((resolve) => request.signal.addEventListener('abort', () => resolve({ kind: 'aborted' }))))
  const abort = new AbortController()
  const result = w.ask({}, abort.signal)
  await settled()
  abort.abort(new SluiceError('SLU_ROUTE_CANCELLED', 'r'))
  t.like(await result, { status: 499, code: 'SLU_ROUTE_CANCELLED' })
  const given = new AbortController()
  const lost = w.ask({}, given.signal)
  await settled()
  given.abort(new SluiceError('SLU_LOG_STALE_EPOCH', ''))
  t.is((await t.throwsAsync(lost, { instanceOf: SluiceError })).code, 'SLU_LOG_STALE_EPOCH', 'a member that lost the partition answered')
})

test('route inference: an answer that does not fit becomes a small one', async (t) => {
  t.like(await world(() => ok('x'.repeat(3000))).ask(), { code: 'SLU_ROUTE_RESULT_TOO_LARGE', endpoint: null })
})

const anyText = fc.oneof(fc.constantFrom('', '.', '..', 'm', '../../x', '__proto__', '\ud800', '\0', 'é\r\nx: y'), fc.string({ unit: 'binary', maxLength: 20 }))
const anyField = fc.oneof(anyText, fc.constantFrom(null, 0, -1, 1.5, 1e12, 9e15, 1e308, true, [], {}, { a: 1 }, { accept: '\n', cookie: 'x' }))
/** Mostly what is usual, so that many requests get far. */
const mostly = (...usual: unknown[]) => fc.oneof({ weight: 9, arbitrary: fc.constantFrom(...usual) }, { weight: 1, arbitrary: anyField })
const hostileRequest = fc.record({
  id: mostly('r'),
  model: mostly('m'),
  api: mostly('openai.chat', 'oip.infer'),
  body: mostly('{"model":"m"}', '{"inputs":[]}'),
  createdMs: mostly(1e12),
  modelVersion: fc.oneof(mostly(null), mostly('1', 'v1.2')),
  headers: mostly(undefined),
  contentType: mostly(undefined),
  deadlineMs: mostly(undefined),
  priority: mostly(undefined),
  tenant: mostly(undefined),
  affinityKey: mostly(undefined),
  contract: mostly(undefined),
  replyTopic: mostly(undefined),
  bodyRef: mostly(undefined),
  bodyEncoding: mostly(undefined),
})

test('route inference: whatever stands in a request, it is a dead letter with a code or has one result; the path called is never another', async (t) => {
  const seen = { dead: 0, answered: 0, sent: 0 }
  await fc.assert(
    fc.asyncProperty(hostileRequest, async (fields) => {
      const w = world(() => ok(), 2, ['openai', 'oip'])
      let result: InferenceResult
      try {
        result = await w.ask(fields)
      } catch (thrown) {
        seen.dead++
        return thrown instanceof SluiceError && ['SLU_RECORD_UNDECODABLE', 'SLU_ROUTE_INVALID'].includes(thrown.code)
      }
      seen.answered++
      seen.sent += w.sent.length
      const version = fields.modelVersion ?? null
      const path = (): string => (fields.api === 'openai.chat' ? '/v1/chat/completions' : `/v2/models/m${version === null ? '' : `/versions/${version as string}`}/infer`)
      const isTrue = result.status !== 200 || (result.modelVersion === version && (version === null || fields.api === 'oip.infer'))
      return isTrue && w.sent.every((request) => new URL(request.url).pathname === path())
    }),
    { numRuns: 500 },
  )
  t.true(seen.dead > 20 && seen.answered > 100 && seen.sent > 20, JSON.stringify(seen))
})

/** The whole function over real HTTP: a record in, a result record out. */
function overHttp(t: ExecutionContext, endpoints: readonly { id: string; url: string; api: 'openai' | 'oip'; models: readonly string[] }[]) {
  const http = createHttpCall()
  t.teardown(() => http.close())
  // Writers that a schema registry knows: frames of them must be readable beside the ones of the shipped schemas.
  const known = testCodecs()
  known.addWriter('InferenceRequest', shippedSchemas().get('InferenceRequest') as never, REGISTRY_ID)
  const health = createHealthTable({ codecs: known, clock: systemClock })
  const definition = routeInference({
    site: 's',
    routerVersion: '1',
    contracts: [],
    pools: [{ name: 'p', accelerator: 'b300', endpoints: endpoints.map((e) => ({ ...e, slots: 4 })) }],
    defaultDeadlineMs: 10_000,
    dedupeMs: 1000,
    skewMs: 1000,
    maxInFlight: 8,
    requestBytesMax: 10_000,
    resultBytesMax: 20_000,
    perTenantMax: 8,
    ports: { call: http.call, clock: systemClock, random: () => 0, hashing: nodeHashing, telemetry: silentTelemetry, health },
  })
  return async (value: Buffer, id: string): Promise<Buffer> => {
    const nowMs = systemClock.nowMs()
    const source = { ...record(value, id), timestampMs: nowMs, appendMs: nowMs }
    const context = { site: 's', codecs: known, nowMs: () => systemClock.nowMs() }
    const { signal } = new AbortController()
    const emits = await definition.handle(definition.decode(source, context), source, { ...context, signal, deadlineMs: nowMs + 1e4, attempt: 1, idempotencyKey: id, carrier: {} })
    const [emit] = emits
    if (emits.length !== 1 || emit?.to !== 'topic' || emit.value === null || emit.key !== id) throw new Error('not one result under the id of the request (R1)')
    return emit.value
  }
}

const REGISTRY_ID = 4711
const simulated = async (t: ExecutionContext, id: string): Promise<string> => {
  const server = await startModelServer({ id, models: ['m'], slots: 4, latency: { baseMs: 1, perTokenMs: 0, outputTokens: 3 }, random: () => 0.5, clock: systemClock })
  t.teardown(() => server.close())
  return server.url
}

test('route inference: an Open Inference Protocol request reaches only the endpoint that speaks it, and its answer comes back unread', async (t) => {
  const route = overHttp(t, [
    { id: 'chat', url: await simulated(t, 'chat'), api: 'openai', models: ['m'] },
    { id: 'triton', url: await simulated(t, 'triton'), api: 'oip', models: ['m'] },
  ])
  const body = '{"id":"7","inputs":[{"name":"input0","shape":[1,1],"datatype":"INT64","data":[9223372036854775807]}]}'
  const request = { id: 'r1', model: 'm', modelVersion: '1', api: 'oip.infer', body, createdMs: systemClock.nowMs() }
  const result = inferenceResultFromJson(await route(Buffer.from(JSON.stringify(request)), 'r1'))
  t.like(result, { status: 200, code: null, endpoint: 'triton', model: 'm', modelVersion: '1', usage: null, evidence: { lost: { 'wrong-api': 1 } } })
  t.like(JSON.parse(result.body.toString()), { model_name: 'm', id: '7', outputs: [{ name: 'output0' }] })
  const bad = inferenceResultFromJson(await route(Buffer.from(JSON.stringify({ ...request, body: '{}' })), 'r1'))
  t.like(bad, { status: 400, code: 'SLU_ROUTE_INVALID', endpoint: 'triton' })
  t.deepEqual(JSON.parse(bad.body.toString()), { error: 'inputs is not a list' })
})

test('route inference: a binary tensor passes byte for byte in both directions, with the length of its header', async (t) => {
  const seen: { url: string | undefined; length: unknown; body: Buffer }[] = []
  const server = createServer((incoming, response) => {
    const chunks: Buffer[] = []
    incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
    incoming.on('end', () => {
      seen.push({ url: incoming.url, length: incoming.headers['inference-header-content-length'], body: Buffer.concat(chunks) })
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'inference-header-content-length': '2', 'set-cookie': 'x' }).end(Buffer.concat(chunks).reverse())
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const route = overHttp(t, [{ id: 'triton', url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, api: 'oip', models: ['a/b'] }])
  const body = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  const fields = { body: body.toString('base64'), bodyEncoding: 'base64', contentType: 'application/octet-stream', headers: { 'Inference-Header-Content-Length': '100' } }
  const request = { id: 'r1', model: 'a/b', api: 'oip.infer', createdMs: systemClock.nowMs(), ...fields }
  const result = inferenceResultFromJson(await route(Buffer.from(JSON.stringify(request)), 'r1'))
  t.like(seen[0], { url: '/v2/models/a%2Fb/infer', length: '100' })
  t.deepEqual(seen[0]?.body, body)
  t.deepEqual(result.body, Buffer.from(body).reverse())
  t.deepEqual(result.headers, { 'inference-header-content-length': '2' }, 'a cookie of the endpoint passed')
  t.is(result.contentType, 'application/octet-stream')
})

test('route inference: a request in a Confluent frame is routed and answered in Avro; a frame of an unknown schema is a dead letter, never a guess', async (t) => {
  const route = overHttp(t, [{ id: 'chat', url: await simulated(t, 'chat'), api: 'openai', models: ['m'] }])
  const [framed, foreign] = [REGISTRY_ID, REGISTRY_ID + 1].map((id) => testCodecs({ registryIds: new Map([['InferenceRequest', id]]) }))
  const request: InferenceRequest = {
    id: 'r1',
    model: 'm',
    modelVersion: null,
    api: 'openai.chat',
    headers: {},
    body: Buffer.from('{"model":"m","messages":[]}'),
    bodyRef: null,
    contentType: 'application/json',
    createdMs: systemClock.nowMs(),
    deadlineMs: null,
    priority: 'default',
    tenant: 't',
    affinityKey: null,
    contract: null,
    replyTopic: null,
  }
  const value = framed?.encode('InferenceRequest', request) as Buffer
  t.is(value.readUInt8(0), 0)
  t.is(value.readInt32BE(1), REGISTRY_ID)
  const result = codecs.decode('InferenceResult', await route(value, 'r1'))
  t.like(result, { id: 'r1', status: 200, code: null, endpoint: 'chat', usage: { outputTokens: 3 } })
  await t.throwsAsync(async () => route(foreign?.encode('InferenceRequest', request) as Buffer, 'r1'), { code: 'SLU_RECORD_SCHEMA_UNKNOWN' })
})
