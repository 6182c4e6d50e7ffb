import test from 'ava'
import fc from 'fast-check'
import { meaningOf, parseSampleLine, parseValue, type SampleLine } from '../../../functions/normalize-telemetry/prometheus-line.ts'

const parse = (text: string): SampleLine | string => parseSampleLine(text, 0, text.length)

test('prometheus-line: name, labels, value, timestamp and positions', (t) => {
  const text = 'a_b{c="d",e="f\\"g\\\\h\\ni",} 1.5 1700000000000'
  const line = parse(text) as SampleLine
  t.is(line.name, 'a_b')
  t.deepEqual(line.labels, [
    ['c', 'd'],
    ['e', 'f"g\\h\ni'],
  ])
  t.is(line.value, 1.5)
  t.is(line.timestampMs, 1_700_000_000_000)
  t.is(text.slice(line.labelsAt, line.labelsAt + 1), 'c')
  t.is(text.slice(line.valueAt, line.valueTo), '1.5')
  t.like(parse('up 1'), { name: 'up', labels: [], value: 1, timestampMs: null })
  t.like(parse('a{} 1'), { labels: [] })
})

test('prometheus-line: what is not of the format is a reason, never a value', (t) => {
  for (const text of [
    '',
    '1a 5',
    'a',
    'a{',
    'a{b',
    'a{b}',
    'a{b=} 1',
    'a{b=c} 1',
    'a{b="c} 1',
    'a{b="c" d="e"} 1',
    'a{b="c"',
    'a{b="c"}',
    'a{b="c"} x',
    'a{b="c"} 0x1',
    'a{b="c"} 1 x',
    'a{b="c"} 1 2 3',
    'a{b="c",b="c"} 1',
    'a{b="\\x"} 1',
    'a{b="\xff"} 1',
    'a{,} 1',
    'a 1_0',
    'é 1',
  ])
    t.is(typeof parse(text), 'string', text)
})

test('prometheus-line: blanks of DCGM are no values whatever their spelling', (t) => {
  for (const blank of ['9223372036854775792', '9223372036854775795', '9.223372036854776e+18', '140737488355328', '140737488355331.000000', 'NaN', 'nan', '+Inf', '-Inf'])
    t.is(parseValue(blank), NaN, blank)
  t.is(parseValue('140737488355332'), 140_737_488_355_332)
  t.is(meaningOf(140_737_488_355_327), 140_737_488_355_327)
})

test('prometheus-line: any label text that is escaped as the format says comes back unchanged', (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme', maxLength: 40 }).filter((s) => !s.includes('\ufffd') && s.isWellFormed()),
      fc.double({ noNaN: true, noDefaultInfinity: true, max: 1e14, min: -1e300 }),
      (label, value) => {
        const escaped = label.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
        const text = Buffer.from(`m{l="${escaped}"} ${value}`).toString('latin1')
        const line = parse(text) as SampleLine
        t.deepEqual(line.labels, [['l', label]])
        t.is(line.value, Number(String(value)))
      },
    ),
    { numRuns: 300 },
  )
})
