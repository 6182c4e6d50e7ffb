import test from 'ava'
import fc from 'fast-check'
import { canonicalObject, fixedPoint } from '../../../functions/forward-summaries/canonical.ts'
import { project } from '../../../functions/forward-summaries/project.ts'
import type { Permit } from '../../../schemas/policy.ts'
import { shippedPolicy, SITE, summary } from '../../helpers/gate.ts'

const policy = shippedPolicy()
const permit = policy.permits.get('hw.power') as Permit

test('canonical: whatever the value, an object has the size of its class (E05)', (t) => {
  fc.assert(
    fc.property(fc.double({ min: 0, max: 1e12, noNaN: true }), fc.constantFrom('value' as const, 'withheld' as const), (sum, status) => {
      return canonicalObject({ ...project(summary(), SITE, policy), sum }, permit, policy, status).length === policy.caps.objectBytes
    }),
  )
  t.pass()
})

test('canonical: minimum, maximum, last, counts and sources have no member (E27)', (t) => {
  const body = JSON.parse(canonicalObject(project(summary(), SITE, policy), permit, policy, 'value').toString()) as object
  t.deepEqual(Object.keys(body), ['bundle', 'cell', 'grid', 'metric', 'pad', 'scale', 'site', 'statistic', 'status', 'unit', 'v', 'value', 'version', 'window'])
})

test('canonical: fixed point is a whole multiple of the step, never −0 nor beyond safe integers (E03)', (t) => {
  t.is(fixedPoint(1.26, 1, 5), 15)
  t.true(Object.is(fixedPoint(-0.001, 0, 10), 0))
  t.throws(() => fixedPoint(1e300, 3, 1))
})

test('canonical: an object that fills its size class to the byte leaves, one byte more holds (E05)', (t) => {
  const projected = project(summary(), SITE, policy)
  const object = (objectBytes: number) => canonicalObject(projected, permit, { ...policy, caps: { ...policy.caps, objectBytes } }, 'value')
  const { pad } = JSON.parse(object(512).toString()) as { pad: string }
  const bare = 512 - pad.length
  t.is(object(bare).length, bare)
  t.true(object(bare).includes('"pad":""'))
  t.like(
    t.throws(() => object(bare - 1)),
    { code: 'SLU_EGRESS_HOLD' },
  )
})

test('canonical: fixed point rounds to the nearest step, halves up, to the last safe integer', (t) => {
  t.deepEqual(
    [7.4, 7.5, 12.4, 12.5, -7.5].map((value) => fixedPoint(value, 0, 5)),
    [5, 10, 10, 15, -5],
  )
  t.is(fixedPoint(Number.MAX_SAFE_INTEGER, 0, 1), Number.MAX_SAFE_INTEGER)
  t.throws(() => fixedPoint(Number.MAX_SAFE_INTEGER + 1, 0, 1), { message: /SLU_EGRESS_HOLD/ })
})
