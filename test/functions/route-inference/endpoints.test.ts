import test from 'ava'
import { candidatesOf, endpointsOf, latencyKey } from '../../../functions/route-inference/endpoints.ts'
import { createLatency } from '../../../functions/route-inference/latency.ts'
import { createLeases } from '../../../functions/route-inference/leases.ts'

test('endpoints: a candidate shows leases, rest and the latency of its own model and size, never another’s', (t) => {
  const endpoints = endpointsOf([{ name: 'p', accelerator: 'x', endpoints: [{ id: 'a', url: 'http://h/', api: 'oip', models: ['m'], slots: 2 }] }])
  t.is(endpoints.get('a')?.url, 'http://h')
  const state = { health: { get: () => undefined }, leases: createLeases(new Map([['a', 2]])), latency: createLatency() }
  state.leases.take('a')
  state.latency.add(latencyKey('a', 'm', 1), 70, 0)
  const view = (size: number) => candidatesOf(endpoints.values(), ['m'], size, 0, state)[0]
  t.like(view(1), { inFlight: 1, latencyMs: 70, isResting: false, pool: 'p' })
  t.is(view(0)?.latencyMs, null)
})
