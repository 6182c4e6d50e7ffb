import test from 'ava'
import { endingOf, outcomeName, restMs } from '../../../functions/route-inference/attempt.ts'
import type { EndpointOutcome } from '../../../schemas/ports.ts'

const answered = (status: number, headers = {}): EndpointOutcome => ({ kind: 'answered', status, headers, body: Buffer.alloc(0), firstByteMs: 1, totalMs: 1 })
const next = (outcome: EndpointOutcome): string => endingOf(outcome, false, () => 0).next

test('attempt: each status has one meaning; busy is not failed and a 4xx is the caller’s', (t) => {
  t.deepEqual(
    [200, 302, 400, 401, 403, 404, 408, 422, 429, 500, 502, 503, 529].map((s) => next(answered(s))),
    ['answer', 'failed', 'answer', 'second-opinion', 'second-opinion', 'second-opinion', 'failed', 'answer', 'again', 'failed', 'failed', 'again', 'again'],
  )
})

test('attempt: a broken answer is not repeated once a byte arrived, unless idempotent (R4)', (t) => {
  const failed = (responseBytes: number, isIdempotent: boolean) => endingOf({ kind: 'failed', reason: 'x', responseBytes }, isIdempotent, () => 0)
  t.deepEqual(failed(0, false), { next: 'failed', mayRepeat: true })
  t.deepEqual(failed(1, false), { next: 'failed', mayRepeat: false })
  t.deepEqual(failed(1, true), { next: 'failed', mayRepeat: true })
})

test('attempt: Retry-After is kept to, bounded, and what is no number of seconds rests 0.5 to 5 s', (t) => {
  t.is(
    restMs({ 'retry-after': '3' }, () => 0),
    3000,
  )
  t.is(
    restMs({ 'retry-after': '999999' }, () => 0),
    60_000,
  )
  t.is(
    restMs({ 'retry-after': '0' }, () => 0),
    100,
    'a busy endpoint is called at full speed',
  )
  t.is(
    restMs({ 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' }, () => 0),
    500,
  )
  t.is(
    restMs({}, () => 1),
    5000,
  )
  t.deepEqual([outcomeName(answered(503)), outcomeName({ kind: 'timed-out' })], ['503', 'timed-out'])
})
