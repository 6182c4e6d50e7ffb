import test from 'ava'
import { contribute, Contributors } from '../../../functions/aggregate-metrics/contributors.ts'

const add = (c: Contributors, id: string, value: number, index: number | null, scale: number): void => {
  const contributor = c.enter(id, scale)
  if (contributor !== null) contribute(contributor, value, index, scale)
}

test('contributors: buckets follow the histogram down to its scale and start at its offset', (t) => {
  const c = new Contributors(10)
  add(c, 'b', 1.5, 40, 20)
  add(c, 'b', 2.5, 41, 20)
  add(c, 'a', 0, null, 19)
  t.deepEqual(c.toRecord(10, 18), [
    { id: 'a', sum: 0, count: 1, bucketCounts: [] },
    { id: 'b', sum: 4, count: 2, bucketCounts: [2] },
  ])
})

test('contributors: beyond the bound nobody is added and the flag says so; those known still count', (t) => {
  const c = new Contributors(1)
  add(c, 'a', 1, 0, 20)
  t.false(c.isOverflown)
  add(c, 'b', 1, 0, 20)
  add(c, 'a', 1, 0, 20)
  c.merge({ id: 'z', sum: 1, count: 1, bucketCounts: [1] }, 0, 20, 20)
  t.true(c.isOverflown)
  t.is(c.size, 1)
  t.deepEqual(c.toRecord(0, 20), [{ id: 'a', sum: 2, count: 2, bucketCounts: [2] }])
})

test('contributors: facts of one id merge, at the coarser scale', (t) => {
  const c = new Contributors(10)
  c.merge({ id: 'a', sum: 3, count: 2, bucketCounts: [1, 0, 1] }, 8, 2, 1)
  c.merge({ id: 'a', sum: 5, count: 1, bucketCounts: [0, 1] }, 3, 1, 1)
  t.deepEqual(c.toRecord(3, 1), [{ id: 'a', sum: 8, count: 3, bucketCounts: [0, 2, 1] }])
})
