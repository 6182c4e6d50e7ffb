import test from 'ava'
import { disclosureFacts } from '../../../functions/forward-summaries/disclosure.ts'
import { summary } from '../../helpers/gate.ts'

test('disclosure: only contributors with a value other than zero count, the summary’s own counts never (E06)', (t) => {
  t.deepEqual(disclosureFacts(summary({ contributors: 99 }, [1, 0, 2, 0])), { contributors: 2, isAllZero: false })
  t.deepEqual(disclosureFacts(summary({}, [0, 0])), { contributors: 0, isAllZero: true })
})

test('disclosure: facts that contradict the cell are no facts, one contributor listed twice is not two (E06)', (t) => {
  const base = summary()
  const first = base.contributorFacts[0] as (typeof base.contributorFacts)[number]
  const odd = [
    { count: 13 },
    { sum: 1 },
    { contributorOverflow: true },
    { contributorFacts: [...base.contributorFacts, first] },
    { contributorFacts: [{ ...first, sum: Number.NaN }] },
  ]
  for (const over of odd) t.is(typeof disclosureFacts({ ...base, ...over }), 'string')
})

test('disclosure: a contributor counts a whole number of samples, at least one, and has a finite sum; either alone is unsound (E06)', (t) => {
  const base = summary({}, [1, 1, 1])
  const first = base.contributorFacts[0] as (typeof base.contributorFacts)[number]
  const rest = base.contributorFacts.slice(1)
  const facts = (over: object, more: object) => disclosureFacts({ ...base, ...more, contributorFacts: [{ ...first, ...over }, ...rest] })
  t.is(typeof facts({ count: 1 }, {}), 'object')
  for (const [count, total] of [
    [0, 2],
    [-1, 1],
    [0.5, 2.5],
    [2 ** 53, 2 ** 53 + 2],
  ] as const)
    t.is(facts({ count }, { count: total }), 'a contributor has no sound numbers', String(count))
  for (const sum of [Number.NaN, Infinity, -Infinity]) t.is(facts({ sum }, { sum }), 'a contributor has no sound numbers', String(sum))
})

test('disclosure: contributors make up the sum to within one part in 10⁹ of their size, and of one where they are smaller', (t) => {
  const off = (sums: readonly number[], by: number) => disclosureFacts({ ...summary({}, sums), sum: sums.reduce((a, b) => a + b, 0) + by })
  const wrong = 'the contributors do not make up the sum'
  t.not(off([600, 600], 1200 * 0.98e-9), wrong)
  t.is(off([600, 600], 1200 * 1.02e-9), wrong)
  t.not(off([600, -600], 1200 * 0.98e-9), wrong, 'their size, not their sum')
  t.not(off([0.1], 0.98e-9), wrong)
  t.is(off([0.1], -1.02e-9), wrong)
  t.not(off([0], 1e-9), wrong)
})
