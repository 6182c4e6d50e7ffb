import test from 'ava'
import { createMembership, globMatcher } from '../../../functions/normalize-telemetry/membership.ts'
import { pseudonyms } from '../../helpers/telemetry.ts'

test('membership: a glob matches whole text; dots, brackets and newlines are never special', (t) => {
  t.true(globMatcher('tray-*')('tray-07'))
  t.false(globMatcher('tray-*')('a-tray-07'))
  t.true(globMatcher('a.b')('a.b'))
  t.false(globMatcher('a.b')('axb'))
  t.true(globMatcher('t?')('t1'))
  t.true(globMatcher('*')('two\nlines'))
  t.true(globMatcher('[a]')('[a]'))
})

test('membership: the first pool that matches wins, and a host of no pool has none', (t) => {
  const m = createMembership(
    [
      { name: 'a', rack: 'r', members: [{ host: 'x-1' }] },
      { name: 'b', members: [{ host: 'x-*' }] },
    ],
    [],
    pseudonyms,
  )
  t.like(m.poolOf('x-1'), { pool: 'a', rack: 'r' })
  t.like(m.poolOf('x-2'), { pool: 'b', rack: null })
  t.like(m.poolOf('y'), { pool: null, rack: null })
})

test('membership: a tenant is a pseudonym, $namespace is replaced literally, and no namespace is no tenant (N1)', (t) => {
  const m = createMembership(
    [],
    [
      { match: { namespace: 'team-*' }, tenant: '$namespace' },
      { match: {}, tenant: 'rest' },
    ],
    pseudonyms,
  )
  t.is(m.tenantOf('team-a'), pseudonyms.tenant('team-a'))
  t.is(m.tenantOf('team-$&'), pseudonyms.tenant('team-$&'))
  t.is(m.tenantOf('other'), pseudonyms.tenant('rest'))
  t.is(m.tenantOf(null), null)
  t.is(createMembership([], [], pseudonyms).tenantOf('team-a'), null)
})
