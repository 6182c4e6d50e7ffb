import test from 'ava'
import { parseDuration } from '../../cli/duration.ts'

test('duration: durations are read with their unit, a bare number is refused rather than guessed', (t) => {
  t.is(parseDuration('20s', 'for'), 20_000)
  t.is(parseDuration('5m', 'for'), 300_000)
  for (const text of ['20', '1.5s', '-1s', '20 s', '', '99999999s']) t.throws(() => parseDuration(text, 'for'), { message: /SLU_USE.*--for/ }, text)
})
