import test from 'ava'
import fc from 'fast-check'
import { newDevice } from '../../../functions/assess-health/device-state.ts'
import { endRule, expireRules, holdRule, isInForce, raiseRule } from '../../../functions/assess-health/hysteresis.ts'
import { gpus, healthDesk, START_MS } from '../../helpers/health-desk.ts'

const HOLD = { baseMs: 120_000, capMs: 14_400_000, forgetMs: 86_400_000 }
const raise = (atMs: number) => ({ ruleId: 'r', ruleVersion: 1, verdict: 'DO_NOT_ROUTE' as const, codes: [], atMs, isOccurrence: true })

test('hysteresis: a healthy sign never clears at once; the hold doubles with each recurrence up to the cap (H1)', (t) => {
  const device = newDevice('gpu-1', 'n1', null, 0)
  const holds: number[] = []
  let nowMs = 0
  for (let n = 0; n < 10; n++) {
    t.true(raiseRule(device, raise(nowMs), HOLD))
    const rule = device.rules.get('r')
    if (rule === undefined) throw new Error('no rule')
    holdRule(device, rule, nowMs, HOLD)
    holds.push(rule.holdUntilMs - nowMs)
    t.deepEqual(expireRules(device, rule.holdUntilMs - 1, HOLD), [])
    nowMs = rule.holdUntilMs
    t.is(expireRules(device, nowMs, HOLD).length, 1)
    t.false(isInForce(rule))
  }
  t.deepEqual(holds.slice(0, 4), [120_000, 240_000, 480_000, 960_000])
  t.is(Math.max(...holds), HOLD.capMs)
})

test('hysteresis: a recurrence within the hold is no new verdict (H1)', (t) => {
  const device = newDevice('gpu-1', 'n1', null, 0)
  raiseRule(device, raise(0), HOLD)
  const rule = device.rules.get('r')
  if (rule === undefined) throw new Error('no rule')
  holdRule(device, rule, 10, HOLD)
  t.false(raiseRule(device, raise(20), HOLD))
  t.is(rule.holdUntilMs, 0)
  t.is(rule.occurrences, 2)
})

test('hysteresis: an ended rule is forgotten only after forgetMs', (t) => {
  const device = newDevice('gpu-1', 'n1', null, 0)
  raiseRule(device, raise(0), HOLD)
  const rule = device.rules.get('r')
  if (rule === undefined) throw new Error('no rule')
  endRule(device, rule, 5)
  expireRules(device, HOLD.forgetMs, HOLD)
  t.true(device.rules.has('r'))
  expireRules(device, HOLD.forgetMs + 1, HOLD)
  t.false(device.rules.has('r'))
})

test('hysteresis: a signal that flaps 720 times in 6 h is one verdict, not 360 (H1)', (t) => {
  const desk = healthDesk()
  for (let i = 0; i <= 720; i++) desk.batch(gpus('n1', START_MS + i * 30_000, { 'gpu-n1-0': { 'sluice.gpu.thermal_margin': i % 2 === 1 ? 1 : 40 } }))
  t.is(desk.events.filter((e) => !e.isHealthy).length, 1)
  t.is(desk.events.filter((e) => e.isHealthy).length, 0)
})

test('hysteresis: any flapping changes the verdict fewer times than the hold allows (H1)', (t) => {
  fc.assert(
    fc.property(fc.array(fc.record({ bad: fc.boolean(), gapMs: fc.integer({ min: 1000, max: 300_000 }) }), { minLength: 50, maxLength: 200 }), (toggles) => {
      const desk = healthDesk({ expectedPeriodMs: {} })
      let nowMs = START_MS
      for (const { bad, gapMs } of toggles) desk.batch(gpus('n1', (nowMs += gapMs), { 'gpu-n1-0': { 'sluice.gpu.thermal_margin': bad ? 1 : 40 } }))
      const raised = desk.events.filter((e) => !e.isHealthy).length
      // The n-th hold lasts at least 2 min x 2^(n-1), so n verdicts need that much time in all.
      const passedMs = nowMs - START_MS
      t.true(raised <= 1 + Math.floor(Math.log2(passedMs / HOLD.baseMs + 1)) + Math.ceil(passedMs / HOLD.capMs), `${raised} in ${passedMs} ms`)
    }),
    { numRuns: 40 },
  )
})

test('hysteresis: a recurrence counts while the last one is no older than forgetMs, and begins anew beyond (H1)', (t) => {
  const again = (afterMs: number): number | undefined => {
    const device = newDevice('gpu-1', 'n1', null, 0)
    raiseRule(device, raise(0), HOLD)
    endRule(device, device.rules.get('r') as NonNullable<ReturnType<typeof device.rules.get>>, 5)
    raiseRule(device, raise(afterMs), HOLD)
    return device.rules.get('r')?.occurrences
  }
  t.is(again(HOLD.forgetMs), 2)
  t.is(again(HOLD.forgetMs + 1), 1)
})

test('hysteresis: within the hold a worse verdict is a change, a milder one is none; what comes late moves no time back (H1)', (t) => {
  const held = (first: 'DEPRIORITISE' | 'DRAIN') => {
    const device = newDevice('gpu-1', 'n1', null, 0)
    raiseRule(device, { ...raise(100), verdict: first }, HOLD)
    const rule = device.rules.get('r') as NonNullable<ReturnType<typeof device.rules.get>>
    holdRule(device, rule, 110, HOLD)
    return { device, rule }
  }
  const mild = held('DEPRIORITISE')
  t.true(raiseRule(mild.device, raise(120), HOLD))
  t.is(mild.rule.verdict, 'DO_NOT_ROUTE')
  const hard = held('DRAIN')
  t.false(raiseRule(hard.device, raise(50), HOLD))
  t.like(hard.rule, { verdict: 'DRAIN', lastRaisedMs: 100, sinceMs: 100 })
})

test('hysteresis: a rule that is ended keeps the later of its hold and its end', (t) => {
  for (const [holdAtMs, endAtMs, expected] of [
    [null, 5, 5],
    [10, 20, 120_010],
    [10, 200_000, 200_000],
  ] as const) {
    const device = newDevice('gpu-1', 'n1', null, 0)
    raiseRule(device, raise(0), HOLD)
    const rule = device.rules.get('r') as NonNullable<ReturnType<typeof device.rules.get>>
    if (holdAtMs !== null) holdRule(device, rule, holdAtMs, HOLD)
    endRule(device, rule, endAtMs)
    t.is(rule.holdUntilMs, expected)
    t.false(isInForce(rule))
  }
})
