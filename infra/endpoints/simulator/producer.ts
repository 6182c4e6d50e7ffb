/**
 * The SIMULATED producers of a site: exporters that publish scrapes, applications that publish requests.
 *
 * Owns: the two loops on the clock, what was sent, and stopping them. A loop waits for its append before the next, so a slow log slows the
 * producers and is never flooded; a refused append is reported and not counted. Uses ports only, so it runs under a virtual clock.
 */
import type { Codecs } from '../../../schemas/codec.ts'
import type { LogHeaders, LogProducer, OutRecord } from '../../../schemas/log.ts'
import type { Clock, Random, Telemetry } from '../../../schemas/ports.ts'
import { attributeNames } from '../../../schemas/telemetry-names.ts'
import type { Scrape } from './hardware.ts'
import { makeRequest, type RequestScript, type ServedModel } from './requests.ts'

export interface ProducerOptions {
  readonly log: LogProducer
  readonly topicPrefix: string
  readonly codecs: Codecs
  readonly telemetry: Telemetry
  readonly clock: Clock
  readonly random: Random
  readonly scrapeMs: number
  /** 0 = none. */
  readonly requestsPerS: number
  readonly models: readonly ServedModel[]
  readonly tenants: readonly string[]
  readonly script: RequestScript
  /** What exporters publish at this time since the start. */
  readonly scrape: (sinceStartMs: number) => readonly Scrape[]
  readonly onProblem: (error: unknown) => void
}

export interface ProducerStats {
  /** Records on `inference.requests`, duplicates included. */
  readonly requests: number
  /** Distinct request ids. */
  readonly ids: number
  readonly scrapes: number
}

export interface SimulatedProducer {
  start(): void
  stats(): ProducerStats
  /** No append is under way once it resolves, and none follows. */
  stop(): Promise<void>
}

const REQUEST_LOOP_MS = 40
/** After a pause of the log at most this much is made up for. */
const CATCH_UP_MS = 1000

const headersOf = (carrier: Readonly<Record<string, string>>): LogHeaders => Object.entries(carrier).map(([name, text]) => [name, Buffer.from(text, 'utf8')])

export function createProducer(options: ProducerOptions): SimulatedProducer {
  const { clock, log, codecs, random, topicPrefix } = options
  const cancels = new Set<() => void>()
  const underWay = new Set<Promise<void>>()
  let isStopped = false
  let startedMs = 0
  let requests = 0
  let ids = 0
  let scrapes = 0
  let due = 0
  let made = 0
  let countedMs = 0

  const turn = async (everyMs: number, act: () => Promise<void>): Promise<void> => {
    try {
      await act()
    } catch (error) {
      options.onProblem(error)
    }
    if (isStopped) return
    const cancel = clock.setTimer(everyMs, () => {
      cancels.delete(cancel)
      loop(everyMs, act)
    })
    cancels.add(cancel)
  }

  /** Runs `act` every `everyMs`, never twice at once. */
  const loop = (everyMs: number, act: () => Promise<void>): void => {
    if (isStopped) return
    const running = turn(everyMs, act)
    underWay.add(running)
    void running.finally(() => underWay.delete(running))
  }

  const sendScrapes = async (): Promise<void> => {
    const records = options
      .scrape(clock.nowMs() - startedMs)
      .map((s): OutRecord => ({ topic: topicPrefix + s.topic, key: Buffer.from(s.host, 'utf8'), value: Buffer.from(s.text, 'utf8') }))
    if (records.length === 0) return
    await log.send(records)
    scrapes += records.length
  }

  const sendOne = async (run: string): Promise<void> => {
    const { request, isDuplicated } = makeRequest(++made, run, clock.nowMs(), random, options.models, options.tenants, options.script)
    const span = options.telemetry.span({
      name: 'create inference.requests',
      kind: 'producer',
      attributes: { [attributeNames.operation]: 'create', [attributeNames.destination]: 'inference.requests', [attributeNames.simulated]: true },
    })
    const record: OutRecord = {
      topic: `${topicPrefix}inference.requests`,
      key: Buffer.from(request.id, 'utf8'),
      value: codecs.encode('InferenceRequest', request),
      headers: headersOf(span.carrier),
    }
    try {
      const sent = isDuplicated ? [record, record] : [record]
      await log.send(sent)
      requests += sent.length
      ids++
      span.end()
    } catch (error) {
      span.end({ code: 'SLU_LOG_FAILED' })
      throw error
    }
  }

  const sendRequests = async (run: string): Promise<void> => {
    const nowMs = clock.nowMs()
    due += (Math.min(CATCH_UP_MS, nowMs - countedMs) * options.requestsPerS) / 1000
    countedMs = nowMs
    const now = Math.floor(due)
    due -= now
    await Promise.all(Array.from({ length: now }, () => sendOne(run)))
  }

  return {
    start: () => {
      startedMs = countedMs = clock.nowMs()
      const run = startedMs.toString(36)
      loop(options.scrapeMs, sendScrapes)
      if (options.requestsPerS > 0 && options.models.length > 0 && options.tenants.length > 0) loop(REQUEST_LOOP_MS, () => sendRequests(run))
    },
    stats: () => ({ requests, ids, scrapes }),
    stop: async () => {
      isStopped = true
      for (const cancel of cancels) cancel()
      cancels.clear()
      await Promise.all(underWay)
    },
  }
}
