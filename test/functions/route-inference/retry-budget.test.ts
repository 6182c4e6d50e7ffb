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
