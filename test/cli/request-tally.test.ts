import test from 'ava'
import fc from 'fast-check'
import { RequestTally } from '../../cli/request-tally.ts'

const NONE = { requests: 0, results: 0, parked: 0, earlier: 0, doubled: 0, untracked: 0 }

test('request tally: a request is open until its answer; a repeat of either is no second request, and a second answer is seen as doubled (R1)', (t) => {
  const tally = new RequestTally()
  tally.asked('a')
  tally.asked('a')
  t.is(tally.openCount, 1)
  tally.answered('a')
  tally.asked('a')
  t.is(tally.openCount, 0, 'a repeat after the answer is not open')
  t.deepEqual(tally.counts(), { ...NONE, requests: 1, results: 1 })
  tally.answered('a')
  t.deepEqual(tally.counts(), { ...NONE, requests: 1, results: 1, doubled: 1 })
})

test('request tally: an answer that is seen before its question is no earlier one; one without a question is', (t) => {
  const tally = new RequestTally()
  tally.answered('a')
  t.deepEqual(tally.counts(), { ...NONE, earlier: 1 })
  tally.asked('a')
  t.deepEqual(tally.counts(), { ...NONE, requests: 1, results: 1 })
})

test('request tally: a dead letter ends a request without a result, and an answer after a redrive makes it one', (t) => {
  const tally = new RequestTally()
  tally.asked('a')
  tally.parked('a')
  t.deepEqual([tally.openCount, tally.counts()], [0, { ...NONE, requests: 1, parked: 1 }])
  tally.answered('a')
  t.deepEqual(tally.counts(), { ...NONE, requests: 1, results: 1 })
  tally.parked('a')
  t.deepEqual(tally.counts(), { ...NONE, requests: 1, results: 1 }, 'a repeat with another body is parked beside the answer')
})

test('request tally: what it keeps is bounded, and what it lets go is counted (C6)', (t) => {
  const tally = new RequestTally(3)
  for (const id of 'abcde') tally.asked(id)
  t.deepEqual([tally.openCount, tally.counts()], [3, { ...NONE, requests: 5, untracked: 2 }])
})

test('request tally: however the topics interleave, each id counts once as result, parked or open', (t) => {
  const step = fc.record({ id: fc.constantFrom('a', 'b', 'c', 'd'), what: fc.constantFrom('asked', 'answered', 'parked') })
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const tally = new RequestTally()
      for (const { id, what } of steps) tally[what as 'asked'](id)
      const { requests, results, parked, earlier } = tally.counts()
      const ids = (kind: string): Set<string> => new Set(steps.filter((s) => s.what === kind).map((s) => s.id))
      const [asked, answered] = [ids('asked'), ids('answered')]
      return (
        requests === asked.size &&
        results + parked + tally.openCount === requests &&
        results === [...asked].filter((id) => answered.has(id)).length &&
        earlier === answered.size - results
      )
    }),
  )
  t.pass()
})
