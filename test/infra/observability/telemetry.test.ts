import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { silentTelemetry, startTelemetry, tracedCall } from '../../../infra/observability/telemetry.ts'
import type { EndpointOutcome, EndpointRequest } from '../../../schemas/ports.ts'

const options = { service: 'sluice', site: 'hall-1', version: '0', environment: {}, onLog: () => {} }

// One SDK a process: OpenTelemetry's globals are set once, so the tests of this file share it and run in order.
test.serial('telemetry: /metrics shows instruments by name, with no host, no target_info and no attribute outside the list', async (t) => {
  const telemetry = await startTelemetry({ ...options, metricsListen: '127.0.0.1:0' })
  telemetry.count('sluice.dead_letters', 2, { code: 'SLU_RECORD_UNDECODABLE', tenant: 'canary-tenant', prompt: 'canary-prompt' })
  telemetry.record('messaging.process.duration', 0.02, { 'messaging.destination.name': 'telemetry.dcgm' })
  telemetry.gauge('sluice.window.open', 3, { function: 'aggregate-metrics', partition: 0 })
  telemetry.count('not.in.the.table', 1)
  t.not(new URL(telemetry.metricsUrl as string).port, '9464', 'port 0 is a free port, never the default')
  const text = await (await fetch(telemetry.metricsUrl as string)).text()
  t.regex(text, /sluice_dead_letters(_total)?\{[^}]*code="SLU_RECORD_UNDECODABLE"[^}]*\} 2/)
  t.regex(text, /messaging_process_duration_bucket\{[^}]*le="0\.025"[^}]*\} 1/)
  t.notRegex(text, /canary|target_info|not_in_the_table|host_name/)
  await t.throwsAsync(startTelemetry({ ...options, metricsListen: new URL(telemetry.metricsUrl as string).host }), { message: /SLU_ENV_PORT/ })
  await telemetry.shutdown()
})

test.serial('telemetry: a collector that cannot be reached never ends or delays the process beyond its bound', async (t) => {
  const logged: string[] = []
  const telemetry = await startTelemetry({
    ...options,
    metricsListen: null,
    environment: { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: 'http://127.0.0.1:1' },
    onLog: (_s, m) => void logged.push(m),
  })
  telemetry.count('sluice.rebalances', 1)
  const from = performance.now()
  await t.notThrowsAsync(telemetry.shutdown())
  t.true(performance.now() - from < 10_000)
})

test('telemetry: without a trace in the headers a call is passed on unchanged, with one the endpoint still gets it', async (t) => {
  const seen: EndpointRequest[] = []
  const answered: EndpointOutcome = { kind: 'aborted' }
  const call = tracedCall(async (request) => {
    seen.push(request)
    return answered
  })
  const request: EndpointRequest = {
    url: 'http://127.0.0.1:1/',
    method: 'POST',
    headers: { a: 'b' },
    body: null,
    timeoutMs: 1,
    signal: new AbortController().signal,
    responseBytesMax: 1,
  }
  t.is(await call(request), answered)
  t.deepEqual(seen[0]?.headers, { a: 'b' })
})

test('telemetry: the silent port hands the parent context on, so that a trace is not cut by a tool that only looks', (t) => {
  const parent = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' }
  t.deepEqual(silentTelemetry.span({ name: 'x', kind: 'internal', parent }).carrier, parent)
})

test('telemetry: a taken port is named before anything is measured', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await t.throwsAsync(startTelemetry({ ...options, metricsListen: `127.0.0.1:${port}` }), { message: new RegExp(`SLU_ENV_PORT.*${port}`) })
  server.close()
})
