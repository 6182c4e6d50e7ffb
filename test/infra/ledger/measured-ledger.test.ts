import test from 'ava'
import { measuredLedger } from '../../../infra/ledger/measured-ledger.ts'
import type { Attributes } from '../../../schemas/ports.ts'
import { openGate, summary } from '../../helpers/gate.ts'
import { silent } from '../../helpers/runner-world.ts'

async function measuredGate() {
  const seen: [string, number, Attributes][] = []
  const note = (name: string, value: number, attributes: Attributes = {}): void => void seen.push([name, value, attributes])
  const gate = await openGate({ wrap: (ledger) => measuredLedger(ledger, { ...silent, count: note, gauge: note, record: note }) })
  const of = (name: string) => seen.filter(([n]) => n === name)
  return { gate, of }
}

test('measured ledger: decisions are counted once per cell, with reason and policy version; bytes per destination, once they are there', async (t) => {
  const { gate, of } = await measuredGate()
  await gate.send(summary())
  await gate.send(summary({ pool: 'nowhere' }))
  await gate.send(summary({ windowStartMs: summary().windowStartMs - 5000, windowEndMs: summary().windowStartMs }, [1, 2]))
  t.deepEqual(
    of('sluice.egress.decisions').map(([, value, a]) => [a['decision'], value]),
    [
      ['released', 1],
      ['denied', 1],
      ['withheld', 1],
    ],
  )
  for (const [, , a] of of('sluice.egress.decisions')) t.truthy(a['reason'])
  const bytes = of('sluice.egress.bytes').reduce((sum, [, value]) => sum + value, 0)
  t.is(
    bytes,
    [...gate.store.objects.values()].reduce((sum, object) => sum + object.length, 0),
  )
  t.is(of('sluice.egress.ledger.size').at(-1)?.[1], gate.ledger.size)
  t.is(of('sluice.egress.pending').at(-1)?.[1], 0)
  t.is(of('sluice.egress.ack.duration').length, gate.store.objects.size)
  // The same window again: decided before, nothing is counted.
  await gate.send(summary())
  t.is(of('sluice.egress.decisions').length, 3)
  await gate.ledger.close()
})

test('measured ledger: an object the destination refused is pending, and none of its bytes count as left', async (t) => {
  const { gate, of } = await measuredGate()
  gate.store.next = { outcome: { kind: 'retry', reason: 'away' }, isStored: false }
  await t.throwsAsync(gate.send(summary()), { message: /SLU_EGRESS_HOLD/ })
  t.is(of('sluice.egress.bytes').length, 0)
  t.is(of('sluice.egress.pending').at(-1)?.[1], 1)
  await gate.send(summary())
  t.is(of('sluice.egress.pending').at(-1)?.[1], 0)
  t.is(of('sluice.egress.bytes').length, 1)
  await gate.ledger.close()
})
