import test from 'ava'
import { expectedWindows, rowsOf, type Cell, type Expected, type Logged } from './reference.ts'
import { BLANK, readingsOf, type Host, type ScrapePlan } from './scrapes.ts'

const T = 1_800_000_000_000
const parameters = { windowMs: 2000, graceMs: 1000, outOfOrdernessMs: 1000, skewMs: 30_000, maxGapMs: 4000 }
const ENERGY = 'hw.energy|'
const CLOCK = 'sluice.gpu.clock|'

const host = (name: string, resetAt: number): Host => ({ name, pool: 'a', tenant: 'tenant-1', node: `node-${name}`, partition: 0, phaseMs: 0, resetAt })
const plan: ScrapePlan = { seed: 1, hosts: [host('one', 1000), host('two', 3)], published: [], samples: 0 }

/** A record of host h, scrape k, `at` ms from T; appended at once. */
const scrape = (offset: number, h: number, k: number, at: number, kind: 'whole' | 'part' | 'future' = 'whole'): Logged => ({
  kind: 'scrape',
  offset: BigInt(offset),
  appendMs: T + 20_000,
  eventMs: T + at,
  scrape: { h, k, kind },
})
const tick = (offset: number, at: number): Logged => ({ kind: 'tick', offset: BigInt(offset), appendMs: T + 20_000, timeMs: T + at })
const windows = (...log: Logged[]): Expected => expectedWindows(plan, { site: 's', key: 'k' }, parameters, new Map([[0, log]]))
const cellAt = (expected: Expected, cell: string, startMs: number): Cell | undefined => expected.cells.get(`s/a|${cell}/${T + startMs}-${T + startMs + 2000}`)
/** What host h prints for a series in scrape k, all GPUs added. */
const printed = (h: number, k: number, series: string): number =>
  readingsOf(1, h, k, plan.hosts[h]?.resetAt as number)
    .find((r) => r.series === series)
    ?.texts.reduce((sum, text) => sum + Number(text), 0) as number

test('reference: a gauge is summed, a counter is what it rose by since the scrape before, and a first one is nothing', (t) => {
  const e = windows(scrape(0, 0, 0, 0), scrape(1, 0, 1, 1000), scrape(2, 0, 2, 2000))
  const clock = cellAt(e, CLOCK, 0)
  t.is(clock?.count, 8)
  t.is(clock?.sum, (printed(0, 0, 'DCGM_FI_DEV_SM_CLOCK') + printed(0, 1, 'DCGM_FI_DEV_SM_CLOCK')) * 1e6)
  t.deepEqual([clock?.devices.size, clock?.contributors.size], [4, 1])
  const energy = (k: number): number => printed(0, k, 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION') / 1000
  t.is(cellAt(e, ENERGY, 0)?.count, 4)
  t.is(cellAt(e, ENERGY, 0)?.sum, energy(1) - energy(0))
  t.is(cellAt(e, ENERGY, 2000)?.sum, energy(2) - energy(1))
})

test('reference: a counter that started again counts from zero; one that was silent for too long gives nothing', (t) => {
  const e = windows(scrape(0, 1, 2, 0), scrape(1, 1, 3, 1000))
  t.is(cellAt(e, ENERGY, 0)?.sum, printed(1, 3, 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION') / 1000)
  const gap = windows(scrape(0, 0, 0, 0), scrape(1, 0, 9, 4001))
  t.is(cellAt(gap, ENERGY, 4000), undefined)
  t.is(cellAt(windows(scrape(0, 0, 0, 0), scrape(1, 0, 9, 4000)), ENERGY, 4000)?.count, 4)
})

test('reference: what comes after its window was closed is late, in the order of the log, and was not folded', (t) => {
  // 4,000 − 1,000 − 1,000: everything up to 2,000 is closed.
  const e = windows(scrape(0, 0, 0, 0), scrape(1, 0, 4, 3999), scrape(2, 1, 0, 500), scrape(3, 0, 5, 4000), scrape(4, 1, 1, 600), scrape(5, 0, 0, 0))
  t.deepEqual([...e.late], ['0/4', '0/5'])
  t.true(e.folded.has('1/0') && e.folded.has('0/0') && !e.folded.has('1/1'))
})

test('reference: a tick closes windows like a record of its time, one from a clock that runs ahead closes nothing', (t) => {
  t.deepEqual([...windows(scrape(0, 0, 0, 0), tick(1, 4000), scrape(2, 0, 1, 1000)).late], ['0/2'])
  t.deepEqual([...windows(scrape(0, 0, 0, 0), tick(1, 3999), scrape(2, 0, 1, 1000)).late], [])
  t.deepEqual([...windows(scrape(0, 0, 0, 0), tick(1, 20_001), scrape(2, 0, 1, 1000)).late], [])
})

test('reference: the same scrape again is folded once; one dated beyond the skew is parked and moves nothing', (t) => {
  const e = windows(scrape(0, 0, 0, 0), scrape(1, 0, 0, 0), scrape(2, 0, 8, 50_001, 'future'), scrape(3, 0, 1, 1000))
  t.is(e.repeats, 1)
  t.is(cellAt(e, CLOCK, 0)?.count, 8)
  t.deepEqual([...e.future], ['0/2'])
  t.is(e.late.size, 0)
})

test('reference: a scrape out of order has no predecessor and is none for those after it', (t) => {
  const e = windows(scrape(0, 0, 0, 0), scrape(1, 0, 2, 1900), scrape(2, 0, 1, 1000), scrape(3, 0, 3, 2000))
  const energy = (k: number): number => printed(0, k, 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION') / 1000
  t.is(cellAt(e, ENERGY, 0)?.count, 4)
  t.is(cellAt(e, ENERGY, 0)?.sum, energy(2) - energy(0))
  t.is(cellAt(e, ENERGY, 2000)?.sum, energy(3) - energy(2))
})

test('reference: a blank reading is a row without a value, the broken line of a part is no row', (t) => {
  const blankAt = Array.from({ length: 500 }, (_, k) => k).find((k) => readingsOf(1, 0, k, 1000)[2]?.texts.includes(BLANK)) as number
  t.true(rowsOf(plan, { h: 0, k: blankAt, kind: 'whole' }).some((r) => Number.isNaN(r.value)))
  const e = windows(scrape(0, 0, blankAt, 0))
  t.is(cellAt(e, 'hw.temperature|sensor=HBM', 0)?.count, readingsOf(1, 0, blankAt, 1000)[2]?.texts.filter((text) => text !== BLANK).length)
  t.is(rowsOf(plan, { h: 0, k: 0, kind: 'whole' }).length, 44)
  t.is(rowsOf(plan, { h: 0, k: 0, kind: 'part' }).length, 43)
})
