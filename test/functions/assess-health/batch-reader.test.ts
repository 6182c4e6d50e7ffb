import test from 'ava'
import { createBatchReader, seriesKey } from '../../../functions/assess-health/batch-reader.ts'
import { codecs } from '../../helpers/health-desk.ts'
import { nodeBatch } from '../../helpers/node-batch.ts'

const base = {
  node: 'n1',
  observedMs: 1,
  rows: [
    { device: 'gpu-1', metric: 'sluice.gpu.xid', value: 7 },
    { device: 'gpu-1', metric: 'hw.power', value: 5 },
  ],
}
const bytes = (batch: ReturnType<typeof nodeBatch>): Buffer => codecs.encode('NodeBatch', batch)

test('batch-reader: only signals some rule reads come out, and a value that is not supported is none', (t) => {
  const read = createBatchReader(new Set(['sluice.gpu.xid']))
  t.deepEqual(
    read(bytes(nodeBatch(codecs, base)), codecs)
      .readings.get('gpu-1')
      ?.map((r) => [r.metric, r.value]),
    [['sluice.gpu.xid', 7]],
  )
  const none = nodeBatch(codecs, { ...base, rows: [{ device: 'gpu-1', metric: 'sluice.gpu.xid', value: Number.NaN }] })
  t.is(read(bytes(none), codecs).readings.size, 0)
})

test('batch-reader: a part speaks for its parent; another layout of the same node is never read with the old one', (t) => {
  const read = createBatchReader(new Set(['sluice.gpu.xid']))
  read(bytes(nodeBatch(codecs, base)), codecs)
  const mig = nodeBatch(codecs, { ...base, devices: [{ id: 'mig-1', type: 'mig', parent: 'gpu-9', pool: 'p' }], rows: [{ device: 'mig-1', metric: 'sluice.gpu.xid', value: 31 }] })
  const reading = read(bytes(mig), codecs)
  t.deepEqual(reading.devices, [{ id: 'gpu-9', pool: 'p' }])
  t.is(reading.readings.get('gpu-9')?.[0]?.value, 31)
})

test('batch-reader: columns that do not fit are refused by name, never read out of bounds', (t) => {
  const read = createBatchReader(new Set(['sluice.gpu.xid']))
  const good = nodeBatch(codecs, base)
  const wrong = Buffer.from(good.deviceIndex)
  wrong.writeUInt16LE(9, 0)
  for (const bad of [{ value: Buffer.alloc(8) }, { deviceIndex: wrong }, { metricIndex: Buffer.alloc(2) }, { layout: Buffer.from('x') }])
    t.throws(() => read(bytes({ ...good, ...bad }), codecs), { code: 'SLU_RECORD_UNDECODABLE' })
  t.is(seriesKey('m', { b: '2', a: '1' }), 'm{a=1,b=2}')
})
