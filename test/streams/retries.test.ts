import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { Parked } from '../../streams/processor.ts'
import { createRetries } from '../../streams/retries.ts'
import { record } from '../helpers/records.ts'

const failure = (offset: number, detail: string): Parked => ({ record: record(offset), error: new SluiceError('SLU_HANDLER_RETRY', detail), stage: 'decode' })

test('retries: tries are counted record by record until they are used up; what is over begins anew (D1)', (t) => {
  const retries = createRetries(3, () => 0)
  t.deepEqual([retries.failed(failure(4, '1')), retries.failed(failure(5, '1')), retries.failed(failure(4, '2'))], [1, 1, 2])
  t.is(retries.latest(), 2)
  t.is(retries.spent(record(4)), null)
  t.is(retries.failed(failure(4, '3')), 3)
  t.like(retries.spent(record(4)), { attempts: 3, error: { detail: '3' }, stage: 'decode' })
  t.is(retries.spent(record(5)), null)
  retries.over(record(4))
  t.is(retries.spent(record(4)), null)
  t.is(retries.failed(failure(4, '1')), 1)
})

test('retries: within one call it throws while tries are left, never beyond them (D1)', (t) => {
  const retries = createRetries(2, () => 0)
  t.throws(() => retries.again(failure(1, 'x')), { message: /SLU_HANDLER_RETRY.*x/ })
  t.like(retries.again(failure(1, 'y')), { attempts: 2, error: { detail: 'y' } })
})

test('retries: the reason is the one tried longest: its code, its tries and for how long; none once it is over or given up (W9)', (t) => {
  let nowMs = 1000
  const retries = createRetries(3, () => nowMs)
  t.is(retries.why(), null)
  retries.failed(failure(7, 'disk'))
  nowMs = 3500
  retries.failed(failure(8, 'net'))
  retries.failed(failure(7, 'disk again'))
  t.is(retries.why()?.code, 'SLU_HANDLER_RETRY')
  t.regex(retries.why()?.message ?? '', /disk again: offset 7 failed 2 of 3 tries, the first 2\.5 s ago/)
  nowMs = 0
  t.regex(retries.why()?.message ?? '', /the first 0 ms ago/, 'a clock set back')
  retries.failed(failure(7, 'disk'))
  t.regex(retries.why()?.message ?? '', /offset 8 failed 1 of 3/)
  retries.over(record(8))
  t.is(retries.why(), null)
  retries.failed(failure(9, 'x'))
  retries.clear()
  t.is(retries.why(), null)
})
