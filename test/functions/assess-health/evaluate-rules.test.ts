import test from 'ava'
import { holds } from '../../../functions/assess-health/evaluate-rules.ts'
import { endpointOn, gpus, healthDesk, START_MS } from '../../helpers/health-desk.ts'

const at = (s: number): number => START_MS + s * 1000
const gpu = 'gpu-n1-0'
const XID = 'sluice.gpu.xid'
const one = (s: number, change: Record<string, number>) => gpus('n1', at(s), { [gpu]: change }, 1)
const verdicts = (desk: ReturnType<typeof healthDesk>) => desk.events.map((e) => [e.ruleId, e.verdict])

test('evaluate-rules: a sticky gauge that stays at its code is raised once, never at every scrape (H1)', (t) => {
  const desk = healthDesk()
  desk.batch(one(0, {}))
  for (let s = 1; s < 20; s++) desk.batch(one(s, { [XID]: 48 }))
  t.deepEqual(verdicts(desk), [['xid-fatal', 'DO_NOT_ROUTE']])
})

test('evaluate-rules: a fatal code at first sight is DEPRIORITISE, never DRAIN; a recovery action of 0 says it is over', (t) => {
  const desk = healthDesk({ expectedPeriodMs: {} })
  desk.batch(one(0, { [XID]: 79, 'sluice.gpu.recovery_action': Number.NaN }))
  t.deepEqual(verdicts(desk), [['xid-79', 'DEPRIORITISE']])
  t.is(desk.devices.get(gpu)?.weight, 0.3)
  desk.batch(one(1, { [XID]: 79 }))
  t.is(desk.devices.get(gpu)?.verdict, 'DEPRIORITISE', 'the hold is not over')
  desk.tick(at(122))
  t.is(desk.devices.get(gpu)?.verdict, 'ROUTE_OK')
})

test('evaluate-rules: a code that is there at first sight beside recovery action 0 changes nothing', (t) => {
  const desk = healthDesk()
  desk.batch(one(0, { [XID]: 79 }))
  t.deepEqual(desk.events, [])
})

test('evaluate-rules: XID 154 right after 79 never hides it', (t) => {
  const desk = healthDesk()
  desk.batch(one(0, {}))
  desk.batch(one(1, { [XID]: 79 }))
  desk.batch(one(2, { [XID]: 154, 'sluice.gpu.recovery_action': 2 }))
  t.is(desk.devices.get(gpu)?.verdict, 'DRAIN')
  t.true(verdicts(desk).some(([rule]) => rule === 'xid-154'))
})

test('evaluate-rules: XID 79 ends only after a reset of the gauge and ten quiet minutes, never by time alone (H1)', (t) => {
  const desk = healthDesk({ expectedPeriodMs: {} })
  desk.batch(one(0, {}))
  desk.batch(one(1, { [XID]: 79 }))
  desk.batch(one(1000, { [XID]: 79 }))
  t.is(desk.devices.get(gpu)?.verdict, 'DRAIN')
  desk.batch(one(1001, { [XID]: 0 }))
  t.is(desk.devices.get(gpu)?.verdict, 'ROUTE_OK')
  t.like(desk.events.at(-1), { isHealthy: true, ruleId: 'xid-79' })
})

test('evaluate-rules: application codes are written down; only a repeated one deprioritises', (t) => {
  const desk = healthDesk()
  desk.batch(one(0, {}))
  desk.batch(one(1, { [XID]: 31 }))
  t.deepEqual(verdicts(desk), [['xid-31-repeated', 'ROUTE_OK']])
  desk.batch(one(2, { [XID]: 0 }))
  desk.batch(one(3, { [XID]: 31 }))
  t.is(desk.devices.get(gpu)?.verdict, 'DEPRIORITISE')
})

test('evaluate-rules: an unlisted code is recorded for a person and never changes routing', (t) => {
  const desk = healthDesk()
  desk.batch(one(0, {}))
  desk.batch(one(1, { [XID]: 999 }))
  t.like(desk.events[0], { ruleId: 'xid-unlisted', verdict: 'ROUTE_OK', recommendedAction: 'INVESTIGATE', codes: ['999'] })
})

test('evaluate-rules: a sliding count acts on rises only; a fall is never a reset that counts anew', (t) => {
  const desk = healthDesk()
  const count = (s: number, value: number | null): void =>
    desk.batch({
      ...one(s, {}),
      rows: [...one(s, {}).rows, ...(value === null ? [] : [{ device: gpu, metric: 'sluice.gpu.xid_count', attributes: { xid: '48' }, value }])],
    })
  count(0, null)
  count(1, 1)
  count(2, 1)
  count(3, null)
  t.is(desk.events.length, 1)
  t.is(desk.devices.get(gpu)?.activeRules[0]?.occurrences, 1)
  count(4, 1)
  t.is(desk.devices.get(gpu)?.activeRules[0]?.lastRaisedMs, at(4), 'gone from the window and back is a new one')
})

test('evaluate-rules: recovery action values map to their verdicts and an unknown one fails closed', (t) => {
  for (const [value, verdict] of [
    [0, 'ROUTE_OK'],
    [1, 'DO_NOT_ROUTE'],
    [2, 'DRAIN'],
    [3, 'DRAIN'],
    [4, 'DRAIN'],
    [77, 'DO_NOT_ROUTE'],
  ] as const) {
    const desk = healthDesk()
    desk.batch(one(0, { 'sluice.gpu.recovery_action': value }))
    t.is(desk.devices.get(gpu)?.verdict, verdict, String(value))
  }
})

test('evaluate-rules: only a rise of an uncorrectable counter counts; corrected ones and the first reading never do', (t) => {
  const desk = healthDesk()
  const ecc = (s: number, sram: number, hbm: number, corrected: number): void =>
    desk.batch({
      node: 't1',
      observedMs: at(s),
      source: 'neuron-monitor',
      pool: 'trainium-a',
      rows: [
        { device: 'neuron-0', metric: 'hw.errors', attributes: { 'error.type': 'uncorrected', memory: 'sram' }, value: sram },
        { device: 'neuron-0', metric: 'hw.errors', attributes: { 'error.type': 'uncorrected', memory: 'hbm' }, value: hbm },
        { device: 'neuron-0', metric: 'hw.errors', attributes: { 'error.type': 'corrected', memory: 'hbm' }, value: corrected },
      ],
    })
  ecc(0, 5, 0, 1)
  ecc(1, 5, 0, 9)
  t.deepEqual(desk.events, [])
  ecc(2, 6, 0, 9)
  t.deepEqual(verdicts(desk), [['neuron-sram-uncorrectable', 'DO_NOT_ROUTE']])
  ecc(3, 6, 1, 9)
  t.is(desk.devices.get('neuron-0')?.verdict, 'DRAIN')
})

test('evaluate-rules: heat lowers the weight by a tenth a window to the floor and raises it by half of that; it is never all or nothing', (t) => {
  const desk = healthDesk({ endpoints: [endpointOn('vllm-0', 'n1', 1)], expectedPeriodMs: {} })
  const weights: number[] = []
  for (let s = 0; s <= 24; s += 2) {
    desk.batch(one(s, { 'sluice.gpu.throttle_reasons': 0x40 }))
    weights.push(desk.endpoint('vllm-0').weight)
  }
  t.deepEqual(weights.slice(0, 4), [1, 0.9, 0.8, 0.7])
  t.is(Math.min(...weights), 0.1)
  desk.batch(one(26, {}))
  desk.batch(one(28, {}))
  t.is(desk.endpoint('vllm-0').weight, 0.15)
  t.is(desk.endpoint('vllm-0').verdict, 'DEPRIORITISE')
  for (let s = 30; s <= 80; s += 2) desk.batch(one(s, {}))
  t.like(desk.endpoint('vllm-0'), { verdict: 'ROUTE_OK', weight: 1 })
})

test('evaluate-rules: a power brake is not thermal', (t) => {
  const desk = healthDesk()
  for (let s = 0; s < 20; s += 2) desk.batch(one(s, { 'sluice.gpu.throttle_reasons': 0x80 }))
  t.deepEqual(desk.events, [])
})

test('evaluate-rules: conditions hold for exactly what they name', (t) => {
  t.true(holds({ equals: [2] }, 2))
  t.false(holds({ noneOf: [1] }, 0))
  t.true(holds({ noneOf: [1] }, 9))
  t.true(holds({ below: 2 }, 1.9))
  t.false(holds({ above: 85 }, 85))
  t.true(holds({ bits: 64 }, 0x41))
  t.false(holds({ bits: 64 }, -1))
  t.true(holds({ packed2: 1 }, 0b0100))
  t.false(holds({ packed2: 1 }, 0b1010))
})
