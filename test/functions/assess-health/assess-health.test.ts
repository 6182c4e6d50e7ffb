import test from 'ava'
import fc from 'fast-check'
import { assessHealth } from '../../../functions/assess-health/assess-health.ts'
import { endpointOn, gpus, healthDesk, healthRules, START_MS, type HealthDesk } from '../../helpers/health-desk.ts'

const at = (s: number): number => START_MS + s * 1000
const XID = 'sluice.gpu.xid'
const MARGIN = 'sluice.gpu.thermal_margin'

test('assess-health: a healthy endpoint gets a row at first sight of its devices, so that routing never waits for a fault to know it (R10)', (t) => {
  const desk = healthDesk({ endpoints: [endpointOn('vllm-0', 'n1')] })
  desk.batch(gpus('n1', at(0)))
  t.like(desk.endpoint('vllm-0'), { verdict: 'ROUTE_OK', weight: 1, reasons: [], sourcePartition: 0 })
  t.is(desk.events.length, 0)
})

test('assess-health: XID 79 on one GPU drains every device of its host and the endpoint on another of them, never only the GPU that spoke (R7)', (t) => {
  const desk = healthDesk({ endpoints: [{ id: 'vllm-1', pool: 'blackwell-a', devices: ['gpu-n1-1'] }] })
  desk.batch(gpus('n1', at(0)))
  desk.batch(gpus('n1', at(1), { 'gpu-n1-0': { [XID]: 79 } }), { appendMs: at(1) + 20 })
  t.like(desk.endpoint('vllm-1'), { verdict: 'DRAIN', weight: 0, reasons: ['xid-79'], causeAppendMs: at(1) + 20 })
  t.deepEqual(
    desk.events.map((e) => [e.device, e.ruleId, e.verdict, e.detectedMs, e.evidence.offset]),
    [
      ['gpu-n1-0', 'xid-79', 'DRAIN', at(1), 1],
      ['gpu-n1-1', 'xid-79', 'DRAIN', at(1), 1],
    ],
  )
})

test('assess-health: an event older than maxAge, or dated in the future, never changes routing (H3)', (t) => {
  const desk = healthDesk({ endpoints: [endpointOn('vllm-0', 'n1')] })
  desk.batch(gpus('n1', at(0)))
  desk.batch(gpus('n1', at(1), { 'gpu-n1-0': { [XID]: 79 } }), { appendMs: at(1) + 600_001 })
  desk.batch(gpus('n1', at(700), { 'gpu-n1-0': { [XID]: 79 } }), { appendMs: at(2) })
  t.is(desk.endpoint('vllm-0').verdict, 'ROUTE_OK')
  desk.batch(gpus('n1', at(3), { 'gpu-n1-0': { [XID]: 79 } }))
  t.is(desk.endpoint('vllm-0').verdict, 'DRAIN', 'a wrong clock must not lock the node out')
})

test('assess-health: an out-of-order event never moves a device back in time (H3)', (t) => {
  const desk = healthDesk({ endpoints: [endpointOn('vllm-0', 'n1')] })
  desk.batch(gpus('n1', at(0)))
  desk.batch(gpus('n1', at(5), { 'gpu-n1-0': { [MARGIN]: 1 } }))
  const rows = desk.bytes.length
  desk.batch(gpus('n1', at(4)))
  t.is(desk.bytes.length, rows)
  t.is(desk.endpoint('vllm-0').verdict, 'DO_NOT_ROUTE')
})

test('assess-health: an undecodable record is a dead letter and leaves every verdict as it was (D6)', (t) => {
  const desk = healthDesk({ endpoints: [endpointOn('vllm-0', 'n1')] })
  desk.batch(gpus('n1', at(0)))
  desk.raw(Buffer.from('nonsense'))
  desk.batch(gpus('n1', at(1)))
  t.deepEqual(desk.deadLetters, ['SLU_RECORD_UNDECODABLE'])
  t.is(desk.endpoint('vllm-0').verdict, 'ROUTE_OK')
})

test('assess-health: rows are rewritten every 30 s with a later expiry and the verdict unchanged (R10)', (t) => {
  const desk = healthDesk({ endpoints: [endpointOn('vllm-0', 'n1')], expectedPeriodMs: {} })
  desk.batch(gpus('n1', at(0)))
  desk.tick(at(1))
  const { expiresMs } = desk.endpoint('vllm-0')
  desk.tick(at(30))
  t.is(desk.endpoint('vllm-0').expiresMs, expiresMs, 'not before its time')
  desk.tick(at(31))
  t.is(desk.endpoint('vllm-0').expiresMs, expiresMs + 30_000)
})

test('assess-health: a device not heard of for long enough gets a tombstone and takes its endpoint row along', (t) => {
  const desk = healthDesk({ endpoints: [endpointOn('vllm-0', 'n1')], expectedPeriodMs: {} })
  desk.batch(gpus('n1', at(0)))
  desk.tick(at(604_801))
  t.is(desk.devices.get('gpu-n1-0'), null)
  t.is(desk.endpoints.get('vllm-0/0'), null)
})

interface Step {
  readonly node: 'n1' | 'n2'
  readonly xid: number
  readonly margin: number
  readonly hot: boolean
}
const steps = fc.array(
  fc.record({ node: fc.constantFrom('n1' as const, 'n2' as const), xid: fc.constantFrom(0, 79, 48, 31, 999), margin: fc.constantFrom(40, 1), hot: fc.boolean() }),
  { minLength: 1, maxLength: 40 },
)
const ENDPOINTS = [endpointOn('vllm-0', 'n1'), endpointOn('vllm-1', 'n2'), endpointOn('vllm-2', 'n3')]
const feed = (desk: HealthDesk, list: readonly Step[], from: number): void =>
  list.forEach((s, i) => {
    const change = { [XID]: s.xid, [MARGIN]: s.margin, 'sluice.gpu.throttle_reasons': s.hot ? 64 : 0 }
    desk.batch(gpus(s.node, at((from + i) * 7), { [`gpu-${s.node}-0`]: change }), { offset: from + i })
  })

test('assess-health: a replay of the same prefix gives the same rows byte for byte', (t) => {
  fc.assert(
    fc.property(steps, (list) => {
      const [first, second] = [healthDesk({ endpoints: ENDPOINTS }), healthDesk({ endpoints: ENDPOINTS })]
      feed(first, list, 0)
      feed(second, list, 0)
      t.deepEqual(second.bytes, first.bytes)
    }),
    { numRuns: 50 },
  )
})

test('assess-health: a partition restored from device.health goes on as if it had never stopped (C8)', (t) => {
  fc.assert(
    fc.property(steps, steps, (before, after) => {
      // Without periods: silence is counted anew after a restart on purpose (H4).
      const steady = healthDesk({ endpoints: ENDPOINTS, expectedPeriodMs: {} })
      feed(steady, before, 0)
      const restored = healthDesk({ endpoints: ENDPOINTS, expectedPeriodMs: {}, rows: steady.rows, nextOffset: before.length })
      steady.bytes.length = 0
      feed(steady, after, before.length)
      feed(restored, after, before.length)
      const deviceRows = (desk: HealthDesk): string[] => desk.bytes.filter((line) => !line.startsWith('pool.health'))
      t.deepEqual(deviceRows(restored), deviceRows(steady))
      // Holds of a node not heard of lately end on the tick: both look at the same time.
      for (const desk of [steady, restored]) desk.tick(at((before.length + after.length - 1) * 7))
      for (const [key, row] of steady.endpoints) t.like(restored.endpoints.get(key), { verdict: row?.verdict, weight: row?.weight })
    }),
    { numRuns: 50 },
  )
})

test('assess-health: rows of another partition are never restored here', (t) => {
  const there = healthDesk({ partition: 1 })
  there.batch(gpus('n1', at(0), { 'gpu-n1-0': { [MARGIN]: 1 } }))
  const here = healthDesk({ rows: there.rows, endpoints: [endpointOn('vllm-0', 'n1')] })
  here.tick(at(1))
  t.is(here.endpoints.size, 0)
})

test('assess-health: a row that another partition wrote takes its device away here, and is not even decoded', (t) => {
  const here = healthDesk()
  here.batch(gpus('n1', at(0), { 'gpu-n1-0': { [MARGIN]: 1 } }))
  const known = here.rows.filter((row) => row.key?.toString() === 'gpu-n1-0').at(-1) as (typeof here.rows)[number]
  const elsewhere = { ...known, value: Buffer.from('not ours to read'), headers: [['sluice.source.partition', Buffer.from('1')] as const] }
  const restored = healthDesk({ rows: [...here.rows, elsewhere], endpoints: [endpointOn('vllm-0', 'n1', 1)], nextOffset: 1 })
  restored.tick(at(1))
  t.is(restored.endpoints.get('vllm-0/0'), undefined, 'it stands on a device of another partition')
  const without = healthDesk({ rows: here.rows, endpoints: [endpointOn('vllm-0', 'n1', 1)], nextOffset: 1 })
  without.tick(at(1))
  t.truthy(without.endpoints.get('vllm-0/0'))
})

test('assess-health: the definition declares what it writes', (t) => {
  const definition = assessHealth({ site: 'hall-1', rules: healthRules(), endpoints: [], expectedPeriodMs: {} })
  t.is(definition.stateTopic, 'device.health')
  t.deepEqual([...definition.outputs].sort(), ['device.health', 'hardware.health', 'pool.health'])
})
