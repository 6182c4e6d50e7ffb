import test from 'ava'
import { float64Column, int32Column, makeFoldPlan, uint16Column, UNATTRIBUTED } from '../../../functions/aggregate-metrics/fold-plan.ts'
import { batchBytes } from '../../helpers/metrics.ts'
import { codecs } from '../../helpers/telemetry.ts'

const batch = (...args: Parameters<typeof batchBytes>) => codecs.decode('NodeBatch', batchBytes(...args))

test('fold-plan: state, metrics not aggregated and devices without a pool have no cell', (t) => {
  const plan = makeFoldPlan(
    batch([
      { device: 'a', metric: 'sluice.gpu.xid', value: 79 },
      { device: 'a', metric: 'hw.power', value: 1 },
      { device: 'b', metric: 'hw.power', value: 1, pool: null },
    ]),
    codecs,
  )
  t.deepEqual(plan.startOfCell, [0, 1])
  t.deepEqual([...plan.places], [1, 0, 0])
  t.deepEqual(
    plan.cells.map((c) => c.key),
    ['pool-a|hw.power|'],
  )
})

test('fold-plan: who contributes is as the metric says: tenant, else the one unattributed; device for hardware state', (t) => {
  const rows = [
    { device: 'a', metric: 'hw.power', value: 1, tenant: 'tenant-x' },
    { device: 'b', metric: 'hw.power', value: 1 },
    { device: 'a', metric: 'hw.temperature', value: 1, attributes: { sensor: 'HBM' } },
  ]
  t.deepEqual(makeFoldPlan(batch(rows), codecs).contributorOfRow, ['tenant-x', UNATTRIBUTED, 'a'])
})

test('fold-plan: columns that do not fit together are undecodable, never read beyond their end', (t) => {
  const good = batch([{ device: 'a', metric: 'hw.power', value: 1 }])
  const code = { code: 'SLU_RECORD_UNDECODABLE' }
  t.throws(() => makeFoldPlan({ ...good, metricIndex: Buffer.alloc(4) }, codecs), code)
  t.throws(() => makeFoldPlan({ ...good, metricIndex: Buffer.alloc(3), deviceIndex: Buffer.alloc(3) }, codecs), code)
  t.throws(() => makeFoldPlan({ ...good, metricIndex: Buffer.from([9, 0]) }, codecs), code)
  t.throws(() => makeFoldPlan({ ...good, layout: Buffer.from([255, 255]) }, codecs), code)
  t.throws(() => float64Column(Buffer.alloc(9), 1), code)
  t.throws(() => int32Column(Buffer.alloc(9), 1), code)
})

test('fold-plan: a value that lies unaligned in a fetch is read right', (t) => {
  const bytes = Buffer.concat([Buffer.from([0]), Buffer.from(Float64Array.of(1.5, -2).buffer)]).subarray(1)
  const { view, at } = float64Column(bytes, 2)
  t.deepEqual([view.getFloat64(at, true), view.getFloat64(at + 8, true)], [1.5, -2])
  t.deepEqual([...int32Column(Buffer.from([0, 1, 0, 0, 0]).subarray(1), 1)], [1])
  t.deepEqual([...uint16Column(Buffer.from([0, 1, 2]).subarray(1))], [513])
})
