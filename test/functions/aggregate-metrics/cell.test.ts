import test from 'ava'
import { Roster } from '../../../functions/aggregate-metrics/roster.ts'
import { add, newCell, saidOf } from '../../helpers/cells.ts'
import type { WindowPartial } from '../../../schemas/records.ts'
import { codecs } from '../../helpers/telemetry.ts'

test('cell: count, sum, min, max and the newest value, not the last one added', (t) => {
  const cell = newCell()
  add(cell, 5, 2000, 'a', 'd1')
  add(cell, -1, 1000, 'b', 'd2')
  add(cell, 0, 1500, 'b', 'd2')
  const said = saidOf(cell)
  t.like(said, { count: 3, sum: 4, min: -1, max: 5, last: 5, lastMs: 2000, contributorOverflow: false })
  t.deepEqual(
    said.contributorFacts.map((f) => [f.id, f.sum, f.count]),
    [
      ['a', 5, 1],
      ['b', -1, 2],
    ],
  )
  t.deepEqual(said.deviceIds, ['d1', 'd2'])
})

test('cell: what a partial says does not depend on whom its roster has seen before (W3)', (t) => {
  const used = new Roster()
  for (const name of ['z', 'y', 'b', 'a']) {
    used.contributors.numberOf(name)
    used.devices.numberOf(`d-${name}`)
  }
  const said = [used, new Roster()].map((roster) => {
    const cell = newCell(10, roster)
    for (const [i, name] of ['b', 'c', 'a', 'b'].entries()) add(cell, i + 1, i, name, `d-${name}`)
    return cell.aggregate(3, codecs)
  })
  t.deepEqual(said[0], said[1])
  t.deepEqual({ ...codecs.decodeBare('CellMembers', (said[0] as WindowPartial).members) }, { contributors: ['a', 'b', 'c'], devices: ['d-a', 'd-b', 'd-c'] })
})

test('cell: a value of a contributor beyond the bound still counts in the cell, and its device too', (t) => {
  const cell = newCell(1)
  add(cell, 1, 0, 'a', 'd1')
  add(cell, 2, 1, 'b', 'd2')
  const said = saidOf(cell)
  t.like(said, { count: 2, sum: 3, contributorOverflow: true, deviceIds: ['d1', 'd2'] })
  t.deepEqual(
    said.contributorFacts.map((f) => [f.id, f.sum]),
    [['a', 1]],
  )
})

test('cell: it says once what it counted; asked again it fails rather than say it without its buckets', (t) => {
  const roster = new Roster()
  const cell = newCell(10, roster)
  add(cell, 1, 0, 'a', 'd')
  saidOf(cell)
  t.throws(() => saidOf(cell), { message: /SLU_INTERNAL.*twice/ })
  // And its table was handed on once.
  t.not(roster.takeTable(), roster.takeTable())
})
