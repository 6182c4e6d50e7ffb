import test from 'ava'
import { objectKey, UNLISTED_CELL } from '../../schemas/ledger.ts'

test('ledger: the key of an object is site/metric/grid/window/cell.json and never anything else (F)', (t) => {
  const cell = { site: 'hall-1', metric: 'hw.gpu.utilization', grid: '5s', window: 358698240, cell: 'blackwell-a' }
  t.is(objectKey(cell), 'hall-1/hw.gpu.utilization/5s/358698240/blackwell-a.json')
  t.is(objectKey({ ...cell, cell: UNLISTED_CELL }), 'hall-1/hw.gpu.utilization/5s/358698240/unlisted.json')
})
