import test from 'ava'
import { createWaiting } from '../../../functions/route-inference/waiting.ts'
import { createVirtualClock } from '../../fakes/virtual-clock.ts'

test('waiting: the earliest deadline is served first, and one free place never goes to two (R8)', async (t) => {
  const clock = createVirtualClock(0)
  const waiting = createWaiting(clock)
  let free = 0
  const take = (): number | null => (free > 0 ? free-- : null)
  const { signal } = new AbortController()
  const order: string[] = []
  const wait = (name: string, deadlineMs: number): Promise<unknown> => waiting.wait({ deadlineMs, tenant: 'x', signal, take }).then((e) => order.push(`${name} ${e.kind}`))
  const all = [wait('late', 200), wait('early', 100)]
  t.is(waiting.ofTenant('x'), 2)
  free = 1
  waiting.offer()
  await clock.advance(200)
  await Promise.all(all)
  t.deepEqual(order, ['early taken', 'late deadline'])
  t.is(waiting.depth() + waiting.ofTenant('x') + clock.timers(), 0)
})

test('waiting: an aborted waiter leaves at once and takes nothing', async (t) => {
  const clock = createVirtualClock(0)
  const waiting = createWaiting(clock)
  const abort = new AbortController()
  const ended = waiting.wait({ deadlineMs: 100, tenant: 'x', signal: abort.signal, take: () => t.fail() as never })
  abort.abort()
  waiting.offer()
  t.deepEqual(await ended, { kind: 'aborted' })
  t.is(clock.timers(), 0)
})
