import test from 'ava'
import { metricByName, metrics } from '../../schemas/metrics.ts'

test('metrics: each name stands once, and load, power and utilisation never count devices as contributors (egress.md §2)', (t) => {
  t.is(metricByName.size, metrics.length)
  for (const row of metrics) if (row.family === 'load') t.is(row.contributor, 'tenant', row.name)
  for (const name of ['hw.power', 'hw.energy', 'hw.gpu.utilization', 'sluice.gpu.tensor_active']) t.is(metricByName.get(name)?.family, 'load')
})

test('metrics: what is a state is read by assess-health and never summed into a window', (t) => {
  for (const row of metrics) if (row.kind === 'state') t.false(row.isAggregated, row.name)
})
