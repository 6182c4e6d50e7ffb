import test from 'ava'
import { factsOf, readColumns, writeColumns } from '../../../functions/aggregate-metrics/contributor-columns.ts'
import { Contributors } from '../../../functions/aggregate-metrics/contributors.ts'
import { SCALE_MAX } from '../../../functions/aggregate-metrics/exponential-histogram.ts'
import { Taken } from '../../../functions/aggregate-metrics/taken.ts'

const histogram = { scale: SCALE_MAX, zeroCount: 1, offset: 8, counts: [2, 0, 3], negativeOffset: 0, negativeCounts: [] }

function contributors(): Contributors {
  const all = new Contributors(10)
  const taken = new Taken()
  taken.n = 4
  taken.values = Float64Array.of(2 ** 53 - 1, 0.5, 1, 1)
  taken.indexes = Int32Array.of(8, 10, 8, 10)
  taken.contributors = Int32Array.of(1, 1, 0, 1)
  all.reserve(2)
  all.addAll(taken, SCALE_MAX)
  return all
}

test('contributor-columns: what is written is read back exactly, in the order of the numbers, from the offset on', (t) => {
  const fields = writeColumns(contributors(), [1, 0], histogram.offset, histogram.scale, histogram.counts.length)
  const columns = readColumns(fields, 2, histogram)
  t.deepEqual([...columns.sums], [2 ** 53 - 1 + 0.5 + 1, 1])
  t.deepEqual([...columns.counts], [3, 1])
  t.deepEqual([...columns.bucketsOf], [2, 1])
  t.deepEqual(factsOf(columns, { contributors: ['y', 'x'], devices: [] }), [
    { id: 'y', sum: 2 ** 53 - 1 + 0.5 + 1, count: 3, bucketCounts: [1, 0, 2] },
    { id: 'x', sum: 1, count: 1, bucketCounts: [1] },
  ])
})

test('contributor-columns: columns that lie unaligned in a record are read right, and nobody is a column of nothing', (t) => {
  const fields = writeColumns(contributors(), [1, 0], histogram.offset, histogram.scale, histogram.counts.length)
  const shifted = Object.fromEntries(Object.entries(fields).map(([name, bytes]) => [name, Buffer.concat([Buffer.from([0]), bytes]).subarray(1)])) as typeof fields
  t.deepEqual([...readColumns(shifted, 2, histogram).sums], [...readColumns(fields, 2, histogram).sums])
  const none = writeColumns(new Contributors(1), [], 0, SCALE_MAX, 0)
  t.deepEqual(factsOf(readColumns(none, 0, histogram), { contributors: [], devices: [] }), [])
})

test('contributor-columns: columns that do not fit together are refused (D6)', (t) => {
  const fields = writeColumns(contributors(), [1, 0], histogram.offset, histogram.scale, histogram.counts.length)
  const code = { code: 'SLU_RECORD_UNDECODABLE' }
  t.throws(() => readColumns(fields, 3, histogram), code)
  t.throws(() => readColumns(fields, 2, { ...histogram, counts: [2, 0] }), code)
  for (const name of Object.keys(fields)) t.throws(() => readColumns({ ...fields, [name]: Buffer.alloc(0) }, 2, histogram), code, name)
})

test('contributor-columns: counts of any size come back exactly, in as few bytes as the largest needs', (t) => {
  for (const [most, width] of [
    [1, 1],
    [255, 1],
    [256, 2],
    [65_535, 2],
    [65_536, 4],
    [2 ** 32 - 1, 4],
    [2 ** 32, 8],
    [2 ** 53 - 1, 8],
  ] as const) {
    const table = contributors()
    table.buckets = () => ({ size: 2, numbers: Int32Array.of(0, 1), buckets: Int32Array.of(10, 8), counts: Float64Array.of(most, 1) })
    const fields = writeColumns(table, [1, 0], 8, SCALE_MAX, 3)
    t.is(fields.bucketCounts.length, 1 + 2 * width)
    t.deepEqual([...readColumns(fields, 2, { ...histogram, counts: [1, 0, most] }).bucketCounts], [1, most])
  }
})
