import test from 'ava'
import { createHealthTable } from '../../../functions/route-inference/health-table.ts'
import { decodeRequest } from '../../../functions/route-inference/request.ts'
import { createRouter } from '../../../functions/route-inference/router.ts'
import { createHttpCall } from '../../../infra/endpoints/http-call.ts'
import { nodeHashing } from '../../../infra/hashing.ts'
import { silentTelemetry } from '../../../infra/observability/telemetry.ts'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { systemClock } from '../../../infra/clock.ts'
import { testCodecs } from '../../helpers/codecs.ts'

const codecs = testCodecs()

test('router: over real HTTP an endpoint that resets and one that is gone cost no request (R4)', async (t) => {
  const good = createServer((request, response) => request.resume().on('end', () => response.end('{}')))
  const bad = createServer((request) => request.socket.destroy())
  const http = createHttpCall()
  const urls: string[] = []
  for (const server of [good, bad]) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    urls.push(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  }
  urls.push('http://127.0.0.1:1')
  const health = createHealthTable({ codecs, clock: systemClock })
  const endpoints = urls.map((url, i) => ({ id: `e${i}`, url, api: 'openai' as const, models: ['m'], slots: 4 }))
  const router = createRouter({
    routerVersion: '1',
    pools: [{ name: 'p', accelerator: 'x', endpoints }],
    contracts: [],
    perTenantMax: 9,
    resultBytesMax: 1e6,
    ports: { call: http.call, clock: systemClock, random: () => 0.5, telemetry: silentTelemetry, health },
  })
  const nowMs = systemClock.nowMs()
  const value = Buffer.from(JSON.stringify({ id: 'é', model: 'm', api: 'openai.chat', body: '{}', createdMs: nowMs }))
  const decoded = decodeRequest({ topic: 't', partition: 0, offset: 0n, timestampMs: nowMs, appendMs: nowMs, key: null, value, headers: [] }, { codecs }, nodeHashing, {
    requestBytesMax: 100,
    defaultDeadlineMs: 10_000,
  })
  const results = await Promise.all([1, 2, 3].map(() => router.route(decoded, { signal: new AbortController().signal, idempotencyKey: 'é', carrier: {} })))
  t.deepEqual(
    results.map((r) => r.endpoint),
    ['e0', 'e0', 'e0'],
  )
  await http.close()
  good.close()
  bad.close()
})
