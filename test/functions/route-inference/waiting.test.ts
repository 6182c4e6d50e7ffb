import test from 'ava'
import { createWaiting } from '../../../functions/route-inference/waiting.ts'
import { createVirtualClock } from '../../fakes/virtual-clock.ts'

test('waiting: the earliest deadline is served first, and one free place never goes to two (R8)', async (t) => {
  const clock = createVirtualClock(0)
  const waiting = createWaiting(clock)
  let free = 0
  const take = () => (free > 0 ? { value: free-- } : ('none-left' as const))
  const { signal } = new AbortController()
  const order: string[] = []
  const wait = (name: string, deadlineMs: number): Promise<unknown> =>
    waiting.wait({ deadlineMs, tenant: 'x', kind: 'k', signal, take }).then((e) => order.push(`${name} ${e.kind}`))
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
  const ended = waiting.wait({ deadlineMs: 100, tenant: 'x', kind: 'k', signal: abort.signal, take: () => t.fail() as never })
  abort.abort()
  waiting.offer()
  t.deepEqual(await ended, { kind: 'aborted' })
  t.is(clock.timers(), 0)
})

test('waiting: when nothing is left for a kind, only one of it is asked; other kinds, and who is kept by its own deadline, are not passed over', async (t) => {
  const clock = createVirtualClock(0)
  const waiting = createWaiting(clock)
  const { signal } = new AbortController()
  const asked: string[] = []
  const wait = (name: string, kind: string, deadlineMs: number, answer: () => { value: string } | 'not-me' | 'none-left'): Promise<unknown> => {
    const take = () => {
      asked.push(name)
      return answer()
    }
    return waiting.wait({ deadlineMs, tenant: 'x', kind, signal, take })
  }
  const none = () => 'none-left' as const
  const all = [
    wait('a1', 'a', 100, none),
    wait('a2', 'a', 200, none),
    wait('b1', 'b', 300, () => 'not-me'),
    wait('b2', 'b', 400, () => ({ value: 'b2' })),
    wait('b3', 'b', 500, none),
    wait('b4', 'b', 600, none),
  ]
  waiting.offer()
  t.deepEqual(asked, ['a1', 'b1', 'b2', 'b3'])
  t.is(waiting.depth(), 5)
  await clock.advance(600)
  await Promise.all(all)
})

test('waiting: who left while others were asked is not asked any more, so that what it would take is not lost', async (t) => {
  const waiting = createWaiting(createVirtualClock(0))
  const leaving = new AbortController()
  const first = waiting.wait({ deadlineMs: 100, tenant: 'x', kind: 'a', signal: new AbortController().signal, take: () => (leaving.abort(), { value: 1 }) })
  const second = waiting.wait({ deadlineMs: 200, tenant: 'x', kind: 'b', signal: leaving.signal, take: () => t.fail() as never })
  waiting.offer()
  t.deepEqual(await Promise.all([first, second]), [{ kind: 'taken', value: 1 }, { kind: 'aborted' }])
})
