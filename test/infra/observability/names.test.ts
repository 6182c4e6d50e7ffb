import test from 'ava'
import { ATTRIBUTES, instruments } from '../../../infra/observability/names.ts'

test('names: each stands once, histograms have rising buckets, counters and gauges none', (t) => {
  t.is(new Set(instruments.map((i) => i.name)).size, instruments.length)
  for (const i of instruments) {
    if (i.type === 'histogram')
      t.deepEqual(
        [...(i.buckets ?? [])].sort((a, b) => a - b),
        [...(i.buckets ?? [])],
        i.name,
      )
    else t.is(i.buckets, undefined, i.name)
  }
})

test('names: no attribute could carry a prompt, a key, a tenant or a request id', (t) => {
  for (const key of ATTRIBUTES) t.notRegex(key, /prompt|completion|content|body|tenant|request\.id|\bkey\b|user|host|uuid|serial/)
})
