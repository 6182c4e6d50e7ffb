import { readFileSync, readdirSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import test from 'ava'
import { forwardSummaries } from '../../../functions/forward-summaries/forward-summaries.ts'
import { nodeHashing } from '../../../infra/hashing.ts'
import { verifyLedger } from '../../../infra/ledger/verify.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { createCodecs } from '../../../schemas/codec.ts'
import type { LogRecord } from '../../../schemas/log.ts'
import { cellLookupKey, type Permit, type PolicyBundle } from '../../../schemas/policy.ts'
import type { PutOutcome } from '../../../schemas/ports.ts'
import type { WindowSummary } from '../../../schemas/records.ts'
import { shippedSchemas, testCodecs } from '../../helpers/codecs.ts'
import { MemoryStore, NOW_MS, openGate, shippedPolicy, summary } from '../../helpers/gate.ts'

const few = Array.from({ length: 9 }, () => 100)
const code = (error: unknown): string => (error instanceof SluiceError ? error.code : String(error))

test('gate: a permitted cell of 12 tenants is released with intent, outcome and receipt, not without a leaf', async (t) => {
  const { send, store, ledger } = await openGate()
  const [receipt] = await send(summary())
  t.like(receipt, { decision: 'released', outcome: 'stored', destination: 'carry', bytes: 512, leafIndex: 0 })
  t.true(receipt?.policyVersion.includes('unsigned'))
  t.is(store.objects.size, 1)
  t.is(ledger.size, 2)
  const body = JSON.parse(String(store.objects.get(receipt?.objectKey as string))) as Record<string, unknown>
  t.like(body, { status: 'value', value: 100, statistic: 'mean', cell: 'blackwell-a' })
})

test('gate: 9 contributors are withheld by an object of the same size, never by silence (E06, E05)', async (t) => {
  const { send, store, ledger } = await openGate()
  const [receipt] = await send(summary({}, few))
  t.like(receipt, { decision: 'withheld', reasons: ['below-minimum-group'], bytes: 512 })
  const body = JSON.parse(String(store.objects.get(receipt?.objectKey as string))) as Record<string, unknown>
  t.like(body, { status: 'withheld', value: 0 })
  t.false('reasons' in body)
  t.is(ledger.size, 3)
})

test('gate: exactly 10 contributors, the minimum, are released with their value; one fewer, or one of them with nothing, is withheld (E06)', async (t) => {
  for (const [sums, decision] of [
    [[...few, 100], 'released'],
    [few, 'withheld'],
    [[...few, 0], 'withheld'],
  ] as const) {
    const { send, store } = await openGate()
    const [receipt] = await send(summary({}, sums))
    t.is(receipt?.decision, decision)
    const body = JSON.parse(String(store.objects.get(receipt?.objectKey as string))) as Record<string, unknown>
    t.is(body['status'], decision === 'released' ? 'value' : 'withheld')
    t.is(body['value'], decision === 'released' ? 100 : 0)
  }
})

test('gate: what the bundle denies or does not name sends nothing, only a leaf (deny by default)', async (t) => {
  const { send, store, ledger } = await openGate()
  t.like((await send(summary({ metric: 'hw.gpu.memory.limit' })))[0], { decision: 'denied', reasons: ['metric-denied'], sha256: null, bytes: 0 })
  t.like((await send(summary({ metric: 'sluice.gpu.nvlink.recoveries' })))[0], { decision: 'denied', reasons: ['not-permitted'] })
  t.like((await send(summary({ pool: 'canary-pool' })))[0], { decision: 'denied', reasons: ['cell-not-permitted'] })
  t.is(store.puts, 0)
  t.is(ledger.size, 3)
})

test('gate: an unknown field rejects the whole summary, it is not stripped (E01)', async (t) => {
  const { send, store, ledger } = await openGate()
  const drifted = { ...summary(), userId: 'canary' } as WindowSummary
  t.is(code(await t.throwsAsync(send(drifted))), 'SLU_EGRESS_UNKNOWN_FIELD')
  t.is(store.puts + ledger.size, 0)
})

test('gate: another grid of a cell is denied, a shifted window rejected (E08)', async (t) => {
  const { send, store } = await openGate()
  const windowStartMs = NOW_MS - 60_000
  t.like((await send(summary({ windowStartMs, windowEndMs: windowStartMs + 60_000 })))[0], { decision: 'denied', reasons: ['grid-not-permitted'] })
  const shifted = summary({ windowStartMs: windowStartMs + 1000, windowEndMs: windowStartMs + 6000 })
  t.is(code(await t.throwsAsync(send(shifted))), 'SLU_EGRESS_UNKNOWN_FIELD')
  t.is(store.puts, 0)
})

test('gate: a replay, even with other data or under a looser policy, gets the first decision and no second object (W11, E13, E30)', async (t) => {
  const first = await openGate()
  const [before] = await first.send(summary({}, few))
  const [again] = await first.send(summary())
  t.deepEqual(again, before)
  await first.ledger.close()
  const policy = shippedPolicy()
  const loose = { ...policy, hash: 'f'.repeat(64), manifest: { ...policy.manifest, version: 2 }, minContributors: { tenant: 1, device: 1, facility: 1 } }
  const second = await openGate({ dir: first.dir, store: first.store, policy: loose })
  t.is((await second.send(summary()))[0]?.decision, 'withheld')
  t.is(first.store.puts, 1)
})

test('gate: records of one cell that arrive together share one decision, none is held', async (t) => {
  const { send, ledger } = await openGate()
  const answers = await Promise.all([send(summary({ pool: 'x' })), send(summary({ pool: 'y' }))])
  t.deepEqual(
    answers.map((a) => a[0]?.decision),
    ['denied', 'denied'],
  )
  t.is(ledger.size, 1)
})

test('gate: a destination that refuses holds; the original bytes go out later, nothing is dropped or decided anew (E13, E23, E31)', async (t) => {
  const { send, store, ledger } = await openGate()
  for (const kind of ['hold', 'retry'] as const) {
    store.next = { outcome: { kind, reason: '403 AccessDenied' } as PutOutcome, isStored: false }
    t.is(code(await t.throwsAsync(send(summary()))), 'SLU_EGRESS_HOLD')
    t.is(ledger.openIntents().length, 1)
  }
  t.like((await send(summary({}, few)))[0], { decision: 'released', outcome: 'stored' })
  t.is(store.objects.size, 1)
})

test('gate: a crash between PUT and outcome is reconciled to one object (E13)', async (t) => {
  const first = await openGate()
  first.store.next = { outcome: { kind: 'retry', reason: 'response lost' }, isStored: true }
  await t.throwsAsync(first.send(summary()))
  await first.ledger.close()
  const second = await openGate({ dir: first.dir, store: first.store })
  t.like((await second.send(summary()))[0], { decision: 'released', outcome: 'exists-same' })
  t.is(first.store.puts, 1)
  t.is(second.ledger.openIntents().length, 0)
})

test('gate: another object under the key is a conflict and is never overwritten (W11)', async (t) => {
  const { send, store } = await openGate()
  const key = `hall-1/hw.power/5s/${(NOW_MS - 60_000) / 5000}/blackwell-a.json`
  store.objects.set(key, Buffer.from('other'))
  t.is(code(await t.throwsAsync(send(summary()))), 'SLU_EGRESS_CONFLICT')
  t.is(String(store.objects.get(key)), 'other')
})

test('gate: missing facts, an overflown group, an expired bundle and a clock set back hold, they are not guessed (E11, E14)', async (t) => {
  const { send, store } = await openGate()
  for (const odd of [{ contributorOverflow: true }, { count: 99 }, { sum: 5 }]) t.is(code(await t.throwsAsync(send(summary(odd)))), 'SLU_EGRESS_HOLD')
  const late = await openGate({ nowMs: shippedPolicy().manifest.expires })
  t.is(code(await t.throwsAsync(late.send(summary()))), 'SLU_EGRESS_HOLD')
  const first = await openGate()
  await first.send(summary())
  await first.ledger.close()
  const back = await openGate({ dir: first.dir, nowMs: NOW_MS - 301_000 })
  t.is(code(await t.throwsAsync(back.send(summary({ metric: 'hw.energy' })))), 'SLU_EGRESS_HOLD')
  t.is(store.puts + late.store.puts, 0)
})

test('gate: a ledger that cannot be written lets nothing out', async (t) => {
  const { send, store, ledger } = await openGate()
  await ledger.close()
  t.is(code(await t.throwsAsync(send(summary()))), 'SLU_LEDGER_UNWRITABLE')
  t.is(store.puts, 0)
})

test('gate: an exhausted cap holds before an intent is written (E05)', async (t) => {
  const policy = { ...shippedPolicy(), caps: { objectBytes: 512, bytesPerDay: 1000, objectsPerHour: 10 } }
  const { send, ledger } = await openGate({ policy })
  await send(summary())
  t.is(code(await t.throwsAsync(send(summary({ metric: 'hw.energy' })))), 'SLU_EGRESS_HOLD')
  t.is(ledger.openIntents().length, 0)
})

test('gate: a cap is what may leave: the object that fills it leaves, the next one holds (E05)', async (t) => {
  const three = ['hw.power', 'hw.energy', 'sluice.gpu.clock'].map((metric) => summary({ metric }))
  const released = async (caps: Partial<PolicyBundle['caps']>): Promise<string[]> => {
    const policy = shippedPolicy()
    const { send } = await openGate({ policy: { ...policy, caps: { ...policy.caps, ...caps } } })
    const outcomes = []
    for (const value of three) outcomes.push(await send(value).then(([receipt]) => receipt?.decision ?? 'none', code))
    return outcomes
  }
  const two = ['released', 'released', 'SLU_EGRESS_HOLD']
  t.deepEqual(await released({ objectsPerHour: 3, bytesPerDay: 1536 }), ['released', 'released', 'released'])
  t.deepEqual(await released({ objectsPerHour: 2 }), two)
  t.deepEqual(await released({ bytesPerDay: 1535 }), two)
  t.deepEqual(await released({ bytesPerDay: 1024 }), two)
})

test('gate: a window may end 5 minutes ahead of the clock and not a millisecond more (E14)', async (t) => {
  const ahead = summary({ windowStartMs: NOW_MS + 295_000, windowEndMs: NOW_MS + 300_000 })
  t.is((await (await openGate()).send(ahead))[0]?.decision, 'released')
  t.is(code(await t.throwsAsync((await openGate({ nowMs: NOW_MS - 1 })).send(ahead))), 'SLU_RECORD_FUTURE')
})

test('gate: a withheld metric withholds the twins that come after it (E28)', async (t) => {
  const { send } = await openGate()
  await send(summary({ metric: 'hw.energy' }, few))
  t.like((await send(summary()))[0], { decision: 'withheld', reasons: ['family-withheld'] })
})

test('gate: inputs that differ in protected labels, or in a withheld cell, leave identical bytes (E33)', async (t) => {
  const bytesOf = async (value: WindowSummary): Promise<string> => {
    const { send, store } = await openGate()
    await send(value)
    return JSON.stringify([...store.objects].map(([k, v]) => [k, v.toString()]))
  }
  const renamed = summary().contributorFacts.map((f, i) => ({ ...f, id: `other-${i}` }))
  t.is(await bytesOf(summary()), await bytesOf(summary({ contributorFacts: renamed, min: 1, max: 9, last: 3, devices: 5 })))
  t.is(await bytesOf(summary({}, few)), await bytesOf(summary({}, [900, 1])))
})

test('gate: no canary of the raw input stands in an object, a receipt or the ledger, in any encoding (E04, E27)', async (t) => {
  const { send, store, dir } = await openGate()
  const receipts = [...(await send(summary())), ...(await send(summary({ metric: 'hw.energy' }, few))), ...(await send(summary({ pool: 'canary-pool' })))]
  const left = [
    JSON.stringify(receipts),
    ...[...store.objects].flatMap(([k, v]) => [k, v.toString()]),
    readFileSync(join(dir, 'wal'), 'latin1'),
    ...readdirSync(join(dir, 'objects')).map((f) => readFileSync(join(dir, 'objects', f), 'latin1')),
  ].join('\n')
  const secrets = ['tenant-canary-3', 'canary-parameters', 'canary-id', 'canary-pool', '7771', '7772', '7773', '4711', '4712', '4713']
  for (const secret of secrets.filter((s) => /[a-z]/.test(s)))
    for (const form of [secret, Buffer.from(secret).toString('base64'), Buffer.from(secret).toString('hex'), createHash('sha256').update(secret).digest('hex')])
      t.false(left.includes(form), form)
  for (const number of secrets.filter((s) => !/[a-z]/.test(s))) t.notRegex(left, new RegExp(`[:,]${number}[,}]`))
  t.true((await verifyLedger(dir)).verified)
})

test('gate: a bundle of another site is refused at construction', (t) => {
  const destinations = [new MemoryStore()]
  const ports = { ledger: null as never, destinations, hashing: nodeHashing, clock: { nowMs: () => NOW_MS, setTimer: () => () => {} } }
  t.is(code(t.throws(() => forwardSummaries({ site: 'hall-2', policy: shippedPolicy(), ports }))), 'SLU_EGRESS_POLICY')
})

test('gate: a field that another writer added rejects the summary, where a reader would resolve it away (E01)', async (t) => {
  const { ledger, store } = await openGate()
  const schemas = shippedSchemas()
  const own = schemas.get('WindowSummary') as unknown as { fields: object[] }
  const drifted = { ...own, fields: [...own.fields, { name: 'customer', type: 'string', default: '' }] } as never
  const foreign = testCodecs()
  const bytes = createCodecs(new Map(schemas).set('WindowSummary', drifted)).encode('WindowSummary', { ...summary(), customer: 'acme' } as never)
  foreign.addWriter('WindowSummary', drifted)
  t.false('customer' in foreign.decode('WindowSummary', bytes), 'the reader strips it: the gate must not rely on seeing it')
  const ports = { ledger, destinations: [store], hashing: nodeHashing, clock: { nowMs: () => NOW_MS, setTimer: () => () => {} } }
  const gate = forwardSummaries({ site: 'hall-1', policy: shippedPolicy(), ports })
  const decode = (value: Buffer | null): WindowSummary => gate.decode({ value } as LogRecord, { codecs: foreign, site: 'hall-1', nowMs: () => NOW_MS })
  t.is(code(t.throws(() => decode(bytes))), 'SLU_EGRESS_UNKNOWN_FIELD')
  const sound = foreign.encode('WindowSummary', summary())
  t.is(decode(sound).metric, 'hw.power')
  for (const bad of [null, Buffer.alloc(0), sound.subarray(0, 40), Buffer.concat([sound, Buffer.from([0])])])
    t.throws(() => decode(bad), { message: /SLU_RECORD_UNDECODABLE|SLU_EGRESS_UNKNOWN_FIELD/ })
})

test('gate: a cell that the next bundle lists does not open the windows in which it was unlisted (E30)', async (t) => {
  const { dir, store, ledger, send } = await openGate()
  const unlisted = summary({ pool: 'pool-z' })
  t.like((await send(unlisted))[0], { decision: 'denied', reasons: ['cell-not-permitted'] })
  await ledger.close()
  const base = shippedPolicy()
  const power = base.permits.get('hw.power') as Permit
  const loose: PolicyBundle = {
    ...base,
    hash: 'f'.repeat(64),
    permits: new Map(base.permits).set('hw.power', { ...power, cells: [...power.cells, 'pool-z'] }),
    cells: new Map(base.cells).set(cellLookupKey('pool-z', {}), 'pool-z'),
  }
  const again = await openGate({ dir, store, policy: loose })
  t.like((await again.send(unlisted))[0], { decision: 'denied', reasons: ['decided-as-unlisted'] })
  t.is(store.puts, 0)
  const later = { windowStartMs: unlisted.windowEndMs, windowEndMs: unlisted.windowEndMs + 5000 }
  t.like((await again.send({ ...unlisted, ...later }))[0], { decision: 'released' }, 'new windows are decided by the new bundle')
})

test('gate: when the PUT begins, intent, bytes and published checkpoint are on the disk already', async (t) => {
  const store = new MemoryStore()
  const { dir, send } = await openGate({ store })
  const put = store.put
  let seen: unknown
  store.put = async (object, signal) => {
    const [, size] = readFileSync(join(dir, 'checkpoint'), 'utf8').split('\n')
    seen = {
      size,
      intent: readFileSync(join(dir, 'wal'), 'latin1').includes('"type":"intent"'),
      objects: readdirSync(join(dir, 'objects')),
      verified: (await verifyLedger(dir)).verified,
    }
    return put(object, signal)
  }
  const [receipt] = await send(summary())
  t.deepEqual(seen, { size: '1', intent: true, objects: [receipt?.sha256], verified: true })
})
