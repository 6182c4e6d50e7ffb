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
