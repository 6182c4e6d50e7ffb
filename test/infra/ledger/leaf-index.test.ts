import test from 'ava'
import { LeafIndex } from '../../../infra/ledger/leaf-index.ts'
import type { DecisionLeaf, IntentLeaf, OutcomeLeaf } from '../../../schemas/ledger.ts'

const HOUR_MS = 3_600_000
const at = 24 * HOUR_MS * 20_000
const cell = { site: 's', metric: 'm', grid: '5s', window: 1, cell: 'c' }
const decided = { ...cell, bundle: 'b', version: 1, reasons: ['r'], source: { topic: 't', partition: 0, first: 0, last: 0 }, at }
const denied: DecisionLeaf = { type: 'denied', ...decided }
const intent = (destination = 'd', decision: IntentLeaf['decision'] = 'released'): IntentLeaf => ({
  type: 'intent',
  ...decided,
  decision,
  key: 's/m/5s/1/c.json',
  destination,
  sha256: 'x',
  bytes: 100,
  facts: {},
  budget: { bytes: 100, objects: 1 },
})
const outcome = (of: number, more: Partial<OutcomeLeaf> = {}): OutcomeLeaf => ({
  type: 'outcome',
  intent: of,
  key: 's/m/5s/1/c.json',
  destination: 'd',
  status: 'stored',
  etag: '',
  checksum: '',
  at,
  ...more,
})

test('leaf index: an intent is open until its outcome, and the decision of its cell stays', (t) => {
  const index = new LeafIndex()
  t.is(index.apply(intent(), 0), null)
  t.is(index.apply(intent('e'), 1), null)
  t.deepEqual(
    index.openIntents().map((i) => i.index),
    [0, 1],
  )
  t.is(index.apply(outcome(0), 2), null)
  t.like(index.decisionFor(cell), { decision: 'released', leafIndex: 0 })
  t.deepEqual(
    index.decisionFor(cell)?.intents.map((i) => i.outcome?.status ?? 'open'),
    ['stored', 'open'],
  )
})

test('leaf index: a second decision, a second intent of a destination and an outcome of nothing are named as wrong (E08, E13)', (t) => {
  const index = new LeafIndex()
  index.apply(intent(), 0)
  for (const [leaf, name] of [
    [denied, 'denied after released'],
    [intent(), 'same destination'],
    [intent('e', 'withheld'), 'another decision'],
    [outcome(9), 'no such intent'],
    [outcome(0, { key: 'other' }), 'another key'],
    [outcome(0, { destination: 'other' }), 'another destination'],
  ] as const)
    t.not(index.apply(leaf, 5), null, name)
  t.is(index.apply(outcome(0), 6), null)
  t.not(index.apply(outcome(0), 7), null, 'twice')
  t.not(new LeafIndex().apply(intent('d', 'withheld'), 0), null, 'withheld without its leaf')
})

test('leaf index: claims keep two writers from one cell, and are free again after a failure', (t) => {
  const index = new LeafIndex()
  const first = index.claim([{ ...denied, type: 'withheld' }, intent('d', 'withheld')])
  t.true('names' in first)
  t.deepEqual(index.claim([denied]), { taken: 's/m/5s/1/c.json' })
  index.release('names' in first ? first.names : [])
  t.true('names' in index.claim([denied]))
  t.true('taken' in index.claim([outcome(0)]), 'an outcome of no open intent')
})

test('leaf index: budget is reserved per UTC day and hour, is never given back, and a clock set back frees nothing', (t) => {
  const index = new LeafIndex()
  index.reserve(intent())
  index.reserve(denied)
  t.deepEqual(index.usage(at), { bytesToday: 100, objectsThisHour: 1 })
  t.deepEqual(index.usage(at - 48 * HOUR_MS), { bytesToday: 100, objectsThisHour: 1 })
  t.deepEqual(index.usage(at + HOUR_MS), { bytesToday: 100, objectsThisHour: 0 })
  t.deepEqual(index.usage(at + 24 * HOUR_MS), { bytesToday: 0, objectsThisHour: 0 })
})

test('leaf index: the highest version of a policy is remembered, also behind an older one (E11)', (t) => {
  const index = new LeafIndex()
  for (const version of [2, 7, 3]) index.apply({ type: 'policy', bundle: `b${version}`, bundle_id: 'x', version, signature: 'unsigned', root: '', at: at + version }, 0)
  t.deepEqual(index.policy, { bundle: 'b3', version: 3, versionMax: 7 })
  t.is(index.highestMs, at + 7)
})
