import test from 'ava'
import { bytesOf, createBatchColumns, DICTIONARY_MAX, type Device } from '../../../functions/normalize-telemetry/batch-columns.ts'
import { codecs } from '../../helpers/telemetry.ts'

const device = (id: string): Device => ({ id, type: 'gpu', vendor: null, model: null, parent: null, tenant: null, pool: null })

test('batch-columns: a device, metric and attribute set has one row, and its indexes are little endian', (t) => {
  const columns = createBatchColumns()
  const a = columns.device('a', () => device('a')) as number
  const b = columns.device('b', () => device('b')) as number
  t.is(
    columns.device('a', () => device('never made')),
    a,
  )
  t.deepEqual(columns.row(b, 'hw.power', {}), { row: 0, isNew: true })
  t.deepEqual(columns.row(a, 'hw.temperature', { sensor: 'HBM' }), { row: 1, isNew: true })
  t.deepEqual(columns.row(a, 'hw.temperature', { sensor: 'GPU_DIE' }), { row: 2, isNew: true })
  t.deepEqual(columns.row(a, 'hw.temperature', { sensor: 'HBM' }), { row: 1, isNew: false })
  const shape = columns.shape(codecs)
  t.is(shape.deviceIndex.toString('hex'), '010000000000')
  t.is(shape.metricIndex.toString('hex'), '000001000200')
  t.deepEqual(
    codecs.decodeBare('NodeLayout', shape.layout).metrics.map((m) => m.unit),
    ['W', 'Cel', 'Cel'],
  )
})

test('batch-columns: more devices than a uint16 can name are refused, never wrapped round', (t) => {
  const columns = createBatchColumns()
  for (let i = 0; i < DICTIONARY_MAX; i++) columns.device(String(i), () => device(String(i)))
  t.is(
    columns.device('one more', () => device('x')),
    null,
  )
})

test('batch-columns: a metric that has no row in the table is a defect, never an unnamed unit', (t) => {
  t.throws(() => createBatchColumns().row(0, 'no.such.metric', {}), { code: 'SLU_INTERNAL' })
  t.is(bytesOf(Float64Array.of(1.5)).readDoubleLE(0), 1.5)
})
