import test from 'ava'
import fc from 'fast-check'
import { choose, lostReason, mayServe, scores, type Ask, type Candidate } from '../../../functions/route-inference/choose.ts'
import type { Verdict } from '../../../schemas/records.ts'

const candidate = (more: Partial<Candidate> = {}): Candidate => ({
  id: 'e1',
  pool: 'p',
  api: 'openai',
  models: ['m'],
  slots: 4,
  inFlight: 0,
  standing: undefined,
  isBreakerOpen: false,
  isResting: false,
  latencyMs: null,
  ...more,
})
const ask: Ask = { api: 'openai', models: ['m'], remainingMs: 1000, tried: new Set() }
const verdicts: Verdict[] = ['ROUTE_OK', 'DEPRIORITISE', 'DO_NOT_ROUTE', 'DRAIN', 'ISOLATE_DOMAIN']

const anyCandidate = fc.record({
  pool: fc.constant('p'),
  api: fc.constantFrom('openai' as const, 'oip' as const),
  models: fc.constantFrom<string[]>(['m'], ['n'], ['m', 'n']),
  slots: fc.integer({ min: 1, max: 4 }),
  inFlight: fc.integer({ min: 0, max: 4 }),
  standing: fc.option(fc.record({ verdict: fc.constantFrom(...verdicts), weight: fc.constantFrom(0, 0.5, 1), reasons: fc.constant([]), isExpired: fc.boolean() }), {
    nil: undefined,
  }),
  isBreakerOpen: fc.boolean(),
  isResting: fc.boolean(),
  latencyMs: fc.option(fc.integer({ min: 0, max: 2000 })),
})

test('choose: an endpoint any filter refuses is never chosen, and each one lost is counted once (R2, R5, R7)', (t) => {
  fc.assert(
    fc.property(fc.array(anyCandidate, { maxLength: 12 }), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (drawn, r) => {
      const all = drawn.map((c, i) => ({ ...c, id: `e${i}` }))
      const choice = choose(all, ask, () => r)
      const usable = all.filter((c) => lostReason(c, ask) === null)
      const lost = Object.values(choice.lost).reduce((a, b) => a + b, 0)
      if (lost + usable.length !== all.length || (choice.chosen === null) !== (usable.length === 0)) return false
      const chosen = all.find((c) => c.id === choice.chosen?.endpoint)
      if (chosen === undefined) return true
      const verdict = chosen.standing?.verdict ?? 'ROUTE_OK'
      return (
        ['ROUTE_OK', 'DEPRIORITISE'].includes(verdict) &&
        chosen.standing?.weight !== 0 &&
        !chosen.isBreakerOpen &&
        !chosen.isResting &&
        chosen.inFlight < chosen.slots &&
        chosen.models.includes('m')
      )
    }),
  )
  t.pass()
})

test('choose: DO_NOT_ROUTE, DRAIN, ISOLATE_DOMAIN and weight 0 never serve; no row does (R7, R10)', (t) => {
  const standing = { weight: 1, reasons: [], isExpired: false }
  t.deepEqual(
    verdicts.map((verdict) => mayServe({ ...standing, verdict })),
    [true, true, false, false, false],
  )
  t.false(mayServe({ ...standing, verdict: 'ROUTE_OK', weight: 0 }))
  t.true(mayServe(undefined))
})

test('choose: a substitute never wins while an endpoint of the model asked for is left (R2)', (t) => {
  const all = [candidate({ id: 'own', inFlight: 3 }), candidate({ id: 'sub', models: ['s'] })]
  t.is(choose(all, { ...ask, models: ['m', 's'] }, () => 0.9).chosen?.endpoint, 'own')
  t.is(choose([candidate({ id: 'own', inFlight: 4 }), all[1] as Candidate], { ...ask, models: ['m', 's'] }, () => 0.9).chosen?.model, 's')
})

test('choose: a tried endpoint is not used while another is left, and is used if none is (R4)', (t) => {
  const all = [candidate({ id: 'a' }), candidate({ id: 'b', inFlight: 3 })]
  t.is(choose(all, { ...ask, tried: new Set(['a']) }, () => 0).chosen?.endpoint, 'b')
  t.is(choose(all, { ...ask, tried: new Set(['a', 'b']) }, () => 0).chosen?.endpoint, 'a')
})

test('scores: load, latency and weight each raise the score as the formula says', (t) => {
  const half = { verdict: 'DEPRIORITISE', weight: 0.5, reasons: [], isExpired: false } as const
  t.deepEqual(scores([candidate({ latencyMs: 100 }), candidate({ latencyMs: 200, inFlight: 1 }), candidate({ standing: half })]), [0.25, 1, 0.5])
})

test('choose: an endpoint too slow for the deadline may not return, whatever else keeps it busy; lasting reasons neither', (t) => {
  const slow = candidate({ latencyMs: 1001 })
  const counts = (all: Candidate[], more: Partial<Ask> = {}) => {
    const { infeasible, mayReturn, lost } = choose(all, { ...ask, ...more }, () => 0)
    return { infeasible, mayReturn, lost }
  }
  t.deepEqual(counts([slow]), { infeasible: 1, mayReturn: 0, lost: { infeasible: 1 } })
  t.deepEqual(counts([{ ...slow, inFlight: 4 }, candidate({ api: 'oip', latencyMs: 5000 })]), { infeasible: 1, mayReturn: 0, lost: { full: 1, 'wrong-api': 1 } })
  t.deepEqual(counts([slow, candidate({ inFlight: 4, latencyMs: 1000 })]), { infeasible: 1, mayReturn: 1, lost: { infeasible: 1, full: 1 } })
  t.deepEqual(counts([candidate({ models: ['s'] }), candidate({ models: ['x'] })], { barred: ['s'] }), { infeasible: 0, mayReturn: 0, lost: { context: 1, 'wrong-model': 1 } })
})
