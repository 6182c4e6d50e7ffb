import test from 'ava'
import { Contributors } from '../../../functions/aggregate-metrics/contributors.ts'
import { NOT_POSITIVE, SCALE_MAX } from '../../../functions/aggregate-metrics/exponential-histogram.ts'
import { Taken } from '../../../functions/aggregate-metrics/taken.ts'

/** One value; `index` at scale 20. */
function add(c: Contributors, number: number, value: number, index: number, scale: number): void {
  const taken = new Taken()
  taken.n = 1
  taken.values = Float64Array.of(value)
  taken.indexes = Int32Array.of(index)
  taken.contributors = Int32Array.of(number)
  c.reserve(number + 1)
  c.addAll(taken, scale)
}
const buckets = (c: Contributors, number: number, scale: number): Record<number, number> => {
  const { size, numbers, buckets: indexes, counts } = c.buckets(scale)
  return Object.fromEntries([...numbers.subarray(0, size)].flatMap((one, i) => (one === number ? [[indexes[i] as number, counts[i] as number]] : [])))
}

test('contributors: buckets follow the histogram down to its scale, those counted last too', (t) => {
  const c = new Contributors(10)
  for (const [value, index] of [
    [1.5, 40],
    [1.5, 40],
    [2.5, 41],
    [9, 80],
  ] as const)
    add(c, 7, value, index, SCALE_MAX)
  add(c, 2, 0, NOT_POSITIVE, SCALE_MAX - 1)
  add(c, 7, 9, 83, SCALE_MAX - 1)
  t.deepEqual(buckets(c, 7, SCALE_MAX - 2), { 10: 3, 20: 2 })
  t.deepEqual(buckets(c, 2, SCALE_MAX - 2), {})
  t.deepEqual([c.sumOf(7), c.countOf(7), c.sumOf(2), c.countOf(2)], [23.5, 5, 0, 1])
})

test('contributors: a scale that falls between two values of one bucket neither loses one nor counts it twice', (t) => {
  const c = new Contributors(10)
  add(c, 0, 1, 41, SCALE_MAX)
  add(c, 0, 1, 41, SCALE_MAX - 3)
  add(c, 0, 1, 47, SCALE_MAX - 3)
  add(c, 0, 1, -1, SCALE_MAX - 4)
  t.deepEqual(buckets(c, 0, SCALE_MAX - 4), { 2: 3, [-1]: 1 })
  t.deepEqual(buckets(c, 0, SCALE_MAX - 4), { 2: 3, [-1]: 1 })
})

test('contributors: those present come in the order asked for, whatever their numbers', (t) => {
  const c = new Contributors(10)
  for (const number of [70, 3, 0]) add(c, number, 1, 5, SCALE_MAX)
  t.deepEqual(c.present([3, 1, 70, 900, 0]), [3, 70, 0])
})

test('contributors: beyond the bound nobody is added and the flag says so; those known still count', (t) => {
  const c = new Contributors(1)
  add(c, 4, 1, 0, SCALE_MAX)
  t.false(c.isOverflown)
  for (let i = 0; i < 2; i++) add(c, 5, 1, 0, SCALE_MAX)
  add(c, 4, 1, 0, SCALE_MAX)
  t.true(c.isOverflown)
  t.is(c.size, 1)
  t.deepEqual(c.present([4, 5]), [4])
  t.deepEqual([c.sumOf(4), c.countOf(4), buckets(c, 4, SCALE_MAX)], [2, 2, { 0: 2 }])
})
