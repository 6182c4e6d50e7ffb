import test from 'ava'
import { systemClock, systemRandom } from '../../infra/clock.ts'

test('clock: a timer fires once and not before its time; a cancelled one never', async (t) => {
  let cancelled = 0
  const cancel = systemClock.setTimer(5, () => cancelled++)
  cancel()
  const from = performance.now()
  await new Promise<void>((resolve) => systemClock.setTimer(20, resolve))
  t.true(performance.now() - from >= 18)
  t.is(cancelled, 0)
  t.true(Math.abs(systemClock.nowMs() - Date.now()) < 1000)
})

test('clock: a timer beyond 24 days never fires at once, and can be cancelled', async (t) => {
  let fired = 0
  const cancels = [2 ** 31, 2 ** 31 + 5, 1e15].map((delayMs) => systemClock.setTimer(delayMs, () => fired++))
  await new Promise<void>((resolve) => systemClock.setTimer(20, resolve))
  for (const cancel of cancels) cancel()
  t.is(fired, 0)
})

test('random: values stay in [0, 1)', (t) => {
  for (let i = 0; i < 1000; i++) {
    const x = systemRandom()
    t.true(x >= 0 && x < 1)
  }
})
