import test from 'ava'
import { project } from '../../../functions/forward-summaries/project.ts'
import type { WindowSummary } from '../../../schemas/records.ts'
import { shippedPolicy, summary, SITE } from '../../helpers/gate.ts'

const policy = shippedPolicy()
const refused = { code: 'SLU_EGRESS_UNKNOWN_FIELD' } as const

test('projection: a cell is known by closed names, an unlisted one by none of its labels', (t) => {
  t.like(project(summary(), SITE, policy).identity, { metric: 'hw.power', grid: '5s', cell: 'blackwell-a' })
  t.is(project(summary({ pool: 'secret-pool' }), SITE, policy).identity.cell, 'unlisted')
  t.is(project(summary({ attributes: { extra: 'x' } }), SITE, policy).identity.cell, 'unlisted')
})

test('projection: names that look alike or are inherited are rejected, never folded into known ones (E02, E03)', (t) => {
  for (const metric of ['ｈw.power', 'HW.POWER', 'hw.power\u200b', '\u202ehw.power', '__proto__', 'constructor'])
    t.like(
      t.throws(() => project({ ...summary(), metric }, SITE, policy)),
      refused,
    )
  for (const field of ['user\u212Aid', 'constructor', 'ｕser'])
    t.like(
      t.throws(() => project({ ...summary(), [field]: 1 } as WindowSummary, SITE, policy)),
      refused,
    )
})

test('projection: impossible numbers are rejected (E03)', (t) => {
  for (const over of [{ sum: Number.NaN }, { sum: Infinity }, { count: 0 }, { count: 2 ** 53 }, { windowStartMs: -5000, windowEndMs: 0 }])
    t.like(
      t.throws(() => project(summary(over), SITE, policy)),
      refused,
    )
})

test('projection: a field whose class does not let it leave rejects the object (E01)', (t) => {
  const classes = new Map(policy.classes)
  classes.delete('parametersHash')
  t.like(
    t.throws(() => project(summary(), SITE, { ...policy, classes })),
    refused,
  )
  const never = new Map(policy.classes).set('sum', { class: 'never', unit: '', domain: '', scale: '' })
  t.like(
    t.throws(() => project(summary(), SITE, { ...policy, classes: never })),
    refused,
  )
})

test('projection: the least window, count and start are ones; unit and kind of contributor must each be the metric’s (E02, E03, E08)', (t) => {
  const at = (windowStartMs: number, windowEndMs: number) => summary({ windowStartMs, windowEndMs })
  t.is(project(at(0, 5000), SITE, policy).identity.window, 0)
  t.is(project(at(7, 8), SITE, policy).gridMs, 1)
  t.is(project(summary({}, [1]), SITE, policy).count, 1)
  const odd = [
    at(-1, 0),
    at(5000, 5000),
    at(10_000, 5000),
    at(2 ** 53, 2 ** 53 + 1024),
    at(0, 2 ** 53),
    at(0.5, 1.5),
    summary({ unit: 'kW' }),
    summary({ contributorKind: 'device' }),
    summary({ count: 1.5 }),
    summary({ site: 'hall-2' }),
  ]
  for (const value of odd)
    t.like(
      t.throws(() => project(value, SITE, policy)),
      refused,
    )
})
