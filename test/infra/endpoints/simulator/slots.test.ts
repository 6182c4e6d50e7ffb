import test from 'ava'
import { createSlots } from '../../../../infra/endpoints/simulator/slots.ts'

test('slots: never more run than there are slots; waiters start in order, a waiter that left never starts', async (t) => {
  const slots = createSlots(1, 2)
  const first = await slots.take(() => {})
  let leave = (): void => {}
  const second = slots.take((l) => (leave = l))
  const third = slots.take(() => {})
  t.is(await slots.take(() => {}), 'full')
  leave()
  t.is(await second, 'left')
  if (typeof first !== 'function') throw new Error('no slot')
  first()
  first()
  const last = await third
  t.deepEqual(slots.counts(), { running: 1, waiting: 0 })
  if (typeof last === 'function') last()
  t.deepEqual(slots.counts(), { running: 0, waiting: 0 })
})
