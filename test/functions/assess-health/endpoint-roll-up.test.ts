import test from 'ava'
import { addDevice, newDevice, newPartition } from '../../../functions/assess-health/device-state.ts'
import { endpointMap, endpointRecord, endpointsOf, generationOf, isSameRow, rollUp } from '../../../functions/assess-health/endpoint-roll-up.ts'

const endpoint = { id: 'e', pool: 'p', devices: ['a', 'b'] }
const device = (id: string, verdict: 'ROUTE_OK' | 'DRAIN' | 'DEPRIORITISE', weight: number) => ({ ...newDevice(id, 'n', 'p', 10), verdict, weight, sinceMs: weight * 100 })

test('endpoint-roll-up: an endpoint is as ill as its worst device and weighs as little as its lightest, never the product (R10)', (t) => {
  const state = newPartition(3)
  t.is(rollUp(state, endpoint), null, 'not seen here: no row')
  addDevice(state, device('a', 'DEPRIORITISE', 0.5))
  addDevice(state, device('b', 'DEPRIORITISE', 0.4))
  const row = rollUp(state, endpoint)
  t.like(row, { verdict: 'DEPRIORITISE', weight: 0.4 })
  addDevice(state, device('b', 'DRAIN', 0))
  t.like(rollUp(state, endpoint), { verdict: 'DRAIN', weight: 0 })
  t.like(endpointRecord(state, endpoint, { verdict: 'DRAIN', weight: 0, reasons: [], sinceMs: 1, causeAppendMs: 7 }, 100, 50), {
    sourcePartition: 3,
    expiresMs: 150,
    observedMs: 10,
    causeAppendMs: 7,
  })
})

test('endpoint-roll-up: the generation tells another mapping apart, whatever the order of its devices', (t) => {
  t.is(generationOf(endpoint), generationOf({ ...endpoint, devices: ['b', 'a'] }))
  t.not(generationOf(endpoint), generationOf({ ...endpoint, devices: ['a', 'c'] }))
})

test('endpoint-roll-up: a row that says nothing new is the same; another reason is not', (t) => {
  const row = { verdict: 'DRAIN' as const, weight: 0, reasons: ['x'], sinceMs: 1, causeAppendMs: null }
  t.true(isSameRow(row, { ...row, sinceMs: 2 }))
  t.false(isSameRow(row, { ...row, reasons: ['x', 'y'] }))
  t.deepEqual([...endpointsOf(endpointMap([endpoint]), [newDevice('a', 'n', 'p', 0)])], [endpoint])
})
