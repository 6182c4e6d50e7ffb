import test from 'ava'
import { endpointsOf } from '../../../functions/route-inference/endpoints.ts'
import type { EndpointStanding } from '../../../functions/route-inference/health-table.ts'
import { createPoolMeasures } from '../../../functions/route-inference/pool-measures.ts'
import { silentTelemetry } from '../../../infra/observability/telemetry.ts'
import { createVirtualClock } from '../../fakes/virtual-clock.ts'

function world() {
  const gauges = new Map<string, number>()
  const logs: string[] = []
  const telemetry = {
    ...silentTelemetry,
    gauge: (name: string, value: number, attributes: object = {}) => void gauges.set([name, ...Object.values(attributes)].join(' '), value),
    log: (_: string, message: string) => void logs.push(message),
  }
  const endpoint = (id: string) => ({ id, url: 'http://x', api: 'openai' as const, models: ['m'], slots: 4 })
  const endpoints = endpointsOf([{ name: 'p', accelerator: 'x', endpoints: [endpoint('a'), endpoint('b'), endpoint('c')] }])
  const standings = new Map<string, EndpointStanding>()
  const rows = { undecodable: 0 }
  const health = { get: (id: string) => standings.get(id), undecodable: () => rows.undecodable }
  const measures = createPoolMeasures({ endpoints, health, leases: { inFlight: () => 1 }, waiting: { depth: () => 5 }, clock: createVirtualClock(0), telemetry })
  return { gauges, logs, endpoints, standings, rows, measures }
}
const standing = (verdict: EndpointStanding['verdict'], isExpired = false): EndpointStanding => ({ verdict, weight: 1, reasons: [], isExpired })

test('pool measures: slots that may not get work are not shown as capacity (R5, R7)', (t) => {
  const { gauges, endpoints, standings, measures } = world()
  measures.measureAll()
  t.deepEqual(
    [...gauges],
    [
      ['sluice.pool.inflight p', 3],
      ['sluice.pool.slots p', 12],
      ['sluice.pool.queue.depth', 5],
    ],
  )
  standings.set('a', standing('DRAIN'))
  for (let i = 0; i < 5; i++) endpoints.get('b')?.breaker.begin(0)('failure', 0)
  measures.measure('p')
  t.is(gauges.get('sluice.pool.slots p'), 4)
})

test('pool measures: an expired row is said once until it is fresh again (R10)', (t) => {
  const { logs, standings, measures } = world()
  standings.set('a', standing('ROUTE_OK', true))
  measures.alarm()
  measures.alarm()
  t.is(logs.length, 1)
  standings.set('a', standing('ROUTE_OK'))
  measures.alarm()
  standings.set('a', standing('ROUTE_OK', true))
  measures.alarm()
  t.is(logs.length, 2)
})

test('pool measures: rows that could not be read are said, once for each more (R10)', (t) => {
  const { logs, rows, measures } = world()
  measures.alarm()
  t.is(logs.length, 0)
  for (const undecodable of [1, 1, 3, 3]) {
    rows.undecodable = undecodable
    measures.alarm()
  }
  t.deepEqual(
    logs.map((line) => Number.parseInt(line)),
    [1, 3],
  )
})
