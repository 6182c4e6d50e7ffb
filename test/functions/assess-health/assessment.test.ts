import test from 'ava'
import { gpus, healthDesk, healthRules, START_MS } from '../../helpers/health-desk.ts'

test('assessment: a rule taken out of the file ends, it is never in force for ever', (t) => {
  const before = healthDesk()
  before.batch(gpus('n1', START_MS, { 'gpu-n1-0': { 'sluice.gpu.thermal_margin': 1 } }))
  t.is(before.devices.get('gpu-n1-0')?.verdict, 'DO_NOT_ROUTE')
  const rules = healthRules((r) => ({ ...r, rules: r.rules.filter((rule) => rule.id !== 'thermal-margin') }))
  const after = healthDesk({ rules, rows: before.rows, nextOffset: 1 })
  after.batch(gpus('n1', START_MS + 1000, { 'gpu-n1-0': { 'sluice.gpu.thermal_margin': 1 } }))
  t.like(after.events[0], { ruleId: 'thermal-margin', check: 'withdrawn', isHealthy: true })
  t.is(after.devices.get('gpu-n1-0')?.verdict, 'ROUTE_OK')
})

test('assessment: an event names rule, version and the offset of its evidence', (t) => {
  const desk = healthDesk({ partition: 3, nextOffset: 41 })
  desk.batch(gpus('n1', START_MS, { 'gpu-n1-0': { 'sluice.gpu.thermal_margin': 1 } }))
  t.like(desk.events[0], { ruleId: 'thermal-margin', ruleVersion: 1, state: 'quarantined', evidence: { topic: 'hardware.telemetry', partition: 3, offset: 41 } })
})
