import test from 'ava'
import { decide } from '../../../functions/forward-summaries/decide.ts'
import { project } from '../../../functions/forward-summaries/project.ts'
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
