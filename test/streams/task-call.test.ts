import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { createTaskCall } from '../../streams/task-call.ts'
import { createVirtualClock } from '../fakes/virtual-clock.ts'

const never = (): Promise<never> => new Promise(() => undefined)
const cancelled = new SluiceError('SLU_ROUTE_CANCELLED', 'r-1')
const gone = new SluiceError('SLU_LOG_STALE_EPOCH', 'p')

test('task call: what the handler answers or throws ends it, and nothing is left to fire (T1)', async (t) => {
  const clock = createVirtualClock()
  t.deepEqual(await createTaskCall(clock, 100).run(() => Promise.resolve([])), [])
  await t.throwsAsync(
    createTaskCall(clock, 100).run(() => Promise.reject(new Error('its own'))),
    { message: 'its own' },
  )
  await t.throwsAsync(
    createTaskCall(clock, 100).run(() => {
      throw new Error('at once')
    }),
    { message: 'at once' },
  )
  t.is(clock.timers(), 0)
})

test('task call: at its deadline the signal says so, and a handler that answers in the moment after is heard (T1)', async (t) => {
  const clock = createVirtualClock()
  const call = createTaskCall(clock, 100)
  let answer: (emits: []) => void = () => {}
  const answered = call.run(() => new Promise((resolve) => (answer = resolve)))
  await clock.advance(99)
  t.false(call.signal.aborted)
  await clock.advance(1)
  t.is((call.signal.reason as SluiceError).code, 'SLU_HANDLER_TIMEOUT')
  answer([])
  t.deepEqual(await answered, [])
  t.is(clock.timers(), 0)
})

test('task call: a handler that ignores its abort is given up after a second, with the first reason (T1, D6)', async (t) => {
  const clock = createVirtualClock()
  const call = createTaskCall(clock, 100)
  const answered = call.run(never)
  call.cancel(cancelled)
  call.cancel(gone)
  t.is(call.signal.reason, cancelled)
  const failed = t.throwsAsync(answered, { is: cancelled })
  await clock.advance(999)
  t.is(clock.timers(), 1)
  await clock.advance(1)
  await failed
  t.is(clock.timers(), 0)
})

test('task call: whose partition is gone is given up at once; a cancel before it runs counts (C3, R1)', async (t) => {
  const clock = createVirtualClock()
  const call = createTaskCall(clock, 100)
  call.cancel(gone, true)
  t.true(call.signal.aborted)
  const failed = t.throwsAsync(call.run(never), { is: gone })
  await clock.advance(0)
  await failed
})

test('task call: cancelled before its partition went, it is given up at once too, with the first reason (C3)', async (t) => {
  const clock = createVirtualClock()
  const call = createTaskCall(clock, 100)
  const failed = t.throwsAsync(call.run(never), { is: cancelled })
  call.cancel(cancelled)
  call.cancel(gone, true)
  await clock.advance(0)
  await failed
  t.is(clock.timers(), 0)
})

test('task call: what an aborted handler throws is the reason’s, in words of ours (T1)', async (t) => {
  const clock = createVirtualClock()
  const call = createTaskCall(clock, 100)
  const answered = call.run(() => new Promise((_, reject) => call.signal.addEventListener('abort', () => reject(new Error('aborted')))))
  call.cancel(cancelled)
  await t.throwsAsync(answered, { message: /SLU_HANDLER_TIMEOUT/ })
})

test('task call: cancelled when it is over, nothing is told', async (t) => {
  const clock = createVirtualClock()
  const call = createTaskCall(clock, 100)
  await call.run(() => Promise.resolve([]))
  call.cancel(cancelled)
  t.false(call.signal.aborted)
  t.is(clock.timers(), 0)
})
