import test from 'ava'
import fc from 'fast-check'
import { DEVICES_MAX, type Cell } from '../../../functions/aggregate-metrics/cell.ts'
import { readColumns } from '../../../functions/aggregate-metrics/contributor-columns.ts'
import { Roster } from '../../../functions/aggregate-metrics/roster.ts'
import { createMerge } from '../../../functions/combine-metrics/merge-partials.ts'
import { add, newCell, saidOf } from '../../helpers/cells.ts'
import type { ReadPartial } from '../../helpers/metrics.ts'
import { codecs } from '../../helpers/telemetry.ts'

function merged(contributorsMax: number, ...partials: ReadPartial[]) {
  const merge = createMerge(contributorsMax)
  return merge(
    'p|hw.power|',
    partials.map((one) => {
      const members = codecs.decodeBare('CellMembers', one.members)
      return { group: 'p|hw.power|', partial: one, members, columns: readColumns(one, members.contributors.length, one.histogram) }
    }),
  )
}

test('merge-partials: partials of any split merge to the whole: no sample, contributor bucket or device is lost or counted twice', (t) => {
  const sample = fc.record({ value: fc.integer({ min: -5, max: 100_000 }), atMs: fc.nat(50), who: fc.constantFrom('a', 'b', 'c'), device: fc.constantFrom('d1', 'd2', 'd3') })
  fc.assert(
    fc.property(fc.array(sample, { minLength: 1, maxLength: 60 }), fc.nat(59), fc.boolean(), (samples, cut, isShared) => {
      const shared = new Roster()
      const of = (list: typeof samples): Cell => {
        const cell = newCell(10, isShared ? shared : new Roster())
        for (const s of list) add(cell, s.value, s.atMs, s.who, s.device)
        return cell
      }
      const whole = saidOf(of(samples))
      const together = merged(10, ...[samples.slice(0, cut), samples.slice(cut)].filter((part) => part.length > 0).map((part, source) => saidOf(of(part), source)))
      for (const field of ['count', 'sum', 'min', 'max', 'last', 'lastMs', 'histogram', 'contributorFacts', 'contributorOverflow'] as const)
        t.deepEqual(together[field], whole[field], field)
      t.deepEqual([together.devices, together.contributors], [new Set(samples.map((s) => s.device)).size, new Set(samples.map((s) => s.who)).size])
      const { histogram, contributorFacts } = whole
      t.deepEqual(
        histogram.counts.map((_, i) => contributorFacts.reduce((n, f) => n + (f.bucketCounts[i] ?? 0), 0)),
        [...histogram.counts],
      )
    }),
  )
})

test('merge-partials: an overflow of contributors or devices is never forgotten by a merge', (t) => {
  const small = newCell(1)
  add(small, 1, 0, 'a', 'd')
  add(small, 1, 0, 'b', 'd')
  t.true(merged(100, saidOf(small)).contributorOverflow)
  const many = newCell(1)
  for (let i = 0; i <= DEVICES_MAX; i++) add(many, 1, 0, 'a', `d${i}`)
  const said = saidOf(many)
  t.true(said.contributorOverflow)
  t.is(said.deviceIds.length, DEVICES_MAX)
  const one = newCell(1)
  add(one, 1, 0, 'a', 'another')
  t.like(merged(1, { ...said, contributorOverflow: false }, saidOf(one)), { contributorOverflow: true, devices: DEVICES_MAX })
})
