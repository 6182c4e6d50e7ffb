import test from 'ava'
import { dcgmFieldByName, dcgmFields, healthWatch, MEMORY_FREE, MEMORY_RESERVED, nvidiaModel } from '../../../functions/normalize-telemetry/dcgm-fields.ts'
import { metricByName } from '../../../schemas/metrics.ts'

test('dcgm-fields: every field becomes a canonical metric with attributes that windows keep, and no series name stands twice', (t) => {
  for (const field of dcgmFields) {
    if (field.metric === MEMORY_FREE || field.metric === MEMORY_RESERVED) continue
    const row = metricByName.get(field.metric)
    t.truthy(row, field.metric)
    for (const name of Object.keys(field.attributes)) t.true(row?.keptAttributes.includes(name), `${field.metric} ${name}`)
  }
  t.is(dcgmFieldByName.size, dcgmFields.flatMap((f) => f.names).length)
})

test('dcgm-fields: a renamed field is the same field: GPU_UTIL_RATIO is still a percentage', (t) => {
  for (const [old, now] of [
    ['GPU_TEMP', 'GPU_TEMP_CELSIUS'],
    ['POWER_USAGE', 'BOARD_POWER_WATTS'],
    ['XID_ERRORS', 'XID_ERROR'],
    ['GPU_UTIL', 'GPU_UTIL_RATIO'],
    ['UNCORRECTABLE_REMAPPED_ROWS', 'ROW_REMAP_UNCORRECTABLE_TOTAL'],
    ['ROW_REMAP_FAILURE', 'ROW_REMAP_FAILED'],
  ]) {
    t.truthy(dcgmFieldByName.get(`DCGM_FI_DEV_${old}`))
    t.is(dcgmFieldByName.get(`DCGM_FI_DEV_${old}`), dcgmFieldByName.get(`DCGM_FI_DEV_${now}`))
  }
  t.is(dcgmFieldByName.get('DCGM_FI_DEV_GPU_UTIL_RATIO')?.divide, 100)
})

test('dcgm-fields: label text is reduced to closed lists, never passed on (N1)', (t) => {
  t.is(nvidiaModel('NVIDIA GB200'), 'nvidia-gb200')
  t.is(nvidiaModel('NVIDIA H100 80GB HBM3'), 'nvidia-h100')
  t.is(nvidiaModel('secret-box-17'), null)
  t.is(healthWatch('NVLINK'), 'NVLINK')
  t.is(healthWatch('tenant-a'), 'OTHER')
})
