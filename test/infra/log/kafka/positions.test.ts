import test from 'ava'
import { Positions } from '../../../../infra/log/kafka/positions.ts'

const tp = (partition: number) => ({ topic: 't', partition })
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

test('positions: what is paused, held or resting is not wanted; a pause may come first, and ends with its partition', (t) => {
  const positions = new Positions()
  positions.pause(tp(0))
  for (const partition of [0, 1, 2, 3]) positions.add(tp(partition), 5n, 100)
  Object.assign(positions.get(tp(1)) ?? {}, { isHeld: true })
  const rest = setTimeout(() => t.fail('the rest of a partition that was removed'), 5)
  Object.assign(positions.get(tp(2)) ?? {}, { rest })
  t.deepEqual(
    positions.wanted().map((p) => p.partition),
    [3],
  )
  positions.resume(tp(0))
  t.deepEqual(
    positions.wanted().map((p) => p.partition),
    [0, 3],
  )
  positions.pause(tp(0))
  positions.remove(tp(0))
  positions.add(tp(0), 0n, 100)
  t.true(positions.wanted().some((p) => p.partition === 0))
  positions.clear()
  t.deepEqual(positions.all(), [])
})

test('positions: one that is added anew is another one, and still paused (C4, C6)', (t) => {
  const positions = new Positions()
  positions.add(tp(0), 5n, 100)
  positions.pause(tp(0))
  const before = positions.get(tp(0))
  positions.add(tp(0), 7n, 100)
  t.not(positions.get(tp(0)), before)
  t.is(positions.get(tp(0))?.next, 7n)
  t.deepEqual(positions.wanted(), [])
})

test('positions: the shortest pause is that of what is paused now, as long as it was the time before (B6)', async (t) => {
  const positions = new Positions()
  for (const partition of [0, 1]) positions.add(tp(partition), 0n, 100)
  t.is(positions.shortestPauseMs(), null)
  positions.pause(tp(0))
  await wait(60)
  positions.resume(tp(0))
  t.is(positions.shortestPauseMs(), null)
  positions.pause(tp(0))
  const again = positions.shortestPauseMs() ?? 0
  t.true(again >= 55, `${again} ms`)
  // One that was never paused before may go on at any moment.
  positions.pause(tp(1))
  t.true((positions.shortestPauseMs() ?? NaN) < again)
})
