import test from 'ava'
import { askBreaker, BREAKER_CODE } from '../../../functions/assess-health/breaker.ts'
import { addDevice, newDevice, newPartition } from '../../../functions/assess-health/device-state.ts'
import { raiseRule } from '../../../functions/assess-health/hysteresis.ts'
import { endpointMap } from '../../../functions/assess-health/endpoint-roll-up.ts'
import { endpointOn, gpus, healthDesk, healthRules, START_MS } from '../../helpers/health-desk.ts'

const at = (s: number): number => START_MS + s * 1000
const nodes = ['n0', 'n1', 'n2', 'n3']
const ENDPOINTS = nodes.map((node) => endpointOn(`vllm-${node}`, node))
const BAD = { 'sluice.gpu.thermal_margin': 1 }

test('breaker: a rule that hits every endpoint quarantines half of the pool, never all of it, and alarms once (H2)', (t) => {
  const desk = healthDesk({ endpoints: ENDPOINTS })
  for (const node of nodes) desk.batch(gpus(node, at(0)))
  for (let s = 1; s < 4; s++) for (const node of nodes) desk.batch(gpus(node, at(s), { [`gpu-${node}-0`]: BAD }))
  t.deepEqual(
    nodes.map((n) => desk.endpoint(`vllm-${n}`).verdict),
    ['DO_NOT_ROUTE', 'DO_NOT_ROUTE', 'DEPRIORITISE', 'DEPRIORITISE'],
  )
  t.is(desk.events.filter((e) => e.check === 'breaker').length, 1)
})

test('breaker: XID 79 is exempt; a true host fault is never held back (H2)', (t) => {
  const desk = healthDesk({ endpoints: ENDPOINTS })
  for (const node of nodes) desk.batch(gpus(node, at(0)))
  for (const node of nodes) desk.batch(gpus(node, at(1), { [`gpu-${node}-0`]: { 'sluice.gpu.xid': 79 } }))
  t.true(nodes.every((n) => desk.endpoint(`vllm-${n}`).verdict === 'DRAIN'))
})

test('breaker: it stays tripped across a restart until the rule has a new version (H2)', (t) => {
  const desk = healthDesk({ endpoints: ENDPOINTS })
  for (const node of nodes) desk.batch(gpus(node, at(0)))
  for (const node of nodes.slice(0, 3)) desk.batch(gpus(node, at(1), { [`gpu-${node}-0`]: BAD }))
  t.true(desk.devices.get('gpu-n2-0')?.activeRules[0]?.codes.includes(BREAKER_CODE))
  const restored = healthDesk({ endpoints: ENDPOINTS, rows: desk.rows, nextOffset: 7 })
  restored.batch(gpus('n3', at(2), { 'gpu-n3-0': BAD }))
  t.is(restored.endpoint('vllm-n3').verdict, 'DEPRIORITISE')
  const rules = healthRules((r) => ({ ...r, rules: r.rules.map((rule) => (rule.id === 'thermal-margin' ? { ...rule, version: 2 } : rule)) }))
  const acknowledged = healthDesk({ endpoints: ENDPOINTS.slice(2), rules, rows: desk.rows, nextOffset: 7 })
  acknowledged.batch(gpus('n3', at(2), { 'gpu-n3-0': BAD }))
  t.is(acknowledged.endpoint('vllm-n3').verdict, 'DO_NOT_ROUTE')
})

test('breaker: a pool of fewer than three endpoints has none', (t) => {
  const state = newPartition(0)
  const device = newDevice('gpu-n0-0', 'n0', 'blackwell-a', 0)
  addDevice(state, device)
  t.is(askBreaker(state, endpointMap(ENDPOINTS.slice(0, 2)), 'r', [device], 'blackwell-a', { share: 0.5, endpointsMin: 3 }), 'allowed')
})

test('breaker: a pool of exactly the least number of endpoints has one; a rule about none of its endpoints trips nothing (H2)', (t) => {
  const map = endpointMap(ENDPOINTS.slice(0, 3))
  const sick = (count: number) => {
    const state = newPartition(0)
    const devices = nodes.slice(0, 3).map((node) => newDevice(`gpu-${node}-0`, node, 'blackwell-a', 0))
    for (const device of devices) addDevice(state, device)
    for (const device of devices.slice(0, count))
      raiseRule(device, { ruleId: 'r', ruleVersion: 1, verdict: 'DRAIN', codes: [], atMs: 0, isOccurrence: true }, { baseMs: 1, capMs: 1, forgetMs: 1 })
    return { state, devices }
  }
  const limits = { share: 0.5, endpointsMin: 3 }
  const one = sick(0)
  t.is(askBreaker(one.state, map, 'r', one.devices.slice(0, 1), 'blackwell-a', limits), 'allowed', 'one is always allowed')
  t.is(askBreaker(one.state, map, 'r', one.devices.slice(0, 2), 'blackwell-a', limits), 'tripped-now')
  t.is(askBreaker(one.state, map, 'r', one.devices.slice(0, 1), 'blackwell-a', limits), 'tripped')
  const other = sick(2)
  const stray = newDevice('gpu-n9-0', 'n9', 'blackwell-a', 0)
  t.is(askBreaker(other.state, map, 'r', [stray], 'blackwell-a', limits), 'allowed')
  t.is(other.state.latched.size, 0)
})
