import test from 'ava'
import { attributeNames, instruments, metricNames } from '../../schemas/telemetry-names.ts'

test('telemetry names: every metric is given once, in the dotted form of the conventions', (t) => {
  const names = Object.values(metricNames)
  t.is(new Set(names).size, names.length)
  for (const name of names) t.regex(name, /^[a-z][a-z_]*(\.[a-z_]+)+$/)
})

test('telemetry names: histograms have rising buckets, counters and gauges none', (t) => {
  for (const row of Object.values(instruments)) {
    const buckets = 'buckets' in row ? [...(row.buckets as readonly number[])] : null
    t.is(row.type === 'histogram', buckets !== null, row.name)
    if (buckets !== null)
      t.deepEqual(
        buckets.toSorted((a, b) => a - b),
        buckets,
        row.name,
      )
  }
})

test('telemetry names: no attribute could carry a prompt, a key, a tenant or a request id', (t) => {
  const names = Object.values(attributeNames)
  t.is(new Set<string>(names).size, names.length)
  for (const name of names) t.notRegex(name, /prompt|completion|content|body|tenant|request\.id|\bkey\b|user|host|uuid|serial/)
})
