import test from 'ava'
import { closedReason, decide } from '../../../functions/forward-summaries/decide.ts'
import { project } from '../../../functions/forward-summaries/project.ts'
import type { Permit, PolicyBundle } from '../../../schemas/policy.ts'
import type { WindowSummary } from '../../../schemas/records.ts'
import { NOW_MS, shippedPolicy, SITE, summary } from '../../helpers/gate.ts'

const policy = shippedPolicy()
const facts = { nowMs: NOW_MS, ledgerMs: 0, destinations: ['carry'], isFamilyWithheld: false, isDecidedAsUnlisted: false }
const decided = (value: WindowSummary, bundle = policy, over = {}) => decide(project(value, SITE, bundle), bundle, { ...facts, ...over })

test('decision: partial and all-zero cells are withheld, never released (W6, E06)', (t) => {
  t.like(decided(summary()), { kind: 'released', destinations: ['carry'] })
  t.like(decided(summary({ partial: true })), { kind: 'withheld', reasons: ['partial'] })
  t.like(
    decided(
      summary(
        {},
        Array.from({ length: 12 }, () => 0),
      ),
    ),
    { kind: 'withheld', reasons: ['all-zero', 'below-minimum-group'] },
  )
})

test('decision: an empty bundle permits nothing (E12)', (t) => {
  t.like(decided(summary(), { ...policy, permits: new Map() }), { kind: 'denied', reasons: ['not-permitted'] })
  t.like(decided(summary(), policy, { destinations: ['elsewhere'] }), { kind: 'denied', reasons: ['destination-not-permitted'] })
})

test('decision: windows before the first one of the bundle are denied, an expired bundle is closed (E11, E30)', (t) => {
  t.like(decided(summary(), { ...policy, manifest: { ...policy.manifest, firstWindow: NOW_MS } }), { kind: 'denied', reasons: ['before-first-window'] })
  t.is(decided(summary(), policy, { ledgerMs: policy.manifest.expires, nowMs: policy.manifest.expires - 1 }).kind, 'hold')
  t.is(decided(summary(), policy, { ledgerMs: NOW_MS + 300_001 }).kind, 'hold')
})

/** A cell of `count` contributors of the metric's kind. */
const group = (metric: string, count: number): WindowSummary =>
  summary(
    { metric, attributes: metric === 'hw.temperature' ? { sensor: 'HBM' } : {} },
    Array.from({ length: count }, () => 1),
  )

test('decision: the minimum group is met by exactly as many as it says, of tenants and of devices, and not by one fewer (E06)', (t) => {
  t.deepEqual(policy.minContributors, { tenant: 10, device: 10, facility: 1 })
  t.deepEqual([...new Set(['hw.power', 'hw.temperature'].map((name) => project(group(name, 1), SITE, policy).metric.contributor))].sort(), ['device', 'tenant'])
  for (const metric of ['hw.power', 'hw.temperature']) {
    t.like(decided(group(metric, 10)), { kind: 'released', reasons: ['permitted'], facts: { min_group: 'pass' } })
    t.like(decided(group(metric, 9)), { kind: 'withheld', reasons: ['below-minimum-group'], facts: { min_group: 'fail' } })
  }
  const strict = { ...policy, minContributors: { ...policy.minContributors, tenant: 11 } }
  t.is(decided(group('hw.power', 11), strict).kind, 'released')
  t.is(decided(group('hw.power', 10), strict).kind, 'withheld')
})

test('decision: ten contributors of whom one has nothing are nine (E06)', (t) => {
  t.like(decided(summary({}, [...Array.from({ length: 9 }, () => 100), 0])), { kind: 'withheld', reasons: ['below-minimum-group'] })
})

test('decision: a bundle is valid from notBefore on and closed from expires on, to the millisecond (E11)', (t) => {
  const { notBefore, expires } = policy.manifest
  const at = (nowMs: number): string | null => closedReason(policy, { nowMs, ledgerMs: 0 })
  t.regex(at(notBefore - 1) ?? '', /not valid yet/)
  t.is(at(notBefore), null)
  t.is(at(expires - 1), null)
  t.regex(at(expires) ?? '', /expired/)
})

test('decision: the clock may be 5 minutes behind the ledger and not a millisecond more (E14)', (t) => {
  t.is(closedReason(policy, { nowMs: NOW_MS - 300_000, ledgerMs: NOW_MS }), null)
  t.regex(closedReason(policy, { nowMs: NOW_MS - 300_001, ledgerMs: NOW_MS }) ?? '', /behind/)
})

test('decision: the first window of a bundle is one it decides (E30)', (t) => {
  const { windowStartMs } = summary()
  const from = (firstWindow: number) => decided(summary(), { ...policy, manifest: { ...policy.manifest, firstWindow } })
  t.is(from(windowStartMs).kind, 'released')
  t.like(from(windowStartMs + 1), { kind: 'denied', reasons: ['before-first-window'] })
})

test('decision: a grid must be known and be the permitted one, a cell be listed and be permitted: either alone denies (E08)', (t) => {
  const permit = policy.permits.get('hw.power') as Permit
  const withPermit = (over: Partial<Permit>, more: Partial<PolicyBundle> = {}) =>
    decided(summary(), { ...policy, ...more, permits: new Map(policy.permits).set('hw.power', { ...permit, ...over }) })
  t.is(withPermit({}).kind, 'released')
  t.like(withPermit({ grid: '1m' }, { grids: new Map([...policy.grids, ['1m', 60_000]]) }), { reasons: ['grid-not-permitted'] })
  t.like(withPermit({}, { grids: new Map() }), { reasons: ['grid-not-permitted'] })
  t.like(withPermit({ cells: ['trainium-a'] }), { reasons: ['cell-not-permitted'] })
  t.like(withPermit({ cells: ['unlisted'] }, { cells: new Map() }), { reasons: ['cell-not-permitted'] }, 'what is not listed cannot be permitted by its name')
})
