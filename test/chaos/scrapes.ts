/**
 * The telemetry that goes in: dcgm-exporter pages, made from a seed.
 *
 * Owns: which hosts there are, what host `h` prints in its scrape `k` (a function of seed, h and k alone), when each record is published, and the
 * ways a record goes wrong: published twice, out of order, far too late, dated in the future, broken in one line, or no page at all.
 * The hosts of one partition of the canonical topic fall silent in the middle third, and one partition never gets a record: both must be ticked.
 * Readings are chosen so that every conversion and every sum is exact in a double: the comparison needs no tolerance.
 */
import { createHmac } from 'node:crypto'
import { partitionOf } from '../../infra/log/partitioner.ts'
import { draw, drawBelow, isDrawn } from './draw.ts'

export const GPUS = 4
export const PERIOD_MS = 1000
/** A reading the exporter prints as DCGM's blank sentinel. */
export const BLANK = '9223372036854775794'

export interface Host {
  readonly name: string
  readonly pool: string
  readonly tenant: string
  /** As the site names it on the canonical topic. */
  readonly node: string
  /** Its partition of the canonical topic. */
  readonly partition: number
  readonly phaseMs: number
  /** The scrape at which its counters start again. */
  readonly resetAt: number
}

/** `part`: one line cannot be read. `garbage`: nothing can. `future`: dated beyond what a clock may be off. */
export type ScrapeKind = 'whole' | 'part' | 'garbage' | 'future'

export interface Scrape {
  /** Index of the host. */
  readonly h: number
  readonly k: number
  readonly kind: ScrapeKind
  /** ms from the start of the run. */
  readonly eventAt: number
  readonly publishAt: number
}

export interface ScrapePlan {
  readonly seed: number
  readonly hosts: readonly Host[]
  /** In order of publication; a scrape published again stands there again. */
  readonly published: readonly Scrape[]
  /** Series lines of the distinct scrapes. */
  readonly samples: number
}

export interface ScrapeOptions {
  readonly seed: number
  readonly samples: number
  readonly spanMs: number
  readonly partitions: number
  readonly key: string
  /** How long after its event a record is published that must come too late. */
  readonly lateAfterMs: number
  /** How far records may be published out of order without coming late. */
  readonly jitterMs: number
}

const FUTURE_MS = 600_000

export interface Reading {
  readonly series: string
  /** Per GPU, as printed. */
  readonly texts: readonly string[]
}

const gpus = (of: (g: number) => number | string): string[] => Array.from({ length: GPUS }, (_, g) => String(of(g)))

/** What a host prints: gauges are draws, counters rise and start again at `resetAt`. */
export function readingsOf(seed: number, h: number, k: number, resetAt: number): Reading[] {
  const since = k >= resetAt ? k - resetAt : k + 1000
  const at = (field: number, g: number, below: number): number => drawBelow(below, seed, 1, h, k, field, g)
  const used = (g: number): number => 100_000 + at(8, g, 64_000)
  return [
    { series: 'DCGM_FI_DEV_SM_CLOCK', texts: gpus((g) => 900 + at(1, g, 1000)) },
    { series: 'DCGM_FI_DEV_GPU_TEMP', texts: gpus((g) => 30 + at(2, g, 60)) },
    { series: 'DCGM_FI_DEV_MEMORY_TEMP', texts: gpus((g) => (isDrawn(50, seed, 2, h, k, g) ? BLANK : 35 + at(3, g, 60))) },
    { series: 'DCGM_FI_DEV_POWER_USAGE', texts: gpus((g) => 200 + at(4, g, 4000) / 4) },
    { series: 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', texts: gpus((g) => since * 1_000_000 + at(5, g, 4000) * 125) },
    { series: 'DCGM_FI_DEV_GPU_UTIL', texts: gpus((g) => at(6, g, 5) * 25) },
    { series: 'DCGM_FI_DEV_ECC_SBE_VOL_TOTAL', texts: gpus((g) => Math.floor(since / (7 + g))) },
    { series: 'DCGM_FI_DEV_FB_USED', texts: gpus(used) },
    { series: 'DCGM_FI_DEV_FB_FREE', texts: gpus((g) => 189_000 - used(g)) },
    { series: 'DCGM_FI_DEV_FB_RESERVED', texts: gpus(() => 640) },
    { series: 'DCGM_FI_DEV_XID_ERRORS', texts: gpus(() => 0) },
    { series: 'DCGM_FI_PROF_GR_ENGINE_ACTIVE', texts: gpus((g) => at(12, g, 65) / 64) },
  ]
}

export const SAMPLES_PER_SCRAPE = GPUS * readingsOf(0, 0, 0, 0).length

/** The line of a `part` scrape that cannot be read: its series and GPU. */
export const BROKEN = { series: 'DCGM_FI_DEV_GPU_TEMP', gpu: 2 } as const

/** The page as published. */
export function pageOf(plan: ScrapePlan, scrape: Scrape): string {
  if (scrape.kind === 'garbage') return `no page of an exporter, ${draw(plan.seed, 3, scrape.h, scrape.k)}\n`
  const host = plan.hosts[scrape.h] as Host
  const lines: string[] = []
  for (const { series, texts } of readingsOf(plan.seed, scrape.h, scrape.k, host.resetAt)) {
    lines.push(`# TYPE ${series} gauge`)
    for (const [g, text] of texts.entries()) {
      const isBroken = scrape.kind === 'part' && series === BROKEN.series && g === BROKEN.gpu
      lines.push(`${series}{gpu="${isBroken ? 'none' : g}",UUID="GPU-${scrape.h}-${g}",modelName="NVIDIA GB200",hostname="${host.name}",namespace="${host.tenant}"} ${text}`)
    }
  }
  return `${lines.join('\n')}\n`
}

/** As the product names it (telemetry.md §1): HMAC-SHA-256 under the site's key, 80 bits. */
export const pseudonym = (key: string, kind: string, text: string): string => `${kind}-${createHmac('sha256', key).update(text).digest('hex').slice(0, 20)}`

/** Hosts of two pools; none in the last partition, those of the first fall silent for a while. */
function makeHosts(options: ScrapeOptions, count: number): Host[] {
  const hosts: Host[] = []
  for (let n = 0; hosts.length < count; n++) {
    const name = `${n % 2 === 0 ? 'tray' : 'sled'}-${String(n).padStart(4, '0')}`
    const node = pseudonym(options.key, 'node', `node\0${name}`)
    const partition = partitionOf(Buffer.from(node), options.partitions)
    if (partition === options.partitions - 1) continue
    hosts.push({
      name,
      pool: n % 2 === 0 ? 'chaos-a' : 'chaos-b',
      tenant: `tenant-${n % 12}`,
      node,
      partition,
      phaseMs: drawBelow(PERIOD_MS, options.seed, 4, n),
      resetAt: 20 + drawBelow(200, options.seed, 5, n),
    })
  }
  return hosts
}

export function planScrapes(options: ScrapeOptions): ScrapePlan {
  const { seed, samples, spanMs, lateAfterMs, jitterMs } = options
  const scrapes = Math.ceil(samples / SAMPLES_PER_SCRAPE)
  const rounds = Math.max(1, Math.floor(spanMs / PERIOD_MS))
  const hosts = makeHosts(options, Math.ceil((scrapes / rounds) * 1.07) + 1)
  const published: Scrape[] = []
  let distinct = 0
  for (let k = 0; distinct < scrapes; k++)
    for (let h = 0; h < hosts.length && distinct < scrapes; h++) {
      const { phaseMs, partition } = hosts[h] as Host
      const eventAt = k * PERIOD_MS + phaseMs
      if (partition === 0 && eventAt > spanMs / 3 && eventAt < (2 * spanMs) / 3) continue
      const is = (every: number, what: number): boolean => isDrawn(every, seed, what, h, k)
      const kind: ScrapeKind = is(150, 10) ? 'garbage' : is(150, 11) ? 'future' : is(100, 12) ? 'part' : 'whole'
      const hasTime = eventAt + lateAfterMs <= spanMs
      const delayMs = hasTime && is(150, 13) ? lateAfterMs : is(20, 14) ? drawBelow(jitterMs, seed, 15, h, k) : 0
      const scrape = { h, k, kind, eventAt: kind === 'future' ? eventAt + FUTURE_MS : eventAt, publishAt: eventAt + delayMs }
      distinct++
      published.push(scrape)
      // Published again at once, and when its window may be closed already.
      if (is(30, 16)) published.push({ ...scrape, publishAt: scrape.publishAt + drawBelow(2000, seed, 17, h, k) })
      if (hasTime && is(60, 18)) published.push({ ...scrape, publishAt: eventAt + lateAfterMs })
    }
  published.sort((a, b) => a.publishAt - b.publishAt || a.h - b.h || a.k - b.k)
  return { seed, hosts, published, samples: distinct * SAMPLES_PER_SCRAPE }
}
