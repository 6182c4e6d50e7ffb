import test from 'ava'
import { createLatency, sizeClass } from '../../../functions/route-inference/latency.ts'

test('latency: a sample older than 30 s is not known any more', (t) => {
  const latency = createLatency()
  latency.add('a', 100, 0)
  latency.add('a', 200, 10)
  t.is(latency.get('a', 30_010), 120)
  t.is(latency.get('a', 30_011), null)
  t.is(latency.get('b', 0), null)
})

test('size class: each class is four times the bytes', (t) => {
  t.deepEqual([0, 1024, 1025, 4096, 4097, 1e12].map(sizeClass), [0, 0, 1, 1, 2, 10])
})
