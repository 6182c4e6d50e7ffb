import test from 'ava'
import fc from 'fast-check'
import { BucketTable } from '../../../functions/aggregate-metrics/bucket-table.ts'

type Added = readonly (readonly [number: number, bucket: number, count: number])[]

function expected(added: Added, steps = 0): Map<string, number> {
  const sums = new Map<string, number>()
  for (const [number, bucket, count] of added) {
    const key = `${number}/${bucket >> steps}`
    sums.set(key, (sums.get(key) ?? 0) + count)
  }
  return sums
}

function told(table: BucketTable): Map<string, number> {
  const { size, numbers, buckets, counts } = table.all()
  return new Map([...numbers.subarray(0, size)].map((number, i) => [`${number}/${buckets[i]}`, counts[i] as number]))
}

const sorted = (map: Map<string, number>) => [...map].sort(([a], [b]) => (a < b ? -1 : 1))

test('bucket-table: every pair is counted, none twice, whatever the growth and the falls of the scale between', (t) => {
  const one = fc.tuple(
    fc.nat(40),
    fc.integer({ min: -(2 ** 30), max: 2 ** 30 }).map((bucket) => bucket >> 20),
    fc.constantFrom(1, 1, 3, 2 ** 40),
  )
  fc.assert(
    fc.property(fc.array(one, { maxLength: 400 }), fc.array(one, { maxLength: 100 }), fc.nat(6), (first, second, steps) => {
      const table = new BucketTable()
      for (const [number, bucket, count] of first) table.add(number, bucket, count)
      t.deepEqual(sorted(told(table)), sorted(expected(first)))
      table.coarsen(steps)
      t.deepEqual(sorted(told(table)), sorted(expected(first, steps)))
      for (const [number, bucket, count] of second) table.add(number, bucket >> steps, count)
      t.deepEqual(sorted(told(table)), sorted(expected([...first, ...second], steps)))
      t.is(table.size, expected([...first, ...second], steps).size)
    }),
  )
})

test('bucket-table: emptied it holds nothing of before, keeps the room it needed, and gives back what it does not need any more', (t) => {
  const table = new BucketTable()
  for (let i = 0; i < 1000; i++) table.add(i, -i, 1)
  t.is(table.slots, 2048)
  const again = table.emptied()
  t.is(again, table)
  t.is(again.size, 0)
  t.is(again.all().size, 0)
  again.add(7, -7, 3)
  t.deepEqual(told(again), new Map([['7/-7', 3]]))
  const smaller = again.emptied()
  t.not(smaller, again)
  t.is(smaller.slots, 64)
  t.is(smaller.all().size, 0)
})
