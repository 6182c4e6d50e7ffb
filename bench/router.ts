/**
 * What the router adds to a call: the same request to the same real HTTP endpoint, through the router and by undici alone.
 *
 * Owns: one endpoint that answers at once, the interleaving (call by call, so that a noisy machine hits both alike), p50 and p99.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Agent, request } from 'undici'
import { createHealthTable } from '../functions/route-inference/health-table.ts'
import { routeInference } from '../functions/route-inference/route-inference.ts'
import { systemClock, systemRandom } from '../infra/clock.ts'
import { createHttpCall } from '../infra/endpoints/http-call.ts'
import { nodeHashing } from '../infra/hashing.ts'
import { silentTelemetry } from '../infra/observability/telemetry.ts'
import type { LogRecord } from '../schemas/log.ts'
import type { Bench, BenchCase } from './report.ts'
import { codecs } from './scrapes.ts'

const CALLS = 3000
const WARM_UPS = 300
const BODY = Buffer.from(JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x'.repeat(1000) }] }))
const ANSWER = JSON.stringify({ choices: [{ message: { content: 'y'.repeat(1000) } }], usage: { prompt_tokens: 1, completion_tokens: 1 } })

function percentile(sorted: readonly number[], p: number): number {
  return Math.round((sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))] as number) * 1000) / 1000
}

async function run(report: (result: BenchCase) => void): Promise<void> {
  const server = createServer((incoming, response) => {
    incoming.resume().on('end', () => response.writeHead(200, { 'content-type': 'application/json' }).end(ANSWER))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const http = createHttpCall()
  const agent = new Agent()
  const health = createHealthTable({ codecs, clock: systemClock })
  health.caughtUp()
  const router = routeInference({
    site: 'bench',
    routerVersion: 'bench',
    pools: [{ name: 'p', accelerator: 'a', endpoints: [{ id: 'e', url, api: 'openai', models: ['m'], slots: 64 }] }],
    contracts: [],
    defaultDeadlineMs: 10_000,
    dedupeMs: 600_000,
    skewMs: 30_000,
    maxInFlight: 64,
    perTenantMax: 1000,
    requestBytesMax: 1 << 20,
    resultBytesMax: 1 << 20,
    ports: { call: http.call, clock: systemClock, random: systemRandom, hashing: nodeHashing, telemetry: silentTelemetry, health },
  })
  const context = { site: 'bench', codecs, nowMs: () => systemClock.nowMs() }
  const signal = new AbortController().signal
  const routed = async (n: number): Promise<void> => {
    const now = systemClock.nowMs()
    const id = `r${n}`
    const value = codecs.encode('InferenceRequest', {
      id,
      model: 'm',
      modelVersion: null,
      api: 'openai.chat',
      headers: {},
      body: BODY,
      bodyRef: null,
      contentType: 'application/json',
      createdMs: now,
      deadlineMs: null,
      priority: 'default',
      tenant: 't',
      affinityKey: null,
      contract: null,
      replyTopic: null,
    })
    const record: LogRecord = { topic: 'inference.requests', partition: 0, offset: BigInt(n), timestampMs: now, appendMs: now, key: Buffer.from(id), value, headers: [] }
    const emits = await router.handle(router.decode(record, context), record, { ...context, signal, deadlineMs: now + 10_000, attempt: 1, idempotencyKey: id, carrier: {} })
    if (emits.length !== 1) throw new Error('no answer')
  }
  const direct = async (): Promise<void> => {
    const answer = await request(`${url}/v1/chat/completions`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: BODY, dispatcher: agent })
    await answer.body.arrayBuffer()
  }
  const timed = async (act: () => Promise<void>, into: number[], counts: boolean): Promise<void> => {
    const from = performance.now()
    await act()
    if (counts) into.push(performance.now() - from)
  }
  try {
    for (const concurrency of [1, 32]) {
      const [ours, theirs]: [number[], number[]] = [[], []]
      let n = concurrency * 1_000_000
      await Promise.all(
        Array.from({ length: concurrency }, async () => {
          for (let i = -WARM_UPS / concurrency; i < CALLS / concurrency; i++) {
            const id = n++
            await timed(() => routed(id), ours, i >= 0)
            await timed(direct, theirs, i >= 0)
          }
        }),
      )
      for (const list of [ours, theirs]) list.sort((a, b) => a - b)
      for (const p of [0.5, 0.99])
        report({
          case: `call through the router, ${concurrency} at once, p${p * 100}`,
          value: percentile(ours, p),
          unit: 'ms',
          better: 'lower',
          peers: { 'undici alone': percentile(theirs, p) },
        })
    }
  } finally {
    await http.close()
    await agent.close()
    server.close()
    server.closeAllConnections()
  }
}

export const routerBench: Bench = {
  question: 'What does the router add to a call to an endpoint?',
  conditions: { calls: CALLS, bodyBytes: BODY.length, answerBytes: ANSWER.length, includes: 'decode of the Avro request, choice, call, encode of the Avro result' },
  run,
}
