/**
 * How long a new owner of assess-health takes until it knows the state of every device again, and how much memory that takes.
 *
 * Owns: the rows (one per device in `device.health`, as the fold writes them), and the case per number of devices and log. Each measurement is a
 * process of its own (recovery/member.ts) that is given all partitions; each partition reads the whole state topic, because a device may have
 * come from another partition. Peak memory is the process's, Node itself included: the row with no device is what that is. Groups: `embedded`, `kafka`.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isKafkaAvailable, startKafka } from '../infra/deploy/kafka/cluster.ts'
import { createEmbeddedDriver } from '../infra/log/embedded/driver.ts'
import { createKafkaDriver } from '../infra/log/kafka/driver.ts'
import type { LogDriver, OutRecord } from '../schemas/log.ts'
import { topicSpecs } from '../schemas/topics.ts'
import type { Recovered } from './recovery/member.ts'
import { median, type Bench, type BenchCase } from './report.ts'
import { codecs, START_MS } from './scrapes.ts'

const DEVICES = [0, 1_000, 10_000, 100_000] as const
const PARTITIONS = 4
const ROUNDS = 3
const DEVICES_PER_NODE = 8
const MEMBER = fileURLToPath(new URL('recovery/member.ts', import.meta.url))

/** The row of one device: six signals, one in twenty with an active rule. */
function rowOf(device: number, topic: string): OutRecord {
  const node = Math.floor(device / DEVICES_PER_NODE)
  const sourcePartition = node % PARTITIONS
  const id = `d-${device.toString(16).padStart(16, '0')}`
  const isSick = device % 20 === 0
  const value = codecs.encode('DeviceHealth', {
    site: 'bench',
    device: id,
    node: `n-${node.toString(16).padStart(16, '0')}`,
    pool: 'blackwell-a',
    state: isSick ? 'suspect' : 'healthy',
    verdict: isSick ? 'DEPRIORITISE' : 'ROUTE_OK',
    weight: isSick ? 0.5 : 1,
    sinceMs: START_MS,
    lastSeenMs: START_MS + device,
    sourcePartition,
    sourceOffset: device,
    signals: { 'xid.last': 0, 'ecc.sbe': 12, 'ecc.dbe': 0, 'pcie.replay': 3, 'nvlink.crc': 0, 'remap.pending': 0 },
    activeRules: isSick
      ? [
          {
            ruleId: 'thermal-slowdown',
            ruleVersion: 1,
            verdict: 'DEPRIORITISE',
            sinceMs: START_MS,
            holdUntilMs: START_MS + 600_000,
            occurrences: 2,
            codes: [],
            lastRaisedMs: START_MS,
          },
        ]
      : [],
  })
  const header = (name: string, text: string) => [name, Buffer.from(text)] as const
  return { topic, key: Buffer.from(id), value, headers: [header('sluice.source.partition', String(sourcePartition)), header('sluice.source.offset', String(device))] }
}

async function fill(driver: LogDriver, prefix: string, devices: number): Promise<void> {
  await driver.admin().createTopics(topicSpecs({ prefix, partitions: PARTITIONS, replication: 1, maxMessageBytes: 8 << 20 }).map((s) => ({ ...s, retentionMs: -1 })))
  const producer = driver.producer()
  for (let from = 0; from < devices; from += 1000) await producer.send(Array.from({ length: Math.min(1000, devices - from) }, (_, i) => rowOf(from + i, `${prefix}device.health`)))
  await producer.close()
}

function recover(log: string, where: string, prefix: string): Promise<Recovered> {
  return new Promise((resolve, reject) => {
    const member = spawn(process.execPath, [MEMBER, log, where, prefix], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    member.stdout.on('data', (chunk: Buffer) => (output += chunk.toString('utf8')))
    member.on('close', (code) => (code === 0 ? resolve(JSON.parse(output) as Recovered) : reject(new Error(`the member ended with ${code}`))))
  })
}

async function measure(log: string, where: string, prefixOf: (devices: number) => string, report: (result: BenchCase) => void): Promise<void> {
  for (const devices of DEVICES) {
    const rounds: Recovered[] = []
    for (let round = 0; round < ROUNDS; round++) rounds.push(await recover(log, where, prefixOf(devices)))
    const say = (what: string, unit: string, of: (r: Recovered) => number): void =>
      report({ case: `${log}, ${devices.toLocaleString('en')} devices: ${what}`, value: Math.round(median(rounds.map(of))), unit, better: 'lower', peers: {} })
    say(`until all ${PARTITIONS} partitions go on`, 'ms', (r) => r.wallMs)
    say('slowest partition', 'ms', (r) => Math.max(...r.restoreMs))
    say('peak memory', 'MiB', (r) => r.peakMiB)
  }
}

const prefixOf = (devices: number): string => `recovery-${process.pid}-${devices}.`

async function run(report: (result: BenchCase) => void, only: readonly string[]): Promise<void> {
  const isAsked = (group: string): boolean => only.length === 0 || only.includes(group)
  if (isAsked('embedded')) {
    const dir = mkdtempSync(join(tmpdir(), 'sluice-bench-'))
    try {
      const driver = createEmbeddedDriver({ dir })
      for (const devices of DEVICES) await fill(driver, prefixOf(devices), devices)
      await driver.close()
      await measure('embedded', dir, prefixOf, report)
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  }
  if (!isAsked('kafka')) return
  const available = await isKafkaAvailable()
  if (!available.available) {
    process.stderr.write(`Kafka cases left out: ${available.reason}\n`)
    return
  }
  const kafka = await startKafka({ brokers: 1 })
  try {
    const driver = createKafkaDriver({ brokers: kafka.bootstrap })
    for (const devices of DEVICES) await fill(driver, prefixOf(devices), devices)
    await driver.close()
    await measure('kafka', kafka.bootstrap[0] as string, prefixOf, report)
  } finally {
    await kafka.stop()
  }
}

export const recoveryBench: Bench = {
  question: 'How long does a new owner of assess-health take until it knows every device again, and in how much memory?',
  conditions: { partitions: PARTITIONS, rounds: ROUNDS, devicesPerNode: DEVICES_PER_NODE, rowsPerDevice: 1 },
  run,
}
