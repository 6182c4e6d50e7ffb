import test from 'ava'
import { createBreaker } from '../../../functions/route-inference/breaker.ts'

test('breaker: five failures in a row open it for 5 s, a failed probe for 10 s, two successes close it (R5)', (t) => {
  const breaker = createBreaker()
  for (let i = 0; i < 5; i++) breaker.begin(0)('failure', 0)
  t.true(breaker.isOpen(4999))
  t.false(breaker.isOpen(5000))
  const probe = breaker.begin(5000)
  t.true(breaker.isOpen(5000), 'a second probe went through')
  probe('failure', 5000)
  t.is(breaker.opensAtMs(5000), 15_000)
  breaker.begin(15_000)('success', 15_000)
  breaker.begin(15_000)('success', 15_000)
  breaker.begin(15_000)('failure', 15_000)
  t.false(breaker.isOpen(15_000), 'one failure after closing opened it')
})

test('breaker: a neutral ending releases the probe and is never counted (R5)', (t) => {
  const breaker = createBreaker()
  for (let i = 0; i < 50; i++) breaker.begin(0)('neutral', 0)
  t.false(breaker.isOpen(0))
  for (let i = 0; i < 5; i++) breaker.begin(0)('failure', 0)
  breaker.begin(5000)('neutral', 5000)
  t.false(breaker.isOpen(5000))
})

test('breaker: more than half of twenty failures opens it, half does not (R5)', (t) => {
  const breaker = createBreaker()
  for (let i = 0; i < 20; i++) breaker.begin(i)(i % 2 === 0 ? 'failure' : 'success', i)
  t.false(breaker.isOpen(20))
  breaker.begin(21)('failure', 21)
  t.true(breaker.isOpen(22))
})

test('breaker: what is noted later counts as the call it was, and a neutral ending before it counts nothing', (t) => {
  const breaker = createBreaker()
  for (let i = 0; i < 5; i++) {
    breaker.begin(i)('neutral', i)
    t.false(breaker.isOpen(i))
    breaker.note('failure', i)
  }
  t.true(breaker.isOpen(5))
  breaker.note('failure', 6)
  t.is(breaker.opensAtMs(6), 4 + 5000, 'a late note made an open breaker wait longer')
  breaker.begin(6000)('neutral', 6000)
  breaker.note('success', 6000)
  breaker.begin(6001)('success', 6001)
  for (let i = 0; i < 4; i++) breaker.note('failure', 6002)
  t.false(breaker.isOpen(6003))
})

const opened = (atMs = 0) => {
  const breaker = createBreaker()
  for (let i = 0; i < 5; i++) breaker.begin(atMs)('failure', atMs)
  return breaker
}

test('breaker: four failures in a row do not open it; it says when it opens, and nothing once that time has come (R5)', (t) => {
  const breaker = createBreaker()
  t.is(breaker.opensAtMs(-1), null, 'closed')
  for (let i = 0; i < 4; i++) breaker.begin(0)('failure', 0)
  t.false(breaker.isOpen(0))
  breaker.begin(0)('failure', 0)
  t.is(breaker.opensAtMs(4999), 5000)
  t.is(breaker.opensAtMs(5000), null)
  t.is(breaker.opensAtMs(6000), null)
})

test('breaker: the twentieth call can open it by share, the nineteenth cannot; calls count for 30 s (R5)', (t) => {
  // Eleven failures of twenty, never five in a row.
  const endings = ['failure', 'failure', ...Array.from({ length: 9 }, () => ['success', 'failure'] as const).flat()] as const
  t.is(endings.length, 20)
  const after = (lastMs: number) => {
    const breaker = createBreaker()
    endings.slice(0, 19).forEach((ending) => breaker.begin(0)(ending, 0))
    t.false(breaker.isOpen(0))
    breaker.begin(lastMs)(endings[19] as 'failure', lastMs)
    return breaker.isOpen(lastMs)
  }
  t.true(after(29_999))
  t.false(after(30_000))
})

test('breaker: it waits 5, 10, 20, 40 s, then 60 s for ever (R5)', (t) => {
  const breaker = opened()
  const waits: number[] = []
  let nowMs = 5000
  for (let i = 0; i < 6; i++) {
    breaker.begin(nowMs)('failure', nowMs)
    const until = breaker.opensAtMs(nowMs) ?? 0
    waits.push(until - nowMs)
    nowMs = until
  }
  t.deepEqual(waits, [10_000, 20_000, 40_000, 60_000, 60_000, 60_000])
})

test('breaker: half-open, one success does not close it and neutral endings never do; a failure then opens it again (R5)', (t) => {
  for (const ending of ['success', 'neutral', 'neutral neutral neutral'] as const) {
    const breaker = opened()
    for (const one of ending.split(' ')) breaker.begin(5000)(one as 'success' | 'neutral', 5000)
    breaker.begin(5000)('failure', 5000)
    t.is(breaker.opensAtMs(5000), 15_000, ending)
  }
})
