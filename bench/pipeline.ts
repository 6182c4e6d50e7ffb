/**
 * How fast one process carries raw scrapes through a real log to closed windows: three functions, their topics, commits and acknowledgements.
 *
 * Owns: the embedded and the Kafka case (the latter where a broker can be started). The scrapes are appended first; measured is the time from
 * the start of the functions until everything is read, acknowledged and committed, and the CPU of this process meanwhile. The peer is a plain
 * read of the same raw records from the same log by the same driver, which does nothing with them: the ceiling of the log.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { aggregateMetrics } from '../functions/aggregate-metrics/aggregate-metrics.ts'
import { combineMetrics } from '../functions/combine-metrics/combine-metrics.ts'
import { normalizeTelemetry } from '../functions/normalize-telemetry/normalize-telemetry.ts'
import { systemClock, systemRandom } from '../infra/clock.ts'
import { isKafkaAvailable, startKafka } from '../infra/deploy/kafka/cluster.ts'
import { nodeHashing } from '../infra/hashing.ts'
import { createEmbeddedDriver } from '../infra/log/embedded/driver.ts'
import { createKafkaDriver } from '../infra/log/kafka/driver.ts'
import { silentTelemetry } from '../infra/observability/telemetry.ts'
import type { LogDriver } from '../schemas/log.ts'
import { createPseudonyms } from '../schemas/pseudonym.ts'
import { topicSpecs } from '../schemas/topics.ts'
import type { AnyFunction } from '../streams/define-function.ts'
import { createRunner } from '../streams/runner.ts'
import { median, type Bench, type BenchCase } from './report.ts'
import { codecs, SAMPLES, scrapeRecord } from './scrapes.ts'

const NODES = 64
const TURNS = 40
const PARTITIONS = 4
const ROUNDS = 3
const WINDOW_MS = 60_000

const functions = (): AnyFunction[] => [
  normalizeTelemetry({
    site: 'bench',
    pseudonyms: createPseudonyms(nodeHashing, Buffer.from('bench')),
    pools: [{ name: 'blackwell-a', rack: 'rack-1', members: [{ host: 'tray-*' }] }],
    tenants: [{ match: { namespace: 'tenant-*' }, tenant: '$namespace' }],
    sources: [{ topic: 'telemetry.dcgm', format: 'dcgm-exporter' }],
    alignWithinMs: 7500,
  }),
  aggregateMetrics({
    site: 'bench',
    parameters: { windowMs: WINDOW_MS, graceMs: 10_000, outOfOrdernessMs: 5000, skewMs: 30_000, maxGapMs: 120_000, idleMs: 3_600_000 },
    contributorFactsMax: 1000,
  }),
  combineMetrics({ site: 'bench', windowMs: WINDOW_MS, contributorFactsMax: 1000 }),
]

async function fill(driver: LogDriver, prefix: string): Promise<void> {
  await driver.admin().createTopics(
    topicSpecs({ prefix, partitions: PARTITIONS, replication: 1, maxMessageBytes: 8 << 20 }).map((s) => ({
      ...s,
      timestampType: s.name.includes('telemetry.dcgm') ? ('CreateTime' as const) : s.timestampType,
      retentionMs: -1,
    })),
  )
  const producer = driver.producer()
  for (let turn = 0; turn < TURNS; turn++)
    await producer.send(
      Array.from({ length: NODES }, (_, node) => {
        const { key, value, timestampMs } = scrapeRecord(node, turn)
        return { topic: `${prefix}telemetry.dcgm`, key, value, timestampMs }
      }),
    )
  await producer.close()
}

interface Measured {
  readonly wallMs: number
  readonly cpuMs: number
}

async function measured(act: () => Promise<void>): Promise<Measured> {
  const cpu = process.cpuUsage()
  const from = performance.now()
  await act()
  const used = process.cpuUsage(cpu)
  return { wallMs: performance.now() - from, cpuMs: (used.user + used.system) / 1000 }
}

async function readOnly(driver: LogDriver, prefix: string): Promise<void> {
  let bytes = 0
  for await (const batch of await driver.reader().open({ topic: `${prefix}telemetry.dcgm`, partitions: 'all', from: 'start', committedOnly: true, untilEnd: true }))
    for (const r of batch.records) bytes += r.value?.length ?? 0
  if (bytes === 0) throw new Error('nothing was read')
}

async function pipeline(driver: LogDriver, prefix: string): Promise<void> {
  let failed: Error | null = null
  const runners = functions().map((definition) =>
    createRunner({
      definition,
      driver,
      topicPrefix: prefix,
      site: 'bench',
      codecs,
      clock: systemClock,
      random: systemRandom,
      hashing: nodeHashing,
      telemetry: silentTelemetry,
      onFatal: (error) => (failed = error),
    }),
  )
  for (const r of runners) await r.start()
  for (let calm = 0; calm < 2;) {
    if (failed !== null) throw failed
    await delay(20)
    calm = runners.every((r) => r.drained()) && (runners[0]?.stats().in ?? 0) >= NODES * TURNS ? calm + 1 : 0
  }
  await Promise.all(runners.map((r) => r.stop(5000)))
}

async function rounds(name: string, driver: LogDriver, report: (result: BenchCase) => void): Promise<void> {
  const whole: Measured[] = []
  const plain: Measured[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const prefix = `bench-${process.pid}-${round}.`
    await fill(driver, prefix)
    plain.push(await measured(() => readOnly(driver, prefix)))
    whole.push(await measured(() => pipeline(driver, prefix)))
  }
  const records = NODES * TURNS
  const per = (count: number, of: readonly Measured[], key: keyof Measured): number => Math.round((count * 1000) / median(of.map((m) => m[key])))
  const say = (what: string, unit: string, count: number): void =>
    report({
      case: `${name}: raw text → windows, ${what}`,
      value: per(count, whole, what.includes('CPU') ? 'cpuMs' : 'wallMs'),
      unit,
      better: 'higher',
      peers: { 'plain read': per(count, plain, what.includes('CPU') ? 'cpuMs' : 'wallMs') },
    })
  say('wall', 'records/s', records)
  say('wall', 'samples/s', records * SAMPLES)
  say('CPU', 'samples/CPU-s', records * SAMPLES)
}

async function run(report: (result: BenchCase) => void): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-bench-'))
  const embedded = createEmbeddedDriver({ dir })
  try {
    await rounds('embedded log', embedded, report)
  } finally {
    await embedded.close()
    rmSync(dir, { recursive: true, force: true })
  }
  const available = await isKafkaAvailable()
  if (!available.available) {
    process.stderr.write(`Kafka case left out: ${available.reason}\n`)
    return
  }
  const kafka = await startKafka({ brokers: 1 })
  try {
    const driver = createKafkaDriver({ brokers: kafka.bootstrap })
    await rounds('Kafka, broker on the same machine', driver, report)
    await driver.close()
  } finally {
    await kafka.stop()
  }
}

export const pipelineBench: Bench = {
  question: 'How fast does one process carry raw scrapes through a log to closed windows?',
  conditions: { nodes: NODES, scrapesPerNode: TURNS, samplesPerRecord: SAMPLES, partitions: PARTITIONS, rounds: ROUNDS, windowMs: WINDOW_MS },
  run,
}
