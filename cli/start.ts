/**
 * `sluice start`: the whole site in this process.
 *
 * Owns: `--for`, the live screen, signals, and the one JSON document at the end (issue: producers stop first, then the site drains).
 */
import { rmSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { SluiceError } from '../schemas/errors.ts'
import { formatDuration } from '../schemas/units.ts'
import { withoutEffect } from '../schemas/site.ts'
import { parseDuration } from './duration.ts'
import { FUNCTION_NAMES } from './functions.ts'
import { loadSite, type LoadedSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { startScreen } from './screen.ts'
import { untilSignal } from './signals.ts'
import { SiteProcess } from './site-process.ts'
import type { SiteStatus } from './site-status.ts'

const DRAIN_MS = 25_000
const GRACE_MS = 5000

/** Removes what an embedded site keeps; only folders the site itself names. */
function removeState(loaded: LoadedSite): void {
  if (loaded.site.log.driver !== 'embedded') throw new SluiceError('SLU_USE', '--fresh works with the embedded log only; on Kafka give the site a new topicPrefix')
  const { log, egress } = loaded.site
  for (const dir of [log.embedded.dir, egress.ledger, ...egress.destinations.flatMap((d) => (d.kind === 'carry' ? [d.dir] : []))])
    rmSync(loaded.pathOf(dir), { recursive: true, force: true })
}

export interface StartReport {
  readonly site: string
  readonly log: string
  readonly simulated: boolean
  readonly durationMs: number
  readonly drained: boolean
  readonly functions: Readonly<Record<string, { readonly in: number; readonly out: number; readonly late: number; readonly deadLetters: number }>>
  readonly inference: unknown
  readonly health: unknown
  readonly windows: { readonly closed: number }
  readonly egress: unknown
  readonly ledger: { readonly size: number; readonly root: string; readonly verified: boolean } | null
}

/** The document of `sluice start --for … --json`. */
export function startReport(status: SiteStatus, ledger: StartReport['ledger'], drained: boolean): StartReport {
  const o = status.observed
  return {
    site: status.site,
    log: status.log,
    simulated: status.isSimulated,
    durationMs: status.durationMs,
    drained,
    functions: Object.fromEntries(status.functions.map((f) => [f.name, { in: f.in, out: f.out, late: f.late, deadLetters: f.deadLetters }])),
    inference: { requests: o.requests, results: o.results, ok: o.ok, failed: o.failed, byPool: o.byPool, byCode: o.byCode, latencyMs: o.latencyMs },
    health: { verdicts: o.verdicts },
    windows: { closed: status.windowsClosed },
    egress: { ...o.egress, policy: status.policy },
    ledger,
  }
}

export async function start({ siteFile, output, environment }: Invocation, _args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile)
  const forMs = typeof options['for'] === 'string' ? parseDuration(options['for'], 'for') : null
  if (options['fresh'] === true) removeState(loaded)
  for (const note of withoutEffect(loaded.site)) output.note(`without effect: ${note}`)
  const isLive = !output.isJson && process.stdout.isTTY && options['quiet'] !== true
  const signal = untilSignal()
  const site = new SiteProcess({
    loaded,
    functions: FUNCTION_NAMES.filter((name) => loaded.site.functions[name].enabled),
    isSimulating: true,
    isApplyingTopics: true,
    environment,
    onLog: (severity, message) => {
      if (!isLive && severity !== 'debug') output.note(`${severity.padEnd(5)} ${message}`)
    },
  })
  await site.start()
  if (!isLive)
    output.note(
      `sluice ${loaded.site.site} is running${loaded.site.simulation === undefined ? '' : ' on SIMULATED accelerators'}; metrics at ${site.status().metricsUrl ?? 'nowhere'}`,
    )
  const screen = startScreen(() => site.status(), isLive ? 'live' : options['quiet'] === true ? 'none' : 'lines')
  try {
    const ending = forMs === null ? signal : Promise.race([signal, delay(forMs, 'time', { ref: true })])
    const why = await Promise.race([ending, site.failed])
    if (!isLive) output.note(why === 'time' ? `${formatDuration(forMs ?? 0)} are over: producers stop, the site drains` : `${why}: stopping`)
    const drained = why === 'time' ? await site.drain(DRAIN_MS) : false
    const ledger = await site.ledger()
    const report = startReport(site.status(), ledger, drained)
    await site.stop(GRACE_MS)
    screen.stop()
    output.json(report)
    if (why === 'time' && !drained) output.note('the site did not drain within its bound: see functions and inference above')
    if (ledger !== null && !ledger.verified) throw new SluiceError('SLU_LEDGER_CORRUPT', `size ${ledger.size}`)
    return 0
  } catch (error) {
    screen.stop()
    await site.stop(GRACE_MS)
    throw error
  }
}
