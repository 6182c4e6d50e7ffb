import test from 'ava'
import fc from 'fast-check'
import { bucketIndex, bucketIndexes, BUCKETS_MAX, ExponentialHistogram, NOT_POSITIVE } from '../../../functions/aggregate-metrics/exponential-histogram.ts'
import type { Histogram } from '../../../schemas/records.ts'

const of = (values: readonly number[]): ExponentialHistogram => {
  const histogram = new ExponentialHistogram()
  for (const value of values) histogram.add(value)
  return histogram
}
const total = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0)
const values = fc.array(fc.oneof(fc.double({ min: -1e6, max: 1e6, noNaN: true }), fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer({ min: 0, max: 100 })), {
  maxLength: 60,
})

test('exponential-histogram: values 1, 2, 4 and 1024 by hand: scale 3 is the finest at which 160 buckets hold them', (t) => {
  // log2 spans 0…10. At scale 4 that is 161 buckets (indexes −1…159): one too many. At scale 3: −1, 7, 15, 79.
  const h = of([1, 2, 4, 1024]).toRecord()
  t.is(h.scale, 3)
  t.is(h.offset, -1)
  t.is(h.counts.length, 81)
  t.deepEqual(
    h.counts.flatMap((n, i) => (n === 0 ? [] : [[i + h.offset, n]])),
    [
      [-1, 1],
      [7, 1],
      [15, 1],
      [79, 1],
    ],
  )
})

test('exponential-histogram: a power of two is the inclusive upper bound of its bucket, as OpenTelemetry says', (t) => {
  for (const exponent of [-1022, -3, 0, 1, 10, 1023]) t.is(bucketIndex(2 ** exponent), exponent * 2 ** 20 - 1)
  t.is(bucketIndex(Number.MAX_VALUE) | 0, bucketIndex(Number.MAX_VALUE))
  t.is(bucketIndex(Number.MIN_VALUE) | 0, bucketIndex(Number.MIN_VALUE))
})

test('exponential-histogram: every value lies in a bucket that holds it, none is lost, and there are at most 160 a side', (t) => {
  fc.assert(
    fc.property(values, (list) => {
      const h = of(list).toRecord()
      t.is(total(h.counts) + total(h.negativeCounts) + h.zeroCount, list.length)
      t.true(h.counts.length <= BUCKETS_MAX && h.negativeCounts.length <= BUCKETS_MAX)
      const octavesPerBucket = 2 ** -h.scale
      for (const v of list.filter((x) => x > 0)) {
        const index = Math.ceil(Math.log2(v) / octavesPerBucket - 1e-6) - 1 - h.offset
        t.true((h.counts[index] ?? 0) > 0 || (h.counts[index + 1] ?? 0) > 0, `${v}`)
      }
    }),
  )
})

test('exponential-histogram: a merge is the histogram of the union, whatever the split or the order', (t) => {
  fc.assert(
    fc.property(values, values, values, (a, b, c) => {
      const whole = of([...a, ...b, ...c]).toRecord()
      const merged = (parts: readonly (readonly number[])[]): Histogram => {
        const h = new ExponentialHistogram()
        for (const part of parts) h.merge(of(part).toRecord())
        return h.toRecord()
      }
      t.deepEqual(merged([a, b, c]), whole)
      t.deepEqual(merged([c, a, b]), whole)
      t.deepEqual(of([...c, ...b, ...a]).toRecord(), whole)
    }),
  )
})

test('exponential-histogram: values added as columns come to the same as one by one, also those that share a place of the memory of recent ones', (t) => {
  fc.assert(
    fc.property(values, fc.nat(2000), (list, spread) => {
      // More values than the memory has places, so that they push one another out.
      const column = Float64Array.from([...list, ...Array.from({ length: spread }, (_, i) => 1 + i / 7), ...list])
      const indexes = new Int32Array(column.length)
      bucketIndexes(column, new Int32Array(column.buffer), column.length, indexes)
      t.true(column.every((value, i) => indexes[i] === (value > 0 ? bucketIndex(value) : NOT_POSITIVE)))
      const h = new ExponentialHistogram()
      h.addAll(column, indexes, column.length)
      t.deepEqual(h.toRecord(), of([...column]).toRecord())
    }),
    { numRuns: 50 },
  )
})
