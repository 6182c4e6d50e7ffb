import test from 'ava'
import { makeFoldPlan } from '../../../functions/aggregate-metrics/fold-plan.ts'
import { EMISSIONS_MAX, Roster } from '../../../functions/aggregate-metrics/roster.ts'
import { batchBytes } from '../../helpers/metrics.ts'
import { codecs } from '../../helpers/telemetry.ts'

const plan = () => makeFoldPlan(codecs.decode('NodeBatch', batchBytes(['x', 'y', 'x'].map((tenant, i) => ({ device: `d${i}`, tenant, metric: 'hw.power', value: i })))), codecs)

test('roster: rows are numbered once a plan, and anew where another roster wrote its numbers there', (t) => {
  const of = plan()
  const [first, other] = [new Roster(), new Roster()]
  first.number(of, 0)
  t.deepEqual([...of.places], [0, 0, 0, 1, 1, 1, 2, 0, 2])
  other.contributors.numberOf('y')
  other.number(of, 0)
  t.deepEqual([...of.places], [0, 1, 0, 1, 0, 1, 2, 1, 2])
  first.number(of, 0)
  t.deepEqual([...of.places], [0, 0, 0, 1, 1, 1, 2, 0, 2])
})

test('roster: members are encoded anew only where they are others than a source said last', (t) => {
  const roster = new Roster()
  for (const name of ['b', 'a', 'c']) roster.contributors.numberOf(name)
  const [ab, c] = [[1, 0], [2]]
  const first = roster.members(0, ab, [], codecs)
  t.deepEqual({ ...codecs.decodeBare('CellMembers', first) }, { contributors: ['a', 'b'], devices: [] })
  t.is(roster.members(0, [...ab], [], codecs), first)
  t.notDeepEqual(roster.members(0, c, [], codecs), first)
  t.deepEqual(roster.members(1, ab, [], codecs), first)
})

test('roster: it is worn out one day, so that those long gone are forgotten', (t) => {
  const roster = new Roster()
  for (let i = 1; i < EMISSIONS_MAX; i++) roster.members(0, [], [], codecs)
  t.false(roster.isWornOut())
  roster.members(0, [], [], codecs)
  t.true(roster.isWornOut())
})

test('roster: a window goes on with the table of one that is over, and finds it empty', (t) => {
  const roster = new Roster()
  const [first, second] = [roster.takeTable(), roster.takeTable()]
  t.not(first, second)
  first.add(1, 1, 1)
  roster.giveTable(first)
  t.is(roster.takeTable(), first)
  t.is(first.size, 0)
})
