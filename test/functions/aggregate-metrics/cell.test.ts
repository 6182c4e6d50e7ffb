import test from 'ava'
import fc from 'fast-check'
import { Cell, DEVICE_IDS_MAX, type CellFacts } from '../../../functions/aggregate-metrics/cell.ts'
import type { WindowPartial } from '../../../schemas/records.ts'

const facts: CellFacts = { key: 'p|hw.power|', pool: 'p', metric: 'hw.power', unit: 'W', attributes: {}, contributorKind: 'tenant' }
const add = (cell: Cell, value: number, atMs: number, contributor: string, device: string): void => cell.add(value, atMs, cell.enter(contributor, device))
const partial = (cell: Cell): WindowPartial => ({ ...cell.aggregate(), deviceIds: [...cell.deviceIds] }) as unknown as WindowPartial

test('cell: count, sum, min, max and the newest value, not the last one added', (t) => {
  const cell = new Cell(facts, 10)
  add(cell, 5, 2000, 'a', 'd1')
  add(cell, -1, 1000, 'b', 'd2')
  add(cell, 0, 1500, 'b', 'd2')
  t.like(cell.aggregate(), { count: 3, sum: 4, min: -1, max: 5, last: 5, lastMs: 2000, contributorOverflow: false })
  t.deepEqual(
    cell.aggregate().contributorFacts.map((f) => [f.id, f.sum, f.count]),
    [
      ['a', 5, 1],
      ['b', -1, 2],
    ],
  )
  t.deepEqual([...cell.deviceIds], ['d1', 'd2'])
})

test('cell: partials of any split merge to the whole: no sample, contributor bucket or device is lost or counted twice', (t) => {
  const sample = fc.record({ value: fc.integer({ min: -5, max: 100_000 }), atMs: fc.nat(50), who: fc.constantFrom('a', 'b', 'c'), device: fc.constantFrom('d1', 'd2', 'd3') })
  fc.assert(
    fc.property(fc.array(sample, { minLength: 1, maxLength: 60 }), fc.nat(59), (samples, cut) => {
      const of = (list: typeof samples): Cell => {
        const cell = new Cell(facts, 10)
        for (const s of list) add(cell, s.value, s.atMs, s.who, s.device)
        return cell
      }
      const whole = of(samples)
      const merged = new Cell(facts, 10)
      for (const part of [samples.slice(0, cut), samples.slice(cut)]) if (part.length > 0) merged.merge(partial(of(part)))
      t.deepEqual(merged.aggregate(), whole.aggregate())
      t.deepEqual(new Set(merged.deviceIds), new Set(whole.deviceIds))
      const { histogram, contributorFacts } = whole.aggregate()
      t.deepEqual(
        histogram.counts.map((_, i) => contributorFacts.reduce((n, f) => n + (f.bucketCounts[i] ?? 0), 0)),
        [...histogram.counts],
      )
    }),
  )
})

test('cell: an overflow of contributors or devices is never forgotten by a merge', (t) => {
  const small = new Cell(facts, 1)
  add(small, 1, 0, 'a', 'd')
  add(small, 1, 0, 'b', 'd')
  const merged = new Cell(facts, 100)
  merged.merge(partial(small))
  t.true(merged.aggregate().contributorOverflow)
  const many = new Cell(facts, 1)
  for (let i = 0; i <= DEVICE_IDS_MAX; i++) add(many, 1, 0, 'a', `d${i}`)
  t.true(many.aggregate().contributorOverflow)
  t.is(many.deviceIds.size, DEVICE_IDS_MAX)
})

test('cell: rows that entered once go the same way again, and another plan begins anew', (t) => {
  const cell = new Cell(facts, 10)
  const [plan, other] = [{}, {}]
  const slots = cell.entered(plan)
  t.deepEqual(slots, [])
  slots[0] = cell.enter('a', 'd1') ?? undefined
  cell.add(4, 0, slots[0] ?? null)
  const again = cell.entered(plan)
  t.is(again, slots)
  cell.add(8, 1, again[0] ?? null)
  t.not(cell.entered(other), slots)
  t.deepEqual(cell.aggregate().contributorFacts, [{ id: 'a', sum: 12, count: 2, bucketCounts: cell.aggregate().histogram.counts }])
})

test('cell: a value of a contributor beyond the bound still counts in the cell, and its device too', (t) => {
  const cell = new Cell(facts, 1)
  add(cell, 1, 0, 'a', 'd1')
  t.is(cell.enter('b', 'd2'), null)
  cell.add(2, 1, null)
  t.like(cell.aggregate(), { count: 2, sum: 3, contributorOverflow: true })
  t.deepEqual([...cell.deviceIds], ['d1', 'd2'])
})
