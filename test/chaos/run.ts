/**
 * One chaos run: real Kafka, real processes, faults, and the comparison.
 *
 * Owns: the order. Stages: three brokers, each behind a proxy → endpoints, topics, members → input and faults, side by side → everything whole
 * again → drained → members stopped → topics read by a plain client → compared. Whatever happens, nothing of it is left running.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { shippedCodecs } from '../../cli/shipped.ts'
import { startKafka, type KafkaCluster } from '../../infra/deploy/kafka/cluster.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { compare, COMPARED_TOPICS, type Verdict } from './compare.ts'
import { startEndpoint, type Endpoint } from './endpoints.ts'
import { executeFaults, faultSchedule, type FaultCounts, type Kills } from './faults.ts'
import { startMembers, type Members } from './members.ts'
import { startProxy, type Proxy } from './proxy.ts'
import { publishAll, type Published } from './publish.ts'
import { holdsWithin, openRawLog, type RawLog, type RawRecord } from './raw-log.ts'
import type { WindowParameters } from './reference.ts'
import { planRequests } from './requests.ts'
import { planScrapes } from './scrapes.ts'
import { KEY_ENV, PARTITIONS, SITE, writeSite } from './site-files.ts'

export interface ChaosOptions extends FaultCounts {
  readonly seed: number
  readonly samples: number
  readonly requests: number
  /** How long the input takes. */
  readonly spanMs: number
  /** Keep logs and data of the run. */
  readonly isKept: boolean
}

/** What can be seen while it runs. */
export interface Progress {
  readonly stage: string
  readonly published: Published
  readonly planned: { readonly scrapes: number; readonly requests: number }
  readonly membersUp: number
}

export interface ChaosResult {
  readonly seed: number
  readonly verdict: Verdict
  readonly kills: Kills
  /** Processes that ended by themselves: must be none. */
  readonly crashes: readonly string[]
  readonly startRetries: number
  readonly isDrained: boolean
  readonly published: Published
  /** Series lines of the distinct scrapes, and requests, copies not counted. */
  readonly input: { readonly samples: number; readonly scrapes: number; readonly requests: number }
  readonly executions: number
  readonly durations: { readonly startMs: number; readonly inputMs: number; readonly drainMs: number; readonly compareMs: number }
  readonly dir: string
}

const KEY = 'the key of the chaos site'
const BROKERS = 3
const ENDPOINTS = 4
const WHOLE_MS = 90_000
const READY_MS = 90_000
const DRAIN_MS = 300_000
const SIDE_BY_SIDE = ['normalize-telemetry', 'aggregate-metrics', 'combine-metrics'] as const

/** Long runs wait as long as a broker and a member may be away together; short ones have no time for that. */
function timing(spanMs: number): { readonly sessionMs: number; readonly idleMs: number; readonly parameters: WindowParameters } {
  const isLong = spanMs >= 120_000
  return {
    sessionMs: isLong ? 5000 : 3000,
    idleMs: isLong ? 10_000 : 2000,
    parameters: {
      windowMs: isLong ? 5000 : 2000,
      graceMs: isLong ? 60_000 : 6000,
      outOfOrdernessMs: isLong ? 20_000 : 2000,
      skewMs: 30_000,
      maxGapMs: isLong ? 20_000 : 6000,
    },
  }
}

async function applyTopics(siteFile: string): Promise<void> {
  const child = spawn(fileURLToPath(new URL('../../bin/sluice', import.meta.url)), ['topics', 'apply', '--site', siteFile], {
    env: { ...process.env, [KEY_ENV]: KEY },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let words = ''
  child.stderr.on('data', (chunk: Buffer) => (words += chunk.toString('utf8')))
  const code = await new Promise((resolve) => child.on('close', resolve))
  if (code !== 0) throw new Error(`sluice topics apply: ${words}`)
}

/** Resolves once everything that went in was dealt with; false when that takes too long. */
async function drained(raw: RawLog, lastEventMs: number, windowMs: number, signal: AbortSignal): Promise<boolean> {
  const untilMs = Date.now() + DRAIN_MS
  const left = (): number => Math.max(0, untilMs - Date.now())
  const isCommitted = async (name: string, topic: string): Promise<boolean> => {
    const [committed, ends] = await Promise.all([raw.committed(`sluice.${name}`, topic), raw.ends(topic)])
    return [...ends].every(([partition, end]) => (committed.get(partition) ?? 0n) >= end || end === 0n)
  }
  if (!(await holdsWithin(left(), signal, () => isCommitted('normalize-telemetry', 'telemetry.dcgm')))) return false
  // Stage 1 has closed the last window when each of its partitions has said so in every partition of the partials; stage 2 when it has read that.
  const codecs = shippedCodecs()
  const throughMs = Math.floor(lastEventMs / windowMs) * windowMs + windowMs
  const marked = new Map<number, Map<number, bigint>>()
  const isMarked = (record: RawRecord): boolean => {
    if (record.value !== null && codecs.nameOf(record.value) === 'WindowMarker') {
      const { sourcePartition, closedThroughMs } = codecs.decode('WindowMarker', record.value)
      const of = marked.get(record.partition) ?? new Map<number, bigint>()
      marked.set(record.partition, of)
      if (closedThroughMs >= throughMs && !of.has(sourcePartition)) of.set(sourcePartition, record.offset)
    }
    return marked.size === PARTITIONS && [...marked.values()].every((of) => of.size === PARTITIONS)
  }
  if (!(await raw.readUntil('metrics.partials', left(), isMarked))) return false
  const isCombined = async (): Promise<boolean> => {
    const committed = await raw.committed('sluice.combine-metrics', 'metrics.partials')
    return [...marked].every(([partition, of]) => [...of.values()].every((offset) => (committed.get(partition) ?? 0n) > offset))
  }
  if (!(await holdsWithin(left(), signal, isCombined))) return false
  return holdsWithin(left(), signal, () => isCommitted('route-inference', 'inference.requests'))
}

/** Why over 70 lines: one order of starting and ending. Rejects when the signal ends it, or when no Kafka can be started. */
export async function runChaos(options: ChaosOptions, signal: AbortSignal, say: (line: string) => void, watch: (progress: () => Progress) => void): Promise<ChaosResult> {
  const beganMs = Date.now()
  const { sessionMs, idleMs, parameters } = timing(options.spanMs)
  const { windowMs, graceMs, outOfOrdernessMs } = parameters
  const dir = mkdtempSync(join(tmpdir(), 'sluice-chaos-'))
  const plan = planScrapes({
    seed: options.seed,
    samples: options.samples,
    spanMs: options.spanMs,
    partitions: PARTITIONS,
    key: KEY,
    lateAfterMs: (windowMs + graceMs + outOfOrdernessMs) * 1.5,
    jitterMs: outOfOrdernessMs,
  })
  const requests = planRequests(options.seed, options.requests, options.spanMs)
  const published: Published = { scrapes: 0, requests: 0, sendsRepeated: 0 }
  const closing: (() => Promise<unknown>)[] = []
  let cluster: KafkaCluster | null = null
  let members: Members | null = null
  let stage = 'starting'
  watch(() => ({
    stage,
    published,
    planned: { scrapes: plan.published.length, requests: requests.length },
    membersUp: members === null ? 0 : members.names.filter((n) => members?.state(n) === 'running').length,
  }))
  try {
    const proxies: Proxy[] = []
    for (let i = 0; i < BROKERS; i++) {
      const proxy = await startProxy()
      proxies.push(proxy)
      closing.push(() => proxy.close())
    }
    signal.throwIfAborted()
    cluster = await startKafka({
      brokers: BROKERS,
      listeners: [{ name: 'PROXIED', protocol: 'PLAINTEXT', advertisedPorts: proxies.map((p) => p.port) }],
      onProgress: say,
      ...(options.isKept ? { dir: join(dir, 'kafka') } : {}),
    })
    const { kill, restart, bootstrap, listeners } = cluster
    proxies.forEach((proxy, i) => proxy.forwardTo(Number(listeners.get('PROXIED')?.[i]?.split(':')[1])))
    signal.throwIfAborted()
    const raw = await openRawLog(bootstrap)
    closing.push(() => raw.close())
    const endpoints: Endpoint[] = []
    for (let i = 0; i < ENDPOINTS; i++) {
      const endpoint = await startEndpoint(`endpoint-${i}`)
      endpoints.push(endpoint)
      closing.push(() => endpoint.close())
    }
    const address = proxies.map((p) => `127.0.0.1:${p.port}`)
    // No process knows all brokers beforehand, as in a real site's file: it learns of the others.
    const siteFile = (name: string, known: readonly number[]): string =>
      writeSite(
        dir,
        name,
        known.map((i) => address[i % BROKERS] as string),
        { sessionMs, parameters, idleMs, endpoints },
      )
    await raw.createSourceTopic('telemetry.dcgm', PARTITIONS)
    await applyTopics(siteFile('topics', [0, 1, 2]))
    const specs = [
      ...[0, 1, 2].map((i) => ({ name: `telemetry-${i + 1}`, functions: SIDE_BY_SIDE, siteFile: siteFile(`telemetry-${i + 1}`, [i, i + 1]) })),
      ...[0, 1].map((i) => ({ name: `routing-${i + 1}`, functions: ['route-inference'], siteFile: siteFile(`routing-${i + 1}`, [i + 1, i + 2]) })),
    ]
    const started = startMembers(specs, dir, { [KEY_ENV]: KEY })
    members = started
    say(`${specs.length} member processes: ${specs.map((s) => s.name).join(', ')}`)
    if (!(await holdsWithin(READY_MS, signal, () => Promise.resolve(started.names.every((n) => started.state(n) === 'running')))))
      throw new Error(`members did not start within ${READY_MS} ms: see the logs in ${dir}`)

    const driver = createKafkaDriver({ brokers: bootstrap, clientId: 'chaos-input' })
    closing.push(() => driver.close())
    const startMs = Date.now()
    stage = 'faults'
    const ending = new AbortController()
    const both = AbortSignal.any([signal, ending.signal])
    const publishing = publishAll({ producer: driver.producer(), codecs: shippedCodecs(), plan, requests, startMs, signal: both, published })
    const breaking = executeFaults(faultSchedule(options.seed, options.spanMs, options, sessionMs), startMs, options.spanMs / 4, {
      members: started,
      brokers: {
        count: BROKERS,
        isWhole: () => raw.isWhole(),
        kill: async (index) => {
          await kill(index)
          await proxies[index]?.withdraw()
        },
        restart: async (index) => {
          await proxies[index]?.offer()
          await restart(index)
        },
      },
      proxies,
      say: (line) => say(`${((Date.now() - startMs) / 1000).toFixed(1).padStart(6)} s  ${line}`),
      signal: both,
    })
    let kills: Kills
    try {
      ;[, kills] = await Promise.all([publishing, breaking])
    } finally {
      ending.abort()
      await Promise.allSettled([publishing, breaking])
    }
    const inputEndMs = Date.now()
    stage = 'draining'
    say('input is in, faults are over: draining')
    await holdsWithin(WHOLE_MS, signal, () => raw.isWhole())
    const lastEventMs = startMs + plan.published.filter((s) => s.kind !== 'future').reduce((last, s) => Math.max(last, s.eventAt), 0)
    const isDrained = await drained(raw, lastEventMs, windowMs, signal)
    await started.stop()
    const drainedMs = Date.now()
    stage = 'comparing'
    say('members stopped: reading and comparing')
    const topics = new Map<string, RawRecord[]>(COMPARED_TOPICS.map((topic) => [topic, []]))
    await raw.readAll(COMPARED_TOPICS, (record) => {
      topics.get(record.topic)?.push(record)
    })
    const verdict = compare({ plan, requests, startMs, site: SITE, key: KEY, parameters, codecs: shippedCodecs(), topics })
    const endMs = Date.now()
    return {
      seed: options.seed,
      verdict,
      kills,
      crashes: started.crashes,
      startRetries: started.startRetries(),
      isDrained,
      published,
      input: { samples: plan.samples, scrapes: plan.published.length, requests: requests.length },
      executions: endpoints.reduce((sum, e) => sum + e.executions(), 0),
      durations: { startMs: startMs - beganMs, inputMs: inputEndMs - startMs, drainMs: drainedMs - inputEndMs, compareMs: endMs - drainedMs },
      dir,
    }
  } finally {
    await members?.abandon()
    await Promise.allSettled(closing.toReversed().map((close) => close()))
    await cluster?.stop()
    if (!options.isKept) rmSync(dir, { recursive: true, force: true })
  }
}
