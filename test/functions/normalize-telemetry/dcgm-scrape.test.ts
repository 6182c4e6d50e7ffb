import test from 'ava'
import { readScrape, type Scrape } from '../../../functions/normalize-telemetry/dcgm-scrape.ts'
import { describeProblems } from '../../../functions/normalize-telemetry/problems.ts'
import { codecs, pseudonyms, scrapeContext } from '../../helpers/telemetry.ts'

const read = (lines: string[], key: string | null = 'tray-07') => readScrape(lines.join('\n'), key, scrapeContext)
const values = (lines: string[]): number[] => [...(read(lines) as Scrape).values]
const problems = (lines: string[]): string => describeProblems(read(lines).problems)

test('dcgm-scrape: the memory limit is used + free + reserved, and is never guessed while a part is missing', (t) => {
  const used = 'DCGM_FI_DEV_FB_USED{gpu="0"} 1'
  const free = 'DCGM_FI_DEV_FB_FREE{gpu="0"} 2'
  const reserved = 'DCGM_FI_DEV_FB_RESERVED{gpu="0"} 4'
  t.deepEqual(values([used, free]), [1_048_576])
  t.deepEqual(values([reserved, free, used]), [1_048_576, 7 * 1_048_576])
  t.deepEqual(values([used, free, reserved, 'DCGM_FI_DEV_FB_TOTAL{gpu="0"} 9']), [1_048_576, 9 * 1_048_576])
})

test('dcgm-scrape: a shared GPU listed once per pod counts once and belongs to no tenant', (t) => {
  const of = (pod: string): string => `DCGM_FI_DEV_POWER_USAGE{gpu="0",namespace="tenant-${pod}",pod="${pod}"} 700`
  const shared = read([of('a'), of('b')]) as Scrape
  t.is(shared.values.length, 1)
  t.is(codecs.decodeBare('NodeLayout', shared.plan.shape.layout).devices[0]?.tenant, null)
  t.is(codecs.decodeBare('NodeLayout', (read([of('a')]) as Scrape).plan.shape.layout).devices[0]?.tenant, pseudonyms.tenant('tenant-a'))
  t.is(problems([of('a'), of('a')]), 'line 2: the series is given twice')
})

test('dcgm-scrape: of several findings of one health watch the worst stands', (t) => {
  const finding = (code: string, value: number): string => `DCGM_EXP_GPU_HEALTH_STATUS{gpu="1",health_error_code="${code}",health_watch="MEM"} ${value}`
  t.deepEqual(values([finding('A', 10), finding('B', 20), finding('C', 0)]), [20])
})

test('dcgm-scrape: a line of another host, without an index or with one that is none, is a problem of its line', (t) => {
  const good = 'DCGM_FI_DEV_GPU_TEMP{gpu="0",hostname="tray-07"} 1'
  t.is(problems([good, 'DCGM_FI_DEV_GPU_TEMP{gpu="1",hostname="tray-08"} 1']), 'line 2: another host than the lines before')
  t.is(problems([good, 'DCGM_FI_DEV_GPU_TEMP 1', 'DCGM_FI_DEV_GPU_TEMP{gpu="x"} 1']), 'line 2: no label gpu; line 3: label gpu is not an index')
  t.is(problems([good, 'DCGM_EXP_XID_ERRORS_COUNT{gpu="0",xid="tenant-a"} 1']), 'line 2: label xid is not a number')
  t.is(problems([good, 'DCGM_FI_DEV_GPU_TEMP{gpu="1",GPU_I_ID="z"} 1']), 'line 2: label GPU_I_ID is not an index')
  t.is(problems([good, 'some_other_family{a="b"} 1']), '')
})

test('dcgm-scrape: old spellings of labels name the same device, and 07 is 7', (t) => {
  const id = (labels: string): string | undefined => codecs.decodeBare('NodeLayout', (read([`DCGM_FI_DEV_GPU_TEMP{${labels}} 1`], null) as Scrape).plan.shape.layout).devices[0]?.id
  t.is(id('gpu="07",Hostname="tray-07",uuid="u",pod_namespace="tenant-a"'), pseudonyms.device('tray-07', 'gpu', 7))
  t.is(id('gpu="7",hostname="tray-07",UUID="u"'), pseudonyms.device('tray-07', 'gpu', 7))
})
