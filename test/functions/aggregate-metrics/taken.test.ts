import test from 'ava'
import { createBatchReader } from '../../../functions/aggregate-metrics/batch-reader.ts'
import { bucketIndex, NOT_POSITIVE } from '../../../functions/aggregate-metrics/exponential-histogram.ts'
import { Taken } from '../../../functions/aggregate-metrics/taken.ts'
import { batchBytes } from '../../helpers/metrics.ts'
import { codecs, OBSERVED_MS, rawRecord } from '../../helpers/telemetry.ts'

const read = (...args: Parameters<typeof batchBytes>) => createBatchReader()(rawRecord('hardware.telemetry', 'n', batchBytes(...args)), codecs)
const columns = (taken: Taken): number[][] => [taken.values, taken.indexes, taken.atMs].map((column) => [...column.subarray(0, taken.n)])

test('taken: the finite values of a cell, each with its bucket and its time; no other row', (t) => {
  const values = [4, NaN, 0, -1, Infinity]
  const rows = values.map((value, i) => ({ device: `d${i}`, metric: i === 0 ? 'hw.temperature' : 'hw.power', value }))
  const batch = read([...rows, { device: 'd9', metric: 'hw.power', value: 8 }], { offsetMs: Buffer.from(Int32Array.of(-1, -2, -3, -4, -5, -6).buffer) })
  const taken = new Taken()
  t.is(taken.take(batch, 1, null), 3)
  t.deepEqual(columns(taken), [
    [0, -1, 8],
    [NOT_POSITIVE, NOT_POSITIVE, bucketIndex(8)],
    [OBSERVED_MS - 3, OBSERVED_MS - 4, OBSERVED_MS - 6],
  ])
  batch.plan.places.set([7, 17], 5 * 3 + 1)
  taken.identify(batch.plan)
  t.deepEqual([taken.contributors[2], taken.devices[2]], [7, 17])
})

test('taken: counters become deltas, a fall is a reset, and without a predecessor there is none', (t) => {
  const batch = read(['a', 'b', 'c'].map((device, i) => ({ device, metric: 'hw.energy', value: 10 * (i + 1) })))
  const taken = new Taken()
  t.is(taken.take(batch, 0, null), 0)
  t.is(taken.take(batch, 0, Float64Array.of(4, 50, NaN)), 2)
  t.deepEqual([...taken.values.subarray(0, 2)], [6, 20])
})

test('taken: a cell of many rows after one of few, and back, keeps nothing of the other', (t) => {
  const taken = new Taken()
  const many = read(Array.from({ length: 300 }, (_, i) => ({ device: `d${i}`, metric: 'hw.power', value: i })))
  const few = read([{ device: 'a', metric: 'hw.power', value: 1 }])
  t.deepEqual(
    [few, many, few].map((batch) => taken.take(batch, 0, null)),
    [1, 300, 1],
  )
  t.deepEqual(columns(taken), [[1], [bucketIndex(1)], [OBSERVED_MS]])
})
