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
