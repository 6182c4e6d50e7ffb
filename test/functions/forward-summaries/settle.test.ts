import test from 'ava'
import { settleFor } from '../../../functions/forward-summaries/forward-summaries.ts'
import { nodeHashing } from '../../../infra/hashing.ts'
import type { IntentState } from '../../../schemas/ledger.ts'
import { MemoryStore, NOW_MS, openGate, shippedPolicy, SITE, summary } from '../../helpers/gate.ts'

test('settling: an open intent of a former bundle is abandoned when absent, its bytes are not sent any more (E31)', async (t) => {
  const { ledger, send, store } = await openGate()
  store.next = { outcome: { kind: 'retry', reason: 'lost' }, isStored: false }
  await t.throwsAsync(send(summary()))
  const policy = { ...shippedPolicy(), hash: 'e'.repeat(64) }
  const ports = { ledger, destinations: [store], hashing: nodeHashing, clock: { nowMs: () => NOW_MS, setTimer: () => () => {} } }
  const settle = settleFor({ site: SITE, policy, ports })
  t.is((await settle(ledger.openIntents()[0] as IntentState, 'found-open', new AbortController().signal)).status, 'abandoned')
  t.is(store.objects.size, 0)
})

test('settling: a destination that is gone from the site holds, nothing goes elsewhere', async (t) => {
  const { ledger, send, store } = await openGate()
  store.next = { outcome: { kind: 'hold', reason: '403' }, isStored: false }
  await t.throwsAsync(send(summary()))
  const ports = { ledger, destinations: [new MemoryStore('other')], hashing: nodeHashing, clock: { nowMs: () => NOW_MS, setTimer: () => () => {} } }
  const settle = settleFor({ site: SITE, policy: shippedPolicy(), ports })
  t.like(await t.throwsAsync(settle(ledger.openIntents()[0] as IntentState, 'found-open', new AbortController().signal)), { code: 'SLU_EGRESS_HOLD' })
})

test('settling: what is found under the key is done only if size and digest are both those of the intent (E13)', async (t) => {
  for (const [over, status] of [
    [{}, 'exists-same'],
    [{ bytes: 511 }, 'SLU_EGRESS_CONFLICT'],
    [{ sha256: 'a'.repeat(64) }, 'SLU_EGRESS_CONFLICT'],
  ] as const) {
    const { ledger, send, store } = await openGate()
    store.next = { outcome: { kind: 'retry', reason: 'lost' }, isStored: false }
    await t.throwsAsync(send(summary()))
    const intent = ledger.openIntents()[0] as IntentState
    store.head = async () => ({ kind: 'present', bytes: intent.leaf.bytes, sha256: intent.leaf.sha256, ...over })
    const ports = { ledger, destinations: [store], hashing: nodeHashing, clock: { nowMs: () => NOW_MS, setTimer: () => () => {} } }
    const settled = settleFor({ site: SITE, policy: shippedPolicy(), ports })(intent, 'found-open', new AbortController().signal)
    t.is(
      await settled.then(
        (outcome) => outcome.status,
        (error: { code: string }) => error.code,
      ),
      status,
    )
    t.is(store.objects.size, 0)
  }
})

test('settling: an outcome is no older than its intent, though the clock went back (E14)', async (t) => {
  for (const [aheadMs, atMs] of [
    [-60_000, NOW_MS],
    [60_000, NOW_MS + 60_000],
  ] as const) {
    const { ledger, send, store } = await openGate()
    store.next = { outcome: { kind: 'retry', reason: 'lost' }, isStored: false }
    await t.throwsAsync(send(summary()))
    const ports = { ledger, destinations: [store], hashing: nodeHashing, clock: { nowMs: () => NOW_MS + aheadMs, setTimer: () => () => {} } }
    const settle = settleFor({ site: SITE, policy: shippedPolicy(), ports })
    t.is((await settle(ledger.openIntents()[0] as IntentState, 'found-open', new AbortController().signal)).at, atMs)
  }
})
