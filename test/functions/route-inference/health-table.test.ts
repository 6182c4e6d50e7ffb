import test from 'ava'
import { createHealthTable } from '../../../functions/route-inference/health-table.ts'
import type { Verdict } from '../../../schemas/records.ts'
import { createVirtualClock } from '../../fakes/virtual-clock.ts'
import { testCodecs } from '../../helpers/codecs.ts'

const codecs = testCodecs()

test('health table: worst verdict and least weight of all partitions; a tombstone takes one row, expiry keeps the verdict (R10)', async (t) => {
  const clock = createVirtualClock(1000)
  const table = createHealthTable({ codecs, clock })
  let offset = 0n
  const apply = (key: string, value: Buffer | null): void =>
    table.apply({ topic: 'pool.health', partition: 1, offset: offset++, timestampMs: 0, appendMs: 0, key: Buffer.from(key), value, headers: [] })
  const row = (verdict: Verdict, weight: number) =>
    codecs.encode('EndpointHealth', {
      endpoint: 'e',
      pool: 'p',
      sourcePartition: 0,
      generation: 1,
      verdict,
      weight,
      reasons: [verdict],
      sinceMs: 0,
      observedMs: 0,
      expiresMs: 2000,
      sourceOffset: 0,
      causeAppendMs: null,
    })
  apply('e/0', row('DRAIN', 1))
  apply('e/1', row('ROUTE_OK', 0.5))
  t.like(table.get('e'), { verdict: 'DRAIN', weight: 0.5, isExpired: false })
  await clock.advance(1000)
  t.like(table.get('e'), { verdict: 'DRAIN', isExpired: true })
  apply('e/0', Buffer.from('broken'))
  t.is(table.get('e')?.verdict, 'DRAIN', 'an unreadable row changed a verdict')
  t.is(table.undecodable(), 1)
  apply('e/0', null)
  t.is(table.get('e')?.verdict, 'ROUTE_OK')
  apply('e/1', null)
  t.is(table.get('e'), undefined)
  t.deepEqual(table.snapshot(), [-1, 5])
})

test('health table: not ready before it was read to the end (R10)', async (t) => {
  const table = createHealthTable({ codecs, clock: createVirtualClock(0) })
  let isReady = false
  void table.ready.then(() => (isReady = true))
  await Promise.resolve()
  t.false(isReady)
  table.caughtUp()
  await table.ready
  t.true(isReady)
})
