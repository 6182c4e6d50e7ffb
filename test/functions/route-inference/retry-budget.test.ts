import test from 'ava'
import { createRetryBudget } from '../../../functions/route-inference/retry-budget.ts'

test('retry budget: three per 10 s with little load, 20 % with much, never more (R4)', (t) => {
  const budget = createRetryBudget()
  t.deepEqual(
    [1, 2, 3, 4].map(() => budget.take(0)),
    [true, true, true, false],
  )
  t.true(budget.take(10_000), 'old retries were still counted')
  for (let i = 0; i < 100; i++) budget.sent(30_000)
  t.is(Array.from({ length: 50 }, () => budget.take(30_001)).filter(Boolean).length, 20)
})

test('retry budget: a retry counts for ten seconds, and not a millisecond more (R4)', (t) => {
  const full = () => {
    const budget = createRetryBudget()
    for (let i = 0; i < 3; i++) budget.take(0)
    return budget
  }
  t.false(full().take(9999))
  t.true(full().take(10_000))
})

test('retry budget: a fifth of what was sent, rounded down, once that is more than three (R4)', (t) => {
  const granted = (sent: number): number => {
    const budget = createRetryBudget()
    for (let i = 0; i < sent; i++) budget.sent(0)
    return Array.from({ length: 20 }, () => budget.take(1)).filter(Boolean).length
  }
  t.deepEqual([0, 15, 19, 20, 24, 25].map(granted), [3, 3, 3, 4, 4, 5])
})
