import test from 'ava'
import { systemClock } from '../../../../infra/clock.ts'
import { startModelServer, type ModelServer, type ModelServerOptions } from '../../../../infra/endpoints/simulator/model-server.ts'
import { seededRandom } from '../../../../infra/endpoints/simulator/seeded-random.ts'
import { until } from '../../../helpers/until.ts'

const start = (more: Partial<ModelServerOptions> = {}): Promise<ModelServer> =>
  startModelServer({ id: 'vllm-0', models: ['llama'], slots: 2, latency: { baseMs: 1, perTokenMs: 0, outputTokens: 4 }, random: seededRandom(1), clock: systemClock, ...more })
const post = (url: string, body: unknown): Promise<Response> =>
  fetch(url, { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body), signal: AbortSignal.timeout(5000) })
const chat = { model: 'llama', messages: [{ role: 'user', content: 'x' }] }

test('model-server: it says simulated in its model list and in every answer, so that no one takes it for silicon', async (t) => {
  const server = await start()
  t.teardown(() => server.close())
  const list = (await (await fetch(`${server.url}/v1/models`)).json()) as { data: unknown[] }
  t.like(list.data[0], { id: 'llama', simulated: true })
  for (const path of ['/health', '/metrics', '/nothing']) t.is((await fetch(server.url + path)).headers.get('x-simulated'), 'true', path)
})

test('model-server: chat, completions and embeddings answer in the OpenAI shape and count as new requests', async (t) => {
  const server = await start()
  t.teardown(() => server.close())
  t.is(server.stats().lastRequestMs, null)
  const beforeMs = Date.now()
  const answer = (await (await post(`${server.url}/v1/chat/completions`, { ...chat, max_tokens: 2 })).json()) as Record<string, unknown>
  t.like(answer, { object: 'chat.completion', model: 'llama', usage: { completion_tokens: 2 } })
  t.like(await (await post(`${server.url}/v1/completions`, { model: 'llama', prompt: 'x' })).json(), { object: 'text_completion' })
  t.like(await (await post(`${server.url}/v1/embeddings`, { model: 'llama', input: 'x' })).json(), { object: 'list' })
  t.is(server.stats().requests, 3)
  t.true((server.stats().lastRequestMs ?? 0) >= beforeMs)
})

test('model-server: stream is served as server-sent events that end with DONE', async (t) => {
  const server = await start()
  t.teardown(() => server.close())
  const response = await post(`${server.url}/v1/chat/completions`, { ...chat, stream: true })
  t.is(response.headers.get('content-type'), 'text/event-stream')
  const text = await response.text()
  t.is(text.match(/^data: \{/gm)?.length, 4)
  t.true(text.endsWith('data: [DONE]\n\n'))
})

test('model-server: the Open Inference Protocol is spoken, with its own error shape', async (t) => {
  const server = await start()
  t.teardown(() => server.close())
  const infer = await post(`${server.url}/v2/models/llama/infer`, { id: '7', inputs: [] })
  t.like(await infer.json(), { model_name: 'llama', id: '7' })
  for (const path of ['/v2/health/live', '/v2/health/ready', '/v2/models/llama', '/v2/models/llama/ready']) t.is((await fetch(server.url + path)).status, 200, path)
  const unknown = await post(`${server.url}/v2/models/other/infer`, { inputs: [] })
  t.is(unknown.status, 404)
  t.deepEqual(await unknown.json(), { error: 'model not found' })
})

test('model-server: bad input is answered and never stops the server', async (t) => {
  const server = await start({ requestBytesMax: 1000 })
  t.teardown(() => server.close())
  t.is((await post(`${server.url}/v1/chat/completions`, 'nonsense')).status, 400)
  t.is((await post(`${server.url}/v1/chat/completions`, { model: 'other' })).status, 404)
  t.is((await post(`${server.url}/v1/chat/completions`, 'x'.repeat(5000))).status, 413)
  t.is((await post(`${server.url}/v2/models/%E0%A4%A/infer`, {})).status, 400)
  t.is((await fetch(server.url, { method: 'DELETE' })).status, 405)
  t.is((await post(`${server.url}/v1/chat/completions`, chat)).status, 200)
})

test('model-server: more than its slots wait, more than its queue is refused with 503, and /metrics shows both', async (t) => {
  const server = await start({ slots: 1, queueMax: 1, latency: { baseMs: 60_000, perTokenMs: 0, outputTokens: 1 } })
  t.teardown(() => server.close())
  const enough = new AbortController()
  const patient = (): Promise<unknown> => t.throwsAsync(fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(chat), signal: enough.signal }))
  const first = patient()
  await until(() => server.stats().running === 1)
  const second = patient()
  await until(() => server.stats().waiting === 1)
  const metrics = await (await fetch(`${server.url}/metrics`)).text()
  t.regex(metrics, /vllm:num_requests_running\{[^}]*\} 1\n/)
  t.regex(metrics, /vllm:num_requests_waiting\{[^}]*\} 1\n/)
  const third = await post(`${server.url}/v1/chat/completions`, chat)
  t.is(third.status, 503)
  t.is(third.headers.get('retry-after'), '1')
  enough.abort()
  await Promise.all([first, second])
  await until(() => server.stats().running === 0 && server.stats().waiting === 0)
})

test('model-server: a client that goes away frees its slot', async (t) => {
  const server = await start({ slots: 1, latency: { baseMs: 60_000, perTokenMs: 0, outputTokens: 1 } })
  t.teardown(() => server.close())
  const abort = new AbortController()
  const gone = fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(chat), signal: abort.signal })
  await until(() => server.stats().running === 1)
  abort.abort()
  await t.throwsAsync(gone)
  await until(() => server.stats().running === 0)
  t.is(server.stats().running, 0)
})

test('model-server: faults meet new requests and health, and end when they are lifted', async (t) => {
  const server = await start()
  t.teardown(() => server.close())
  server.setFault({ kind: 'status', status: 429, retryAfterS: 2 })
  const busy = await post(`${server.url}/v1/chat/completions`, chat)
  t.is(busy.status, 429)
  t.is(busy.headers.get('retry-after'), '2')
  t.is((await fetch(`${server.url}/health`)).status, 503)
  server.setFault({ kind: 'close' })
  await t.throwsAsync(post(`${server.url}/v1/chat/completions`, chat))
  server.setFault({ kind: 'hang' })
  await t.throwsAsync(fetch(`${server.url}/v1/chat/completions`, { method: 'POST', body: JSON.stringify(chat), signal: AbortSignal.timeout(100) }))
  server.setFault(null)
  t.is((await post(`${server.url}/v1/chat/completions`, chat)).status, 200)
})

test('model-server: a taken port is a named error (SLU_ENV_PORT)', async (t) => {
  const server = await start()
  t.teardown(() => server.close())
  await t.throwsAsync(start({ port: Number(new URL(server.url).port) }), { code: 'SLU_ENV_PORT' })
})
