import test from 'ava'
import fc from 'fast-check'
import { SluiceError } from '../../schemas/errors.ts'
import { outcomeOf, retryDelayMs, sleep } from '../../streams/retry.ts'

const policy = { attemptsMax: 5, baseMs: 100, capMs: 10_000 }

test('retry: the delay lies between 1 ms and the capped exponential, never above it (D1)', (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 10_000 }), fc.double({ min: 0, max: 0.999999, noNaN: true }), (attempt, random) => {
      const delayMs = retryDelayMs(attempt, policy, () => random)
      t.true(delayMs >= 1 && delayMs <= Math.min(policy.capMs, policy.baseMs * 2 ** (attempt - 1)))
    }),
  )
})

test('retry: full jitter uses the whole range, not the top of it (D1)', (t) => {
  t.is(
    retryDelayMs(3, policy, () => 0),
    1,
  )
  t.is(
    retryDelayMs(3, policy, () => 0.5),
    200,
  )
})

test('retry: the disposition of the table decides, and a foreign error is the handler’s, never a crash (D1, D6)', (t) => {
  const action = (thrown: unknown): string => outcomeOf(thrown, 'SLU_HANDLER_FAILED').action
  t.is(action(new SluiceError('SLU_HANDLER_TIMEOUT', '')), 'retry')
  t.is(action(new SluiceError('SLU_RECORD_REFUSED', '')), 'park')
  t.is(action(new SluiceError('SLU_ROUTE_INVALID', '')), 'park')
  t.is(action(new SluiceError('SLU_EGRESS_HOLD', '')), 'hold')
  t.is(action(new SluiceError('SLU_LEDGER_UNWRITABLE', '')), 'fatal')
  t.is(action(new TypeError('x')), 'park')
  t.is(outcomeOf(Object.create(null), 'SLU_RECORD_UNDECODABLE').error.code, 'SLU_RECORD_UNDECODABLE')
  t.is(outcomeOf(new SluiceError('SLU_INTERNAL', 'cannot encode'), 'SLU_HANDLER_FAILED').error.code, 'SLU_HANDLER_FAILED')
})

test('sleep: an abort wakes it at once and takes its timer back', async (t) => {
  const abort = new AbortController()
  let taken = 0
  const slept = sleep({ nowMs: () => 0, setTimer: () => () => taken++ }, 1000, abort.signal)
  abort.abort()
  await slept
  t.is(taken, 1)
})
