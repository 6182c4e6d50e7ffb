/**
 * `sluice doctor`: looks at everything a start needs and says, check by check, what is wrong and what to do.
 *
 * Owns: the list of checks. Changes nothing (a ledger is read, not opened; a port is bound and let go). Exit 0 = all sound, 2 = something
 * in the environment, 1 = configuration, 3 = policy or ledger; the worst wins.
 */
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs'
import { asSluiceError, errors, SluiceError, type ErrorCode } from '../schemas/errors.ts'
import { withoutEffect } from '../schemas/site.ts'
import { listenOnce } from './listen.ts'
import { loadSite, SiteProblemsError, type LoadedSite } from './load-site.ts'
import type { Invocation } from './invocation.ts'
import { openLog, type Environment } from './open-log.ts'
import { readPolicy, verifyLedgerFolder } from './open-egress.ts'
import { pseudonymKey } from './secrets.ts'
import { unheardNotes } from './telemetry-heard.ts'
import type { ProcessStatus } from './site-status.ts'
import { assertSettingsSeen, siteTopicSpecs, topicProblems } from './topics.ts'

const ANSWER_MS = 1000

export interface Check {
  readonly name: string
  readonly ok: boolean
  readonly code: ErrorCode | null
  readonly detail: string
  readonly fix: string | null
}

const passed = (name: string, detail: string): Check => ({ name, ok: true, code: null, detail, fix: null })
const failedWith = (name: string, error: SluiceError): Check => ({
  name,
  ok: false,
  code: error.code,
  detail: error.detail === '' ? errors[error.code].what : error.detail,
  fix: error.fix,
})

async function check(name: string, act: () => Promise<string> | string): Promise<Check> {
  try {
    return passed(name, await act())
  } catch (error) {
    return failedWith(name, asSluiceError(error, 'SLU_INTERNAL'))
  }
}

async function portIsFree(field: string, listen: string): Promise<string> {
  await listenOnce(field, listen)
  return `${listen} is free`
}

/** The process id of this very site where it runs already and answers; null otherwise. */
async function runningSite(listen: string, site: string): Promise<number | null> {
  try {
    const answer = await fetch(`http://${listen}/status`, { signal: AbortSignal.timeout(ANSWER_MS) })
    const status = (await answer.json()) as Partial<ProcessStatus>
    return status.site === site && typeof status.pid === 'number' ? status.pid : null
  } catch {
    return null
  }
}

function folderIsWritable(path: string, code: ErrorCode): string {
  try {
    mkdirSync(path, { recursive: true })
    accessSync(path, constants.W_OK)
  } catch (cause) {
    throw new SluiceError(code, `${path} cannot be written`, cause)
  }
  return `${path} is writable`
}

/** Also gathers what is worth knowing about what is in the log, into `notes`. */
async function logChecks(loaded: LoadedSite, environment: Environment, notes: string[]): Promise<Check[]> {
  const checks: Check[] = []
  let log: Awaited<ReturnType<typeof openLog>> | null = null
  checks.push(
    await check(`log (${loaded.site.log.driver})`, async () => {
      log = await openLog(loaded, environment)
      const topics = await log.admin().topics(loaded.site.topicPrefix)
      return `answers, ${topics.length} topics`
    }),
  )
  if (log === null || checks[0]?.ok !== true) return checks
  const driver: Awaited<ReturnType<typeof openLog>> = log
  checks.push(
    await check('topics', async () => {
      const [specs, existing] = [siteTopicSpecs(loaded.site), await driver.admin().topics(loaded.site.topicPrefix)]
      assertSettingsSeen(specs, existing)
      const problems = topicProblems(specs, existing)
      const missing = problems.filter((p) => p.message === 'does not exist')
      if (missing.length < problems.length)
        throw new SluiceError(
          'SLU_LOG_TOPIC_MISCONFIGURED',
          problems
            .filter((p) => p.message !== 'does not exist')
            .map((p) => `${p.topic} ${p.message}`)
            .join('; '),
        )
      // A site for one’s own handlers alone: its functions have nothing to read.
      if (missing.length > 0 && loaded.site.sources.length + loaded.site.pools.length === 0)
        return `sound; ${missing.length} of the site’s own are not there, which only its own functions need`
      // `sluice start` creates them; on Kafka somebody may have forgotten to.
      if (missing.length > 0 && loaded.site.log.driver === 'kafka') throw new SluiceError('SLU_LOG_TOPIC_MISSING', missing.map((p) => p.topic).join(', '))
      return missing.length > 0 ? `${missing.length} are created at start` : 'all there, settings sound'
    }),
  )
  const telemetryTopic = `${loaded.site.topicPrefix}hardware.telemetry`
  const hasTelemetry = (await driver.admin().topics(loaded.site.topicPrefix)).some((t) => t.name === telemetryTopic)
  if (hasTelemetry && loaded.site.functions['aggregate-metrics'].enabled && !(await driver.admin().mayAppend(telemetryTopic)))
    notes.push(`no right to write to ${telemetryTopic}: there is no idle closing, a partition that falls silent keeps its windows open (W8)`)
  if (hasTelemetry && loaded.site.functions['assess-health'].enabled && !loaded.cannotRun.includes('assess-health'))
    checks.push(
      await check('health signals', async () => {
        const unheard = await unheardNotes(driver, loaded)
        notes.push(...unheard)
        return unheard.length === 0 ? 'every rule has heard its signal' : 'read; see the notes'
      }),
    )
  await driver.close()
  return checks
}

/** Every check of a loaded site; `notes` takes what is no failure. */
export async function diagnose(loaded: LoadedSite, environment: Environment, notes: string[] = []): Promise<Check[]> {
  const { site } = loaded
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const checks = [
    await check('node', () => {
      if (!((major === 24 && minor >= 12) || major >= 26)) throw new SluiceError('SLU_ENV_TOOL', `Node ${process.versions.node}; needs 24.12 or newer (npm ci brings one)`)
      return process.versions.node
    }),
    passed('configuration', loaded.file),
    await check('pseudonym key', () => {
      if (site.pseudonyms.create && !existsSync(loaded.pathOf(site.pseudonyms.keyFile as string))) return 'is made at start'
      return `${pseudonymKey(loaded, environment).length} bytes`
    }),
    ...(site.log.driver === 'embedded' ? [await check('log folder', () => folderIsWritable(loaded.pathOf(site.log.embedded.dir), 'SLU_LOG_STORAGE'))] : []),
    ...(await logChecks(loaded, environment, notes)),
  ]
  const running = await runningSite(site.observability.health.listen, site.site)
  for (const what of ['metrics', 'health'] as const) {
    const { listen } = site.observability[what]
    checks.push(await check(`${what} port`, () => (running === null ? portIsFree(`observability.${what}.listen`, listen) : `${listen} is of the running site, pid ${running}`)))
  }
  if (site.functions['forward-summaries'].enabled) {
    if (!loaded.cannotRun.includes('forward-summaries')) checks.push(await check('policy', () => readPolicy(loaded)))
    checks.push(await check('ledger', () => verifyLedgerFolder(loaded)))
    for (const d of site.egress.destinations)
      if (d.kind === 'carry') checks.push(await check(`destination ${d.name}`, () => folderIsWritable(loaded.pathOf(d.dir), 'SLU_EGRESS_HOLD')))
  }
  return checks
}

export async function doctor({ siteFile, output, environment }: Invocation): Promise<number> {
  let loaded: LoadedSite
  try {
    loaded = loadSite(siteFile)
  } catch (error) {
    if (!output.isJson || !(error instanceof SiteProblemsError)) throw error
    output.json({ checks: [failedWith('configuration', error)], problems: error.problems })
    return errors[error.code].exit
  }
  // What belongs to functions that lack a file is not looked at; a site for other handlers is sound without (`config check` says the same).
  const heard = loaded.absent.map((one) => `not checked: ${one}`)
  const checks = await diagnose(loaded, environment, heard)
  const idle = withoutEffect(loaded.site)
  output.json({ checks, withoutEffect: idle, notes: heard })
  for (const c of checks) {
    output.line(`${c.ok ? 'ok  ' : 'FAIL'}  ${c.name.padEnd(20)} ${c.code === null ? '' : `${c.code}  `}${c.detail}`)
    if (c.fix !== null) output.line(`      ${' '.repeat(20)} fix: ${c.fix}`)
  }
  for (const n of [...idle.map((key) => `without effect: ${key}`), ...heard]) output.line(`note  ${n}`)
  return Math.max(0, ...checks.map((c) => (c.code === null ? 0 : errors[c.code].exit)))
}
