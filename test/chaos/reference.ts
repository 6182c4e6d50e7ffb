/**
 * What must come out, computed from what went in: independent of `streams/` and `functions/`, and written as plainly as it can be.
 *
 * Owns: the canonical rows of a scrape (own conversion table), and the windows: which record of the canonical topic is folded, is a repeat, comes
 * too late or is dated in the future, and what the cells of each window hold. The values come from the generated input; of the log only the order
 * of the records, their append times and the ticks are taken, because on them it depends what is late (runtime.md W1, W2, W8).
 */
import { BLANK, BROKEN, GPUS, pseudonym, readingsOf, type Host, type Scrape, type ScrapePlan } from './scrapes.ts'

interface Conversion {
  readonly metric: string
  readonly attributes: string
  readonly multiply: number
  readonly divide: number
  /** Counters become what they rose by. */
  readonly isCounter?: boolean
  /** Who counts as a contributor of the cell. */
  readonly by: 'device' | 'tenant'
}

const MIB = 1024 * 1024

/** Series that end in a cell; the exporter's others do not. */
const CONVERSIONS: Readonly<Record<string, Conversion>> = {
  DCGM_FI_DEV_SM_CLOCK: { metric: 'sluice.gpu.clock', attributes: '', multiply: 1_000_000, divide: 1, by: 'tenant' },
  DCGM_FI_DEV_GPU_TEMP: { metric: 'hw.temperature', attributes: 'sensor=GPU_DIE', multiply: 1, divide: 1, by: 'device' },
  DCGM_FI_DEV_MEMORY_TEMP: { metric: 'hw.temperature', attributes: 'sensor=HBM', multiply: 1, divide: 1, by: 'device' },
  DCGM_FI_DEV_POWER_USAGE: { metric: 'hw.power', attributes: '', multiply: 1, divide: 1, by: 'tenant' },
  DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION: { metric: 'hw.energy', attributes: '', multiply: 1, divide: 1000, isCounter: true, by: 'tenant' },
  DCGM_FI_DEV_GPU_UTIL: { metric: 'hw.gpu.utilization', attributes: '', multiply: 1, divide: 100, by: 'tenant' },
  DCGM_FI_DEV_ECC_SBE_VOL_TOTAL: { metric: 'hw.errors', attributes: 'error.type=corrected', multiply: 1, divide: 1, isCounter: true, by: 'device' },
  DCGM_FI_DEV_FB_USED: { metric: 'hw.gpu.memory.usage', attributes: '', multiply: MIB, divide: 1, by: 'tenant' },
  DCGM_FI_PROF_GR_ENGINE_ACTIVE: { metric: 'sluice.gpu.engine_active', attributes: '', multiply: 1, divide: 1, by: 'tenant' },
}
const LIMIT: Conversion = { metric: 'hw.gpu.memory.limit', attributes: '', multiply: MIB, divide: 1, by: 'device' }
const LIMIT_PARTS = ['DCGM_FI_DEV_FB_USED', 'DCGM_FI_DEV_FB_FREE', 'DCGM_FI_DEV_FB_RESERVED']
const XID: Conversion = { metric: 'sluice.gpu.xid', attributes: '', multiply: 1, divide: 1, by: 'device' }

export interface Row {
  readonly gpu: number
  readonly of: Conversion
  /** NaN = blank. */
  readonly value: number
}

const convert = (text: string, { multiply, divide }: Conversion): number => (text === BLANK ? NaN : (Number(text) * multiply) / divide)

/** The rows of one scrape as they must stand on the canonical topic, in no order. */
export function rowsOf(plan: ScrapePlan, scrape: Pick<Scrape, 'h' | 'k' | 'kind'>): Row[] {
  const readings = new Map(readingsOf(plan.seed, scrape.h, scrape.k, (plan.hosts[scrape.h] as Host).resetAt).map(({ series, texts }) => [series, texts]))
  const textOf = (series: string, gpu: number): string => readings.get(series)?.[gpu] as string
  const rows: Row[] = []
  for (let gpu = 0; gpu < GPUS; gpu++) {
    for (const [series, of] of [...Object.entries(CONVERSIONS), ['DCGM_FI_DEV_XID_ERRORS', XID] as const])
      if (!(scrape.kind === 'part' && series === BROKEN.series && gpu === BROKEN.gpu)) rows.push({ gpu, of, value: convert(textOf(series, gpu), of) })
    const parts = LIMIT_PARTS.map((series) => Number(textOf(series, gpu)) * MIB)
    rows.push({ gpu, of: LIMIT, value: parts.reduce((a, b) => a + b) })
  }
  return rows
}

export interface WindowParameters {
  readonly windowMs: number
  readonly graceMs: number
  readonly outOfOrdernessMs: number
  readonly skewMs: number
  readonly maxGapMs: number
}

/** A record of the canonical topic, as far as the windows depend on the log. */
export type Logged =
  | { readonly kind: 'tick'; readonly offset: bigint; readonly appendMs: number; readonly timeMs: number }
  | { readonly kind: 'scrape'; readonly offset: bigint; readonly appendMs: number; readonly eventMs: number; readonly scrape: Pick<Scrape, 'h' | 'k' | 'kind'> }

export interface Cell {
  count: number
  sum: number
  min: number
  max: number
  readonly contributors: Set<string>
  readonly devices: Set<string>
}

export interface Expected {
  /** By the summary's id. */
  readonly cells: Map<string, Cell>
  /** `partition/offset` of what must lie on the late and the dead-letter topic. */
  readonly late: Set<string>
  readonly future: Set<string>
  /** `h/k` of every scrape that was folded. */
  readonly folded: Set<string>
  readonly repeats: number
  readonly ticks: number
}

interface Places {
  readonly site: string
  readonly key: string
}

function addTo(expected: Expected, plan: ScrapePlan, places: Places, startMs: number, endMs: number, row: Row, h: number, value: number): void {
  const host = plan.hosts[h] as Host
  const id = `${places.site}/${host.pool}|${row.of.metric}|${row.of.attributes}/${startMs}-${endMs}`
  let cell = expected.cells.get(id)
  if (cell === undefined) expected.cells.set(id, (cell = { count: 0, sum: 0, min: Infinity, max: -Infinity, contributors: new Set(), devices: new Set() }))
  cell.count++
  cell.sum += value
  cell.min = Math.min(cell.min, value)
  cell.max = Math.max(cell.max, value)
  const device = `${h}/${row.gpu}`
  cell.devices.add(device)
  cell.contributors.add(row.of.by === 'device' ? device : host.tenant)
}

/** One partition of the canonical topic, in the order of its offsets. */
function foldPartition(expected: Expected, plan: ScrapePlan, places: Places, parameters: WindowParameters, partition: number, log: readonly Logged[]): number {
  const { windowMs, graceMs, outOfOrdernessMs, skewMs, maxGapMs } = parameters
  const newest = new Map<number, { readonly eventMs: number; readonly values: ReadonlyMap<string, number> }>()
  const seen = new Set<string>()
  let repeats = 0
  let maxMs = -Infinity
  let closedThroughMs = -1
  const advance = (timeMs: number): void => {
    maxMs = Math.max(maxMs, timeMs)
    closedThroughMs = Math.max(closedThroughMs, Math.floor((maxMs - outOfOrdernessMs - graceMs) / windowMs) * windowMs)
  }
  for (const record of log) {
    if (record.kind === 'tick') {
      if (record.timeMs <= record.appendMs) advance(record.timeMs)
      continue
    }
    const { eventMs, scrape } = record
    const at = `${partition}/${record.offset}`
    if (eventMs > record.appendMs + skewMs) {
      expected.future.add(at)
      continue
    }
    const endMs = Math.floor(eventMs / windowMs) * windowMs + windowMs
    const rows = rowsOf(plan, scrape)
    const counters = new Map(rows.flatMap((r) => (r.of.isCounter === true ? [[`${r.gpu} ${r.of.metric}`, r.value] as const] : [])))
    const before = newest.get(scrape.h)
    const identity = `${scrape.h}/${scrape.k}`
    if (endMs <= closedThroughMs) expected.late.add(at)
    else if (seen.has(identity)) repeats++
    else {
      seen.add(identity)
      expected.folded.add(identity)
      const usable = before !== undefined && before.eventMs < eventMs && before.eventMs >= eventMs - maxGapMs ? before.values : null
      for (const row of rows) {
        if (row.of.metric === XID.metric) continue
        let { value } = row
        if (row.of.isCounter === true) {
          const earlier = usable?.get(`${row.gpu} ${row.of.metric}`) ?? NaN
          // A counter that fell was started again.
          value = value < earlier ? value : value - earlier
        }
        if (!Number.isNaN(value)) addTo(expected, plan, places, endMs - windowMs, endMs, row, scrape.h, value)
      }
    }
    if (before === undefined || eventMs >= before.eventMs) newest.set(scrape.h, { eventMs, values: counters })
    advance(eventMs)
  }
  return repeats
}

/** The windows of all partitions. */
export function expectedWindows(plan: ScrapePlan, places: Places, parameters: WindowParameters, logs: ReadonlyMap<number, readonly Logged[]>): Expected {
  const expected: Expected = { cells: new Map(), late: new Set(), future: new Set(), folded: new Set(), repeats: 0, ticks: 0 }
  let repeats = 0
  let ticks = 0
  for (const [partition, log] of logs) {
    repeats += foldPartition(expected, plan, places, parameters, partition, log)
    ticks += log.filter((r) => r.kind === 'tick').length
  }
  return { ...expected, repeats, ticks }
}

/** The device of a host's GPU as the site names it. */
export const deviceOf = (key: string, host: Host, gpu: number): string => pseudonym(key, 'gpu', `gpu\0${host.name}\0${gpu}`)
