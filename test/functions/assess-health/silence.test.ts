import test from 'ava'
import { sourceKindOf } from '../../../functions/assess-health/silence.ts'
import { endpointOn, gpus, healthDesk, START_MS } from '../../helpers/health-desk.ts'

const at = (s: number): number => START_MS + s * 1000
const nodes = Array.from({ length: 10 }, (_, i) => `n${i}`)
const ENDPOINTS = nodes.map((node) => endpointOn(`vllm-${node}`, node))

test('silence: one silent node of ten is suspect after three periods, not before, and never more than DEPRIORITISE', (t) => {
  const desk = healthDesk({ endpoints: ENDPOINTS })
  for (const node of nodes) desk.batch(gpus(node, at(0)))
  for (let s = 1; s <= 3; s++) {
    for (const node of nodes.slice(1)) desk.batch(gpus(node, at(s)))
    desk.tick(at(s))
  }
  t.is(desk.endpoint('vllm-n0').verdict, 'ROUTE_OK')
  desk.tick(at(3) + 250)
  t.like(desk.endpoint('vllm-n0'), { verdict: 'DEPRIORITISE', reasons: ['silence'] })
  t.is(desk.endpoint('vllm-n1').verdict, 'ROUTE_OK')
})

test('silence: a whole pool that falls silent together is a lost source: an alarm, and no weight changes (H4)', (t) => {
  const desk = healthDesk({ endpoints: ENDPOINTS })
  for (const node of nodes) desk.batch(gpus(node, at(0)))
  for (let s = 1; s <= 20; s++) desk.tick(at(s))
  t.deepEqual(
    desk.events.map((e) => [e.device, e.check, e.verdict]),
    [['pool/blackwell-a', 'source-lost', 'ROUTE_OK']],
  )
  t.true([...desk.endpoints.values()].every((row) => row?.weight === 1))
})

test('silence: a node that speaks again is held for two minutes, then clear (H1)', (t) => {
  const desk = healthDesk({ endpoints: ENDPOINTS })
  desk.batch(gpus('n0', at(0)))
  desk.tick(at(4))
  t.is(desk.endpoint('vllm-n0').verdict, 'DEPRIORITISE')
  desk.batch(gpus('n0', at(5)))
  t.is(desk.endpoint('vllm-n0').verdict, 'DEPRIORITISE')
  desk.batch(gpus('n0', at(125)))
  t.is(desk.endpoint('vllm-n0').verdict, 'ROUTE_OK')
})

test('silence: the first look after a restart starts the count anew, so that a restart never makes a hall suspect (H4)', (t) => {
  const before = healthDesk()
  before.batch(gpus('n0', at(0)))
  const desk = healthDesk({ rows: before.rows, nextOffset: 1, endpoints: ENDPOINTS })
  desk.tick(at(1000))
  desk.tick(at(1003))
  t.is(desk.endpoint('vllm-n0').verdict, 'ROUTE_OK')
  desk.tick(at(1004))
  t.is(desk.endpoint('vllm-n0').verdict, 'DEPRIORITISE')
})

test('silence: a source without a period is never silent', (t) => {
  const desk = healthDesk({ endpoints: ENDPOINTS, expectedPeriodMs: {} })
  desk.batch(gpus('n0', at(0)))
  desk.tick(at(5000))
  t.is(desk.events.length, 0)
  t.is(sourceKindOf('neuron-12'), 'neuron-monitor')
})
