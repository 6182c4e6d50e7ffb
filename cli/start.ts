/**
 * `sluice start`: the whole site in this process.
 *
 * Owns: `--for`, the live screen, signals, and the one JSON document at the end (issue: producers stop first, then the site drains).
 */
import { rmSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { errors, SluiceError } from '../schemas/errors.ts'
import { formatDuration } from '../schemas/units.ts'
import { withoutEffect } from '../schemas/site.ts'
import { parseDuration } from './duration.ts'
import { FUNCTION_NAMES } from './functions.ts'
import { loadSite, type LoadedSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { NOTHING_OBSERVED } from './observe.ts'
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
  /** `held`: where a partition stands still, and why. */
  readonly functions: Readonly<Record<string, { readonly in: number; readonly out: number; readonly late: number; readonly deadLetters: number; readonly held?: string }>>
  readonly inference: unknown
  readonly health: unknown
  readonly windows: { readonly closed: number }
  readonly egress: unknown
  readonly ledger: { readonly size: number; readonly root: string; readonly verified: boolean } | null
}

/** The document of `sluice start --for … --json`. */
export function startReport(status: SiteStatus, ledger: StartReport['ledger'], drained: boolean): StartReport {
  const { ok, failed, byPool, byCode, latencyMs, verdicts, egress, ...counts } = status.observed ?? NOTHING_OBSERVED
  return {
    site: status.site,
    log: status.log,
    simulated: status.isSimulated,
    durationMs: status.durationMs,
    drained,
    functions: Object.fromEntries(
      status.functions.map((f) => [f.name, { in: f.in, out: f.out, late: f.late, deadLetters: f.deadLetters, ...(f.held === null ? {} : { held: f.held }) }]),
    ),
    inference: { ...counts, ok, failed, byPool, byCode, latencyMs },
    health: { verdicts },
    windows: { closed: status.windowsClosed },
    egress: { ...egress, policy: status.policy },
    ledger,
  }
}

/** What makes the exit code after the document: the ledger, then what kept the site from draining. */
export function whatIsWrong(status: SiteStatus, ledger: StartReport['ledger'], isUndrained: boolean): SluiceError | null {
  if (ledger !== null && !ledger.verified) return new SluiceError('SLU_LEDGER_CORRUPT', `size ${ledger.size}`)
  if (!isUndrained) return null
  const held = status.functions.find((f) => f.held !== null)
  if (held?.heldCode != null) return new SluiceError(held.heldCode, `${held.name} held: ${held.held}`)
  const behind = status.functions.filter((f) => f.lag > 0).map((f) => `${f.name} ${f.lag} records behind`)
  const { requests, results, parked } = status.observed ?? NOTHING_OBSERVED
  return new SluiceError('SLU_ENV_NOT_DRAINED', [...behind, `${requests - results - parked} requests without an answer`].join(', '))
}

export async function start({ siteFile, output, environment }: Invocation, _args: string[], options: Record<string, unknown>): Promise<number> {
  const loaded = loadSite(siteFile, () => true)
  const forMs = typeof options['for'] === 'string' ? parseDuration(options['for'], 'for') : null
  if (options['fresh'] === true) removeState(loaded)
  for (const note of withoutEffect(loaded.site)) output.note(`without effect: ${note}`)
  const isLive = !output.isJson && process.stdout.isTTY && options['quiet'] !== true
  const ending = untilSignal((error) => output.note(`error ${error.message}`))
  let isDrawn = false
  const site = new SiteProcess({
    loaded,
    functions: FUNCTION_NAMES.filter((name) => loaded.site.functions[name].enabled),
    isSimulating: true,
    isObserving: true,
    isApplyingTopics: true,
    isSharingHost: false,
    environment,
    ending: ending.signal,
    onLog: (severity, message) => {
      // The live screen shows the newest problems itself.
      if (!isDrawn && severity !== 'debug' && (!isLive || severity !== 'info')) output.note(`${severity.padEnd(5)} ${message}`)
    },
  })
  await site.start()
  if (!isLive)
    output.note(
      `sluice ${loaded.site.site} is running${loaded.site.simulation === undefined ? '' : ' on SIMULATED accelerators'}; metrics at ${site.status().metricsUrl ?? 'nowhere'}`,
    )
  isDrawn = isLive
  const screen = startScreen(() => site.status(), isLive ? 'live' : options['quiet'] === true ? 'none' : 'lines')
  try {
    const over = forMs === null ? ending.asked : Promise.race([ending.asked, delay(forMs, 'time', { ref: true })])
    const why = await Promise.race([over, ending.uncaught, site.failed])
    if (!isLive) output.note(why === 'time' ? `${formatDuration(forMs ?? 0)} are over: producers stop, the site drains` : `${why}: stopping`)
    const drained = why === 'time' ? await Promise.race([site.drain(DRAIN_MS), ending.uncaught]) : false
    const ledger = await site.ledger()
    const status = site.status()
    // While the site still knows what it did: stopped, it shows nothing.
    screen.stop()
    isDrawn = false
    await site.stop(GRACE_MS)
    output.json(startReport(status, ledger, drained))
    const problem = whatIsWrong(status, ledger, why === 'time' && !drained)
    if (problem === null) return 0
    // Behind the one document, so not through the error's own.
    output.error(problem)
    return errors[problem.code].exit
  } catch (error) {
    screen.stop()
    isDrawn = false
    await site.stop(GRACE_MS)
    throw error
  }
}
