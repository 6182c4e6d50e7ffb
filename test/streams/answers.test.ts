import test from 'ava'
import { createAnswers, onceMetadata, resultsFromOf } from '../../streams/answers.ts'

const make = () => createAnswers({ dedupeMs: 1000, skewMs: 100 })

test('answers: an id is the same under the same digest, other under another, and the first result counts (R1)', (t) => {
  const answers = make()
  answers.reset(0n)
  answers.add('a', 'd1', 3n, 0)
  answers.add('a', 'd2', 4n, 0)
  t.is(answers.lookUp('a', 'd1'), 'same')
  t.is(answers.lookUp('a', 'd2'), 'other')
  t.is(answers.lookUp('b', 'd1'), 'none')
  answers.add('foreign', null, 5n, 0)
  t.is(answers.lookUp('foreign', 'anything'), 'same')
})

test('answers: resultsFrom is never above the result of an answered request at or above the low-water mark (R1)', (t) => {
  const answers = make()
  answers.reset(0n)
  for (const [offset, id] of [
    [10n, 'slow'],
    [11n, 'a'],
    [12n, 'b'],
  ] as const)
    answers.took(offset, id)
  answers.add('a', 'd', 0n, 5000)
  answers.add('b', 'd', 1n, 5001)
  t.is(answers.resultsFrom(10n, 100_000), 0n)
  t.is(answers.resultsFrom(12n, 100_000), 1n)
})

test('answers: resultsFrom reaches back over the horizon, and forgets only what lies before it (R1)', (t) => {
  const answers = make()
  answers.reset(0n)
  answers.add('old', 'd', 0n, 1000)
  answers.add('edge', 'd', 1n, 2000)
  answers.add('new', 'd', 2n, 9000)
  t.is(answers.resultsFrom(50n, 3100), 1n)
  t.false(answers.has('old'))
  t.true(answers.has('edge'))
})

test('answers: resultsFrom is never above the end this member itself has read (R1)', (t) => {
  const answers = make()
  answers.reset(7n)
  t.is(answers.resultsFrom(1n, 1e12), 7n)
  answers.readTo(9n)
  t.is(answers.resultsFrom(1n, 1e12), 9n)
  answers.add('a', 'd', 20n, 0)
  t.is(answers.resultsFrom(1n, 1e12), 21n)
})

test('answers: while nothing is known of append times resultsFrom stays where it was (R1)', (t) => {
  const answers = make()
  answers.reset(4n)
  answers.readTo(9n)
  t.is(answers.resultsFrom(1n, null), 4n)
})

test('answers: commit metadata reads back, and what is not ours is taken as lost (C2)', (t) => {
  t.is(resultsFromOf(onceMetadata(12_345_678_901_234n)), 12_345_678_901_234n)
  for (const text of ['', '{}', '{"v":2,"resultsFrom":"1"}', '{"v":1,"resultsFrom":"-1"}', 'x']) t.is(resultsFromOf(text), null)
})
