import test from 'ava'
import { addDevice, deviceFromRow, deviceRow, devicesOn, newDevice, newPartition, removeDevice, settleDevice, worse } from '../../../functions/assess-health/device-state.ts'
import { raiseRule } from '../../../functions/assess-health/hysteresis.ts'
import { codecs, healthRules } from '../../helpers/health-desk.ts'

test('device-state: a row read back is the state it was written from; nothing a later decision rests on is lost (C8)', (t) => {
  const rules = healthRules()
  const state = newPartition(2)
  const device = newDevice('gpu-1', 'n1', 'p', 5)
  device.signals.set('sluice.gpu.xid', 48)
  raiseRule(device, { ruleId: 'xid-fatal', ruleVersion: 1, verdict: 'DO_NOT_ROUTE', codes: ['48'], atMs: 6, isOccurrence: true }, rules.hold)
  settleDevice(device, rules, 6)
  const row = codecs.decode('DeviceHealth', codecs.encode('DeviceHealth', deviceRow('hall-1', state, device)))
  t.like(row, { state: 'quarantined', verdict: 'DO_NOT_ROUTE', weight: 0, sinceMs: 6 })
  t.deepEqual(deviceFromRow({ ...row, signals: { ...row.signals }, activeRules: row.activeRules.map((r) => ({ ...r })) }), { ...device, isDirty: false })
})

test('device-state: a device that moved to another node is never counted twice', (t) => {
  const state = newPartition(0)
  addDevice(state, newDevice('b', 'n1', null, 0))
  addDevice(state, newDevice('a', 'n1', null, 0))
  t.deepEqual(
    devicesOn(state, 'n1').map((d) => d.id),
    ['a', 'b'],
  )
  addDevice(state, newDevice('a', 'n2', null, 0))
  t.deepEqual(
    devicesOn(state, 'n1').map((d) => d.id),
    ['b'],
  )
  removeDevice(state, 'b')
  t.false(state.devicesOfNode.has('n1'))
  t.is(worse('DRAIN', 'DO_NOT_ROUTE'), 'DRAIN')
})
