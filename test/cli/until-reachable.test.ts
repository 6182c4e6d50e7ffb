import test from 'ava'
import { untilReachable } from '../../cli/until-reachable.ts'
import { SluiceError, type ErrorCode } from '../../schemas/errors.ts'
import { createVirtualClock } from '../fakes/virtual-clock.ts'

/** `answers` = what the tries meet, the last one for ever; null = the log answers. */
function waiting(boundMs: number, ...answers: (ErrorCode | null)[]) {
  const clock = createVirtualClock()
  const ending = new AbortController()
  const told: string[] = []
  const state = { asked: 0, is: 'waiting' }
  const ask = async (): Promise<void> => {
    const code = answers[Math.min(state.asked++, answers.length - 1)]
    if (code != null) throw new SluiceError(code, 'kafka-1:9092')
  }
  const over = untilReachable({ ask, boundMs, signal: ending.signal, clock, steadyMs: () => clock.nowMs(), tell: (line) => told.push(line) }).then(
    () => (state.is = 'answered'),
    (error: SluiceError) => (state.is = error.code),
  )
  return { clock, ending, told, state, over }
}

test('until reachable: a log that comes back within the bound is waited for, and what is waited for is told', async (t) => {
  const w = waiting(60_000, ...Array.from({ length: 20 }, () => 'SLU_LOG_UNREACHABLE' as const), null)
  await w.clock.advance(30_000)
  t.is(w.state.is, 'answered')
  t.deepEqual([w.state.asked, w.told.length], [21, 2])
  t.regex(w.told[0] ?? '', /^SLU_LOG_UNREACHABLE: no broker answered: kafka-1:9092: waiting for it, at most 1m 0s more \(log\.kafka\.startWaitMs\)$/)
  t.regex(w.told[1] ?? '', /at most 50\.0 s more/)
})

test('until reachable: past the bound the start ends with what the last try met, never without end', async (t) => {
  const w = waiting(20_000, 'SLU_LOG_UNREACHABLE', 'SLU_LOG_CLOSED')
  await w.clock.advance(19_000)
  t.is(w.state.is, 'waiting')
  await w.clock.advance(2000)
  t.is(w.state.is, 'SLU_LOG_CLOSED')
  t.deepEqual(
    w.told.map((line) => line.split(':')[0]),
    ['SLU_LOG_UNREACHABLE', 'SLU_LOG_CLOSED', 'SLU_LOG_CLOSED'],
  )
})

test('until reachable: what waiting does not mend, and a bound of 0, end at the first try', async (t) => {
  for (const code of ['SLU_LOG_AUTH', 'SLU_LOG_LISTENER', 'SLU_LOG_CERTIFICATE', 'SLU_LOG_FORBIDDEN', 'SLU_LOG_FAILED'] as const) {
    const w = waiting(60_000, code)
    await w.over
    t.deepEqual([w.state.is, w.state.asked, w.told], [code, 1, []])
  }
  const none = waiting(0, 'SLU_LOG_UNREACHABLE')
  await none.over
  t.deepEqual([none.state.is, none.state.asked, none.told], ['SLU_LOG_UNREACHABLE', 1, []])
})

test('until reachable: a process that is asked to end while it waits ends at once', async (t) => {
  const w = waiting(60_000, 'SLU_LOG_UNREACHABLE')
  await w.clock.advance(500)
  w.ending.abort()
  await w.over
  t.deepEqual([w.state.is, w.clock.timers()], ['SLU_LOG_UNREACHABLE', 0])
})
