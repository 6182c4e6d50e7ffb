import test from 'ava'
import { executeFaults, faultSchedule, type Fault } from './faults.ts'
import type { Members } from './members.ts'

const counts = { memberKills: 24, brokerKills: 6, zombies: 4, cuts: 4 }

test('chaos faults: a seed makes the same schedule, with the counts asked for, all within the span', (t) => {
  const schedule = faultSchedule(9, 240_000, counts, 5000)
  t.deepEqual(schedule, faultSchedule(9, 240_000, counts, 5000))
  t.notDeepEqual(schedule, faultSchedule(10, 240_000, counts, 5000))
  const of = (kind: Fault['kind']): Fault[] => schedule.filter((f) => f.kind === kind)
  t.deepEqual([of('member').length, of('broker').length, of('zombie').length, of('cut').length], [24, 6, 4, 4])
  t.true(schedule.every((f) => f.atMs > 0 && f.atMs < 240_000))
  t.true(
    of('zombie').every((f) => f.forMs >= 10_000),
    'a zombie sleeps longer than its session',
  )
  t.deepEqual(new Set(of('cut').map((f) => f.how)), new Set(['reset', 'silence']))
})

test('chaos faults: only what was done is counted; a member that is down is not killed again, its neighbour is', async (t) => {
  const down = new Set(['a'])
  const done: string[] = []
  const members: Members = {
    names: ['a', 'b'],
    crashes: [],
    startRetries: () => 0,
    state: () => 'running',
    kill: (name) => {
      if (down.has(name)) return false
      done.push(`kill ${name}`)
      down.add(name)
      return true
    },
    freeze: (name) => {
      done.push(`freeze ${name}`)
      return true
    },
    thaw: (name) => done.push(`thaw ${name}`),
    stop: () => Promise.resolve(),
    abandon: () => Promise.resolve(),
  }
  const brokers = {
    count: 3,
    kill: (i: number) => Promise.resolve(void done.push(`kill broker ${i}`)),
    restart: (i: number) => Promise.resolve(void done.push(`restart broker ${i}`)),
    isWhole: () => Promise.resolve(true),
  }
  const fault = (kind: Fault['kind'], pick: number): Fault => ({ kind, atMs: 0, pick, forMs: 1, how: 'reset' })
  const schedule = [fault('member', 0), fault('member', 0), fault('broker', 4), fault('zombie', 1)]
  const kills = await executeFaults(schedule, Date.now(), 1, { members, brokers, proxies: [], say: () => {}, signal: new AbortController().signal })
  t.deepEqual(kills, { member: 1, broker: 1, zombie: 1, cut: 0 })
  t.deepEqual(done.sort(), ['freeze b', 'kill b', 'kill broker 1', 'restart broker 1', 'thaw b'])
})
