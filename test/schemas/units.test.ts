import test from 'ava'
import { BYTE_SIZE, formatBytes, formatDuration, parseBytes } from '../../schemas/units.ts'

test('units: binary sizes are read, decimal or bare ones are refused rather than guessed', (t) => {
  t.is(parseBytes('1GiB'), 1_073_741_824)
  t.is(parseBytes('0B'), 0)
  for (const text of ['1GB', '1', '1 GiB', '-1KiB', '1.5MiB', '1gib', '', '999999999999999TiB']) t.is(parseBytes(text), null, text)
  t.true(BYTE_SIZE.test('512KiB'))
})

test('units: sizes and durations are shown with their unit', (t) => {
  t.is(formatBytes(0), '0 B')
  t.is(formatBytes(1536), '1.5 KiB')
  t.is(formatBytes(1_048_576), '1 MiB')
  t.is(formatDuration(12), '12 ms')
  t.is(formatDuration(1500), '1.5 s')
  t.is(formatDuration(93_000), '1m 33s')
})
