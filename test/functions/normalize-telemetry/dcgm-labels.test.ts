import test from 'ava'
import { dcgmFieldByName, type DcgmField } from '../../../functions/normalize-telemetry/dcgm-fields.ts'
import { attributesOf, labelsOf, placeOf, type Labels } from '../../../functions/normalize-telemetry/dcgm-labels.ts'
import { parseSampleLine, type SampleLine } from '../../../functions/normalize-telemetry/prometheus-line.ts'

function labels(text: string): Labels {
  const line = `m{${text}} 1`
  return labelsOf(parseSampleLine(line, 0, line.length) as SampleLine)
}

test('dcgm-labels: old and new spellings say the same, an unknown label says nothing', (t) => {
  t.deepEqual(labels('gpu="1",Hostname="h",pod_namespace="n",model_name="m"'), labels('gpu="1",hostname="h",namespace="n",modelName="m",other="x"'))
})

test('dcgm-labels: a link, a MIG part and a whole GPU are never one device', (t) => {
  t.deepEqual(placeOf(labels('gpu="2"')), { kind: 'gpu', index: '2', parentGpu: null })
  t.deepEqual(placeOf(labels('gpu="2",GPU_I_ID="7"')), { kind: 'mig', index: '2/7', parentGpu: '2' })
  t.deepEqual(placeOf(labels('gpu="2",nvlink="7"')), { kind: 'link', index: '2/7', parentGpu: '2' })
  t.deepEqual(placeOf(labels('nvswitch="2",nvlink="7"')), { kind: 'link', index: 'switch-2/7', parentGpu: null })
  for (const text of ['a="b"', 'gpu=""', 'gpu="-1"', 'gpu="1.5"', 'gpu="123456"', 'gpu="1",GPU_I_ID="x"', 'gpu="1",nvlink="x"', 'nvlink="1"'])
    t.is(typeof placeOf(labels(text)), 'string', text)
})

test('dcgm-labels: label text becomes an attribute only as a number or from a closed list (N1)', (t) => {
  const field = (name: string): DcgmField => dcgmFieldByName.get(name) as DcgmField
  t.deepEqual(attributesOf(field('DCGM_EXP_XID_ERRORS_COUNT'), labels('xid="079"')), { xid: '79' })
  t.is(typeof attributesOf(field('DCGM_EXP_XID_ERRORS_COUNT'), labels('xid="tenant-a"')), 'string')
  t.deepEqual(attributesOf(field('DCGM_EXP_GPU_HEALTH_STATUS'), labels('health_watch="tenant-a"')), { watch: 'OTHER' })
  t.deepEqual(attributesOf(field('DCGM_FI_DEV_GPU_TEMP'), labels('xid="1"')), { sensor: 'GPU_DIE' })
})
