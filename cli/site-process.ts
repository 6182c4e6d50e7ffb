/**
 * One process of a site: opens what the chosen functions need, runs them, stops in order.
 *
 * Owns: the order of opening (telemetry → log, waited for → topics → egress → routing table → observer → functions → simulation) and the reverse.
 * Start either succeeds whole or closes what it opened and throws one named error. Stop: readiness off, producers first, drain, functions
 * hand back their partitions and commit, then log and telemetry (operations.md §7).
 * Over 300 lines because opening and stopping are one order, read side by side.
 */
import { createHttpCall } from '../infra/endpoints/http-call.ts'
import { startSimulatedSite, type SimulatedSite } from '../infra/endpoints/simulator/site.ts'
import { nodeHashing } from '../infra/hashing.ts'
import { systemClock, systemRandom } from '../infra/clock.ts'
import { startHealthServer, type HealthServer } from '../infra/observability/health-server.ts'
import { measuredLedger } from '../infra/ledger/measured-ledger.ts'
import { measuredLog } from '../infra/observability/measured-log.ts'
import { startTelemetry, tracedCall, type RunningTelemetry } from '../infra/observability/telemetry.ts'
import { createHealthTable, type HealthTable } from '../functions/route-inference/health-table.ts'
import { asSluiceError, type SluiceError } from '../schemas/errors.ts'
import type { LogDriver, LogTail } from '../schemas/log.ts'
import type { Attributes, Telemetry } from '../schemas/ports.ts'
import { createPseudonyms } from '../schemas/pseudonym.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import { formatDuration } from '../schemas/units.ts'
import type { AnyFunction } from '../streams/define-function.ts'
import { createRunner } from '../streams/runner.ts'
import { buildFunction, endpointsByDevice, isFunctionName, type FunctionName, type FunctionPorts } from './functions.ts'
import { asListenError, isTaken } from './listen.ts'
import type { LoadedSite } from './load-site.ts'
import { measureFunction } from './measure-functions.ts'
import { SiteObserver } from './observe.ts'
import { openEgress, type OpenEgress } from './open-egress.ts'
import { openLog, type Environment } from './open-log.ts'
import { registerProcess } from './processes.ts'
import { pseudonymKey } from './secrets.ts'
import { shippedCodecs } from './shipped.ts'
import { functionStatuses, partitionRows, poolStatuses, underWay, type NamedRunner, type ProcessStatus, type SiteStatus } from './site-status.ts'
import { applyTopics } from './topics.ts'
import { untilReachable } from './until-reachable.ts'
import { VERSION } from './version.ts'

export interface SiteOptions {
  readonly loaded: LoadedSite
  /** Functions of the site by name, and handlers from files. */
  readonly functions: readonly (FunctionName | AnyFunction)[]
  /** Start the simulated accelerators and producers of the site. */
  readonly isSimulating: boolean
  /** Watch requests, results, verdicts and receipts for the screen and the report. */
  readonly isObserving: boolean
  /** Create missing topics first. */
  readonly isApplyingTopics: boolean
  /** Where another process has the ports that the site names, listen on free ones: several processes of a site share a host. */
  readonly isSharingHost: boolean
  readonly environment: Environment
  readonly onLog: (severity: 'debug' | 'info' | 'warn' | 'error', message: string) => void
  /** Aborted when the process is asked to end: a start that waits for its log gives up. */
  readonly ending: AbortSignal
}

const PROBLEMS_MAX = 50
const DRAIN_CHECK_MS = 200
/** A line for people: an error's causes stand behind it. */
const withChain = (message: string, attributes: Attributes | undefined): string => {
  const chain = attributes?.[attributeNames.errorChain]
  return chain === undefined || chain === '' ? message : `${message}, because ${String(chain)}`
}
/** Beyond the grace, for each step of a stop. */
const STOP_STEP_MS = 2000
/** A stop that takes longer says what it waits for. */
const STOP_TELL_MS = 1000

export class SiteProcess {
  readonly #options: SiteOptions
  readonly #startedMs = systemClock.nowMs()
  readonly #problems: string[] = []
  #telemetry: RunningTelemetry | null = null
  #log: LogDriver | null = null
  #egress: OpenEgress | null = null
  #health: { readonly table: HealthTable; readonly tail: LogTail; readonly reading: Promise<void> } | null = null
  #call: ReturnType<typeof createHttpCall> | null = null
  #observer: SiteObserver | null = null
  #runners: NamedRunner[] = []
  #simulation: SimulatedSite | null = null
  #server: HealthServer | null = null
  #unregister = (): void => {}
  #isReady = false
  /** Why it has not started yet. */
  #waitsFor: string | null = null
  #fail: (error: SluiceError) => void = () => {}
  /** Rejects when the process cannot go on; never resolves. */
  readonly failed: Promise<never>

  constructor(options: SiteOptions) {
    this.#options = options
    this.failed = new Promise((_resolve, reject) => {
      this.#fail = reject
    })
    this.failed.catch(() => {})
  }

  get #prefix(): string {
    return this.#options.loaded.site.topicPrefix
  }

  async start(): Promise<void> {
    try {
      await this.#open()
      this.#isReady = true
    } catch (error) {
      await this.stop(0)
      throw error
    }
  }

  async #open(): Promise<void> {
    const { loaded, environment, functions, isSimulating, isApplyingTopics, isObserving } = this.#options
    const { site } = loaded
    const codecs = shippedCodecs()
    const pseudonyms = createPseudonyms(nodeHashing, pseudonymKey(loaded, environment))
    const telemetry = await this.#listening('metrics', site.observability.metrics.listen, (metricsListen) =>
      startTelemetry({
        service: 'sluice',
        site: site.site,
        version: VERSION,
        metricsListen,
        environment,
        onLog: (severity, message, attributes) => this.#note(severity, withChain(message, attributes)),
      }),
    )
    this.#telemetry = telemetry
    const facts = { reasons: () => this.notReady(), status: () => this.processStatus() }
    this.#server = await this.#listening('health', site.observability.health.listen, (listen) => startHealthServer(listen, facts))
    this.#unregister = registerProcess(loaded, { pid: process.pid, url: this.#server.url })
    const opened = await openLog(loaded, environment)
    this.#log = opened
    await this.#untilReachable(opened)
    const log = measuredLog(opened, { telemetry, topicPrefix: site.topicPrefix })
    if (isApplyingTopics) await applyTopics(log.admin(), site)

    const wants = (name: FunctionName): boolean => functions.includes(name)
    if (wants('forward-summaries')) this.#egress = await openEgress(loaded, environment)
    if (isSimulating && site.simulation !== undefined)
      this.#simulation = await startSimulatedSite({
        site,
        producer: log.producer(),
        topicPrefix: site.topicPrefix,
        codecs,
        telemetry,
        clock: systemClock,
        onProblem: (error) => this.#note('warn', `simulated site: ${asSluiceError(error, 'SLU_LOG_FAILED').message}`),
      }).catch((error: unknown) => {
        throw asListenError(error, 'simulation.listenHost', site.simulation?.listenHost ?? '')
      })
    const urls = new Map(this.#simulation?.endpoints.map((e) => [e.id, e.url]) ?? [])
    if (wants('route-inference')) await this.#openRouting(log, codecs, telemetry)

    if (isObserving) {
      this.#observer = new SiteObserver({
        log,
        prefix: site.topicPrefix,
        codecs,
        endpointsOf: endpointsByDevice(site, pseudonyms),
        onProblem: (error) => this.#note('warn', String(error)),
      })
      await this.#observer.start()
    }

    const ports: FunctionPorts = {
      clock: systemClock,
      random: systemRandom,
      hashing: nodeHashing,
      telemetry,
      pseudonyms,
      routing:
        this.#health === null || this.#call === null
          ? null
          : { call: tracedCall(this.#call.call), health: this.#health.table, urlOf: (id, configured) => urls.get(id) ?? configured },
      egress: this.#egress === null ? null : { ...this.#egress, ledger: measuredLedger(this.#egress.ledger, telemetry) },
    }
    for (const wanted of functions) {
      const definition = typeof wanted === 'string' ? measureFunction(buildFunction(wanted, loaded, ports), telemetry, codecs) : wanted
      const members = isFunctionName(definition.name) ? site.functions[definition.name].concurrency : 1
      for (let member = 0; member < members; member++)
        this.#runners.push({
          name: definition.name,
          runner: createRunner({
            definition,
            driver: log,
            topicPrefix: site.topicPrefix,
            site: site.site,
            codecs,
            clock: systemClock,
            random: systemRandom,
            hashing: nodeHashing,
            telemetry,
            onFatal: (error) => this.#fail(asSluiceError(error, 'SLU_INTERNAL')),
          }),
        })
    }
    await Promise.all(this.#runners.map(({ runner }) => runner.start()))
    this.#simulation?.startProducing()
  }

  /** `open` on the address that the site names, or where that is taken and may be shared, on a free port of it. */
  async #listening<T>(what: string, listen: string, open: (listen: string) => Promise<T>): Promise<T> {
    try {
      return await open(listen)
    } catch (error) {
      if (!this.#options.isSharingHost || !isTaken(error)) throw asListenError(error, `observability.${what}.listen`, listen)
      this.#note('info', `${what}: ${listen} is taken, a free port is used`)
      return open(`${listen.slice(0, listen.lastIndexOf(':'))}:0`)
    }
  }

  async #untilReachable(log: LogDriver): Promise<void> {
    const { kafka, driver } = this.#options.loaded.site.log
    if (driver !== 'kafka' || kafka === undefined) return
    const admin = log.admin()
    try {
      await untilReachable({
        ask: () => admin.topics(this.#prefix),
        boundMs: kafka.startWaitMs,
        signal: this.#options.ending,
        clock: systemClock,
        steadyMs: () => performance.now(),
        tell: (line) => {
          this.#waitsFor = line
          this.#note('warn', line)
        },
      })
      this.#waitsFor = null
    } finally {
      await admin.close()
    }
  }

  async #openRouting(log: LogDriver, codecs: ReturnType<typeof shippedCodecs>, telemetry: Telemetry): Promise<void> {
    const table = createHealthTable({ codecs, clock: systemClock })
    const endpoints = this.#options.loaded.site.pools.flatMap((p) => p.endpoints.map((e) => ({ id: e.id, pool: p.name })))
    table.onChange(() => {
      for (const { id, pool } of endpoints) {
        const row = table.get(id)
        const weight = row === undefined ? null : row.verdict === 'ROUTE_OK' || row.verdict === 'DEPRIORITISE' ? row.weight : 0
        if (weight !== null) telemetry.gauge(metricNames.endpointHealth, weight, { [attributeNames.endpoint]: id, [attributeNames.pool]: pool })
      }
    })
    const tail = await log.reader().open({ topic: `${this.#prefix}pool.health`, partitions: 'all', from: 'start', committedOnly: true, untilEnd: false })
    const read = async (): Promise<void> => {
      for await (const batch of tail) for (const record of batch.records) table.apply(record)
    }
    void tail.caughtUp.then(
      () => table.caughtUp(),
      () => {},
    )
    this.#health = { table, tail, reading: read().catch((error: unknown) => this.#fail(asSluiceError(error, 'SLU_LOG_FAILED'))) }
    this.#call = createHttpCall()
  }

  #note(severity: 'debug' | 'info' | 'warn' | 'error', message: string): void {
    if (severity === 'warn' || severity === 'error') {
      this.#problems.push(message)
      if (this.#problems.length > PROBLEMS_MAX) this.#problems.shift()
    }
    this.#options.onLog(severity, message)
  }

  /** Why the process is not ready; empty = ready. */
  notReady(): string[] {
    if (!this.#isReady) return [this.#waitsFor ?? 'starting or stopping']
    const troubles = this.#runners.flatMap(({ name, runner }) => runner.trouble()?.message.replace(/^/, `${name}: `) ?? [])
    return [...functionStatuses(this.#runners).flatMap((f) => (f.held === null ? [] : [`${f.name} held: ${f.held}`])), ...new Set(troubles)]
  }

  /** What `/status` answers. */
  processStatus(): ProcessStatus {
    const { site } = this.#options.loaded
    return {
      site: site.site,
      version: VERSION,
      pid: process.pid,
      upMs: systemClock.nowMs() - this.#startedMs,
      reasons: this.notReady(),
      partitions: partitionRows(this.#runners, systemClock.nowMs()),
    }
  }

  status(): SiteStatus {
    const { site } = this.#options.loaded
    return {
      site: site.site,
      log: site.log.driver,
      isSimulated: this.#simulation !== null,
      durationMs: systemClock.nowMs() - this.#startedMs,
      functions: functionStatuses(this.#runners),
      pools: poolStatuses(site, this.#health?.table),
      windowsClosed: this.#runners.filter(({ name }) => name === 'combine-metrics').reduce((sum, { runner }) => sum + runner.stats().windowsClosed, 0),
      observed: this.#observer?.observed() ?? null,
      ledgerSize: this.#egress?.ledger.size ?? 0,
      policy: this.#egress === null ? 'not loaded' : `${this.#egress.policy.manifest.bundleId} v${this.#egress.policy.manifest.version} (${this.#egress.policy.signature})`,
      metricsUrl: this.#telemetry?.metricsUrl ?? null,
      healthUrl: this.#server?.url ?? null,
      problems: this.#problems,
    }
  }

  /** What the ledger holds now, verified from its files; null where no egress runs here. */
  async ledger(): Promise<{ size: number; root: string; verified: boolean } | null> {
    return this.#egress === null ? null : this.#egress.verify()
  }

  /** Stops producers, then waits until every request is answered and every function has read and committed everything, at most `boundMs`. True = drained. */
  async drain(boundMs: number): Promise<boolean> {
    await this.#simulation?.stopProducing()
    const until = systemClock.nowMs() + boundMs
    for (let calm = 0; calm < 3;) {
      if (systemClock.nowMs() > until) return false
      await new Promise<void>((resolve) => void systemClock.setTimer(DRAIN_CHECK_MS, resolve))
      calm = this.#runners.every(({ runner }) => runner.drained()) && (this.#observer?.unanswered() ?? 0) === 0 ? calm + 1 : 0
    }
    return true
  }

  /** Stops everything that was opened, in order; safe to call at any time and twice. */
  async stop(graceMs: number): Promise<void> {
    this.#isReady = false
    const quietly = async (what: string, act: () => Promise<unknown> | undefined): Promise<void> => {
      try {
        // Bounded: what a broker or server does not answer must not keep the process from ending in order.
        const bound = new Promise<'bound'>((resolve) => void systemClock.setTimer(graceMs + STOP_STEP_MS, () => resolve('bound')))
        if ((await Promise.race([Promise.resolve(act()).then(() => 'done'), bound])) === 'bound')
          this.#note('warn', `while stopping ${what}: not done within ${graceMs + STOP_STEP_MS} ms, left behind`)
      } catch (error) {
        this.#note('warn', `while stopping ${what}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    await quietly('producers', () => this.#simulation?.stopProducing())
    const cancelTelling = systemClock.setTimer(STOP_TELL_MS, () => {
      const waitsFor = underWay(this.#runners)
      if (waitsFor !== '')
        this.#note('warn', `stopping waits for ${waitsFor}; at most ${formatDuration(graceMs)}, then it is left for the next start. A second signal ends it at once`)
    })
    await Promise.all(this.#runners.map(({ name, runner }) => quietly(name, () => runner.stop(graceMs))))
    cancelTelling()
    await quietly('simulated accelerators', () => this.#simulation?.stop())
    await quietly('observer', () => this.#observer?.stop())
    await quietly('health table', async () => {
      await this.#health?.tail.close()
      await this.#health?.reading
    })
    await quietly('endpoint connections', () => this.#call?.close())
    await quietly('egress', () => this.#egress?.close())
    await quietly('log', () => this.#log?.close())
    this.#unregister()
    await quietly('health server', () => this.#server?.close())
    await quietly('telemetry', () => this.#telemetry?.shutdown())
    this.#runners = []
    this.#simulation = null
  }
}
