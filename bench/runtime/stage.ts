/**
 * The broker side of `npm run bench -- runtime`: one broker for the whole run, topics per round, and the counts that prove a contestant's output.
 *
 * Owns: creating, filling and removing topics; starting a contestant as its own process and reading its line; reading results back. A contestant whose
 * output does not hold exactly what went in is an error, never a figure.
 */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { startKafka, type KafkaCluster } from '../../infra/deploy/kafka/cluster.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { createClient } from '../../infra/log/kafka/kafkajs.ts'
import { PARTIALS_PARTITIONS_MAX } from '../../schemas/topics.ts'
import type { LogAdmin, LogDriver, LogRecord, OutRecord } from '../../schemas/log.ts'
import { buildPeer, type PeerName } from '../peers/java.ts'
import type { ContestantOptions, Measured } from './contestant.ts'

const run = promisify(execFile)
const CONTESTANT = fileURLToPath(new URL('contestant.ts', import.meta.url))
const STATE = fileURLToPath(new URL('../../.tools/peers/state', import.meta.url))
const FILL_RECORDS = 2000
const CONTESTANT_MS = 300_000

export interface Stage {
  readonly bootstrap: readonly string[]
  readonly driver: LogDriver
  /** Creates topics without retention; those that take event times carry append time (W1). */
  topics(names: readonly string[], partitions: number): Promise<void>
  fill(records: Iterable<OutRecord>): Promise<void>
  /** Removes every topic whose name starts so. */
  remove(prefix: string): Promise<void>
  /** Records of a topic. */
  count(topic: string): Promise<number>
  /** Adds up what `of` says of each record. */
  sum(topic: string, of: (record: LogRecord) => number): Promise<number>
  ours(options: Omit<ContestantOptions, 'bootstrap'>): Promise<Measured>
  /** Null when the peer cannot be built here; said once on stderr. */
  peer(name: PeerName, options: Readonly<Record<string, string | number>>): Promise<Measured | null>
  close(): Promise<void>
}

/** The last line of a process that ends by itself. */
async function measuredBy(file: string, args: readonly string[]): Promise<Measured> {
  try {
    const { stdout } = await run(file, [...args], { timeout: CONTESTANT_MS, maxBuffer: 16 << 20 })
    return JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as Measured
  } catch (cause) {
    const { stderr } = cause as { stderr?: string }
    throw new Error(`${file} ${args.join(' ').slice(0, 400)}\n${(stderr ?? '').slice(-2000)}`, { cause })
  }
}

export async function openStage(): Promise<Stage> {
  const kafka: KafkaCluster = await startKafka({ brokers: 1 })
  const driver = createKafkaDriver({ brokers: kafka.bootstrap })
  // A new one each time: a client goes on asking for the topics it once knew, removed ones too.
  const withAdmin = async <T>(act: (admin: LogAdmin) => Promise<T>): Promise<T> => {
    const admin = driver.admin()
    try {
      return await act(admin)
    } finally {
      await admin.close()
    }
  }
  const said = new Set<PeerName>()
  return {
    bootstrap: kafka.bootstrap,
    driver,
    topics: async (names, partitions) => {
      const common = { partitions, replication: 1, timestampType: 'LogAppendTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 8 << 20 } as const
      await withAdmin((admin) => admin.createTopics(names.map((name) => ({ name, ...common }))))
    },
    fill: async (records) => {
      const producer = driver.producer()
      let batch: OutRecord[] = []
      for (const record of records) {
        batch.push(record)
        if (batch.length < FILL_RECORDS) continue
        await producer.send(batch)
        batch = []
      }
      await producer.send(batch)
      await producer.close()
    },
    remove: async (prefix) => {
      const remover = createClient({ brokers: kafka.bootstrap, clientId: 'bench' }).admin()
      await remover.connect()
      const topics = (await remover.listTopics()).filter((name) => name.startsWith(prefix))
      if (topics.length > 0) await remover.deleteTopics({ topics })
      await remover.disconnect()
    },
    count: async (topic) => (await withAdmin((admin) => admin.ranges(topic))).reduce((sum, r) => sum + Number(r.endOffset - r.startOffset), 0),
    sum: async (topic, of) => {
      const reader = driver.reader()
      let sum = 0
      for await (const batch of await reader.open({ topic, partitions: 'all', from: 'start', committedOnly: true, untilEnd: true }))
        for (const record of batch.records) sum += of(record)
      await reader.close()
      return sum
    },
    ours: (options) => measuredBy(process.execPath, [CONTESTANT, JSON.stringify({ ...options, bootstrap: kafka.bootstrap })]),
    peer: async (name, options) => {
      const built = await buildPeer(name)
      if ('missing' in built) {
        if (!said.has(name)) process.stderr.write(`peer ${name} left out: ${built.missing}\n`)
        said.add(name)
        return null
      }
      const args = Object.entries({ ...options, bootstrap: kafka.bootstrap.join(','), state: STATE }).map(([key, value]) => `${key}=${value}`)
      return measuredBy('java', ['-Xmx1g', '-cp', built.classPath, 'Peer', ...args])
    },
    close: async () => {
      await driver.close()
      await kafka.stop()
    },
  }
}

/** Throws unless both are the same: a wrong result has no speed. */
export function mustEqual(what: string, got: number, wanted: number): void {
  if (got !== wanted) throw new Error(`${what}: ${got}, must be ${wanted}`)
}

const withCompanions = (prefix: string, name: string): string[] => ['', '.dlq', '.late'].map((suffix) => `${prefix}${name}${suffix}`)

/** What aggregate-metrics and combine-metrics need, as `sluice topics apply` would create it. */
export async function windowTopics(stage: Stage, prefix: string, partitions: number): Promise<void> {
  await stage.topics([...withCompanions(prefix, 'hardware.telemetry'), `${prefix}metrics.windows`], partitions)
  await stage.topics(withCompanions(prefix, 'metrics.partials'), Math.min(partitions, PARTIALS_PARTITIONS_MAX))
}
