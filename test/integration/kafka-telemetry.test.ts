/**
 * Telemetry on real Kafka, end to end, in processes of their own: a plain producer publishes the sample files, the functions run as
 * `sluice run …`, the windows are read back and compared with values computed by hand; killed processes leave the same windows.
 */
import { readFileSync } from 'node:fs'
import test from 'ava'
import { Kafka, logLevel } from 'kafkajs'
import type { LogRecord } from '../../schemas/log.ts'
import type { WindowSummary } from '../../schemas/records.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { sluice, siteInFolder, startSluice, type RunningCommand, type TestSite } from '../helpers/site.ts'
import { readTopic } from '../helpers/read-topic.ts'
import { until } from '../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test.serial
// Pseudonyms are `tenant-<hex>`: the namespace is renamed to what no hex text can be, so that its absence means something.
const sample = (name: string): string => readFileSync(new URL(`../samples/${name}`, import.meta.url), 'utf8').replaceAll('tenant-a', 'tenant-zorro')
const WINDOW_MS = 5000
/** On the grid, in the past: event times are the producer's, so the values per window are known beforehand. */
const T0 = Math.floor((Date.now() - 3_600_000) / WINDOW_MS) * WINDOW_MS
const FUNCTIONS = ['normalize-telemetry', 'aggregate-metrics', 'combine-metrics']

interface Raw {
  readonly topic: string
  readonly key: string
  readonly value: string
  readonly timestampMs: number
}

function kafkaSite(prefix: string, bootstrap: readonly string[], idleMs: number): TestSite {
  return siteInFolder((s) => {
    s.topicPrefix = prefix
    s.log = { driver: 'kafka', kafka: { brokers: bootstrap, sessionMs: 3000 }, topics: { partitions: 2, replication: 1 } }
    s.pseudonyms = { keyEnv: 'SLUICE_TEST_KEY' }
    s.functions['aggregate-metrics'] = { windowMs: WINDOW_MS, graceMs: 1000, outOfOrdernessMs: 500, skewMs: 30_000, maxGapMs: 10_000, idleMs }
    delete s.simulation
  })
}

/** Publishes with kafkajs itself and the producer's own timestamps: the raw topics keep them. */
async function publish(bootstrap: readonly string[], prefix: string, raws: readonly Raw[]): Promise<void> {
  const client = new Kafka({ brokers: [...bootstrap], logLevel: logLevel.NOTHING })
  const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 })
  await producer.connect()
  for (const raw of raws) await producer.send({ topic: prefix + raw.topic, messages: [{ key: raw.key, value: raw.value, timestamp: String(raw.timestampMs) }] })
  await producer.disconnect()
}

async function makeTopics(bootstrap: readonly string[], prefix: string, site: TestSite, rawPartitions = 1): Promise<void> {
  const admin = new Kafka({ brokers: [...bootstrap], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  const raw = (name: string) => ({
    topic: prefix + name,
    numPartitions: rawPartitions,
    replicationFactor: 1,
    configEntries: [
      { name: 'message.timestamp.type', value: 'CreateTime' },
      { name: 'retention.ms', value: '-1' },
    ],
  })
  await admin.createTopics({ topics: [raw('telemetry.dcgm'), raw('telemetry.neuron')], waitForLeaders: true })
  await admin.disconnect()
  const apply = await sluice(['topics', 'apply', '--site', site.file], { SLUICE_TEST_KEY: 'a key of the test site' })
  if (apply.code !== 0) throw new Error(apply.stderr)
}

const run = (site: TestSite): RunningCommand => startSluice(['run', ...FUNCTIONS, '--site', site.file], { SLUICE_TEST_KEY: 'a key of the test site' })

async function readAll(bootstrap: readonly string[], topic: string): Promise<LogRecord[]> {
  const driver = createKafkaDriver({ brokers: [...bootstrap] })
  try {
    return await readTopic(driver, topic)
  } finally {
    await driver.close()
  }
}

async function windowsOf(bootstrap: readonly string[], prefix: string): Promise<WindowSummary[]> {
  const codecs = testCodecs()
  return (await readAll(bootstrap, `${prefix}metrics.windows`)).map((r) => codecs.decode('WindowSummary', r.value as Buffer))
}

/** Windows by identity, without the offsets they came from; a repeat must be equal. */
function byIdentity(windows: readonly WindowSummary[]): Map<string, string> {
  const map = new Map<string, string>()
  for (const w of windows) {
    const { sources: _sources, parametersHash: _hash, ...rest } = w
    const text = JSON.stringify(rest, (_k, v: unknown) =>
      v instanceof Object && !Array.isArray(v) ? Object.fromEntries(Object.entries(v).sort(([a], [b]) => a.localeCompare(b))) : v,
    )
    const before = map.get(w.id)
    if (before !== undefined && before !== text) throw new Error(`two different windows under ${w.id}:\n${before}\n${text}`)
    map.set(w.id, text)
  }
  return map
}

async function stop(command: RunningCommand): Promise<void> {
  command.child.kill('SIGTERM')
  await command.finished
}

kafkaTest('kafka: the sample files of both exporters, from a plain producer, end as the windows computed by hand', async (t) => {
  t.timeout(180_000)
  const { bootstrap } = kafka as { bootstrap: string[] }
  const prefix = `hand-${process.pid}.`
  const site = kafkaSite(prefix, bootstrap, 2000)
  await makeTopics(bootstrap, prefix, site)
  // Twelve scrapes a second apart: 5 + 5 + 2 in windows of 5 s.
  const raws = Array.from({ length: 12 }, (_, k) => [
    { topic: 'telemetry.dcgm', key: 'tray-07', value: sample('dcgm-exporter.prom'), timestampMs: T0 + k * 1000 },
    { topic: 'telemetry.neuron', key: 'trn-01', value: sample('neuron-monitor.json'), timestampMs: T0 + k * 1000 },
  ]).flat()
  await publish(bootstrap, prefix, raws)
  const command = run(site)
  // Nothing more comes: the idle partitions are ticked, and all three windows close (W8).
  await until(async () => (await windowsOf(bootstrap, prefix)).some((w) => w.windowStartMs === T0 + 10_000 && w.pool === 'trainium-a'), 40_000).catch((error: unknown) => {
    throw new Error(`${String(error)}\n${command.stderr()}`)
  })
  await stop(command)
  const windows = await windowsOf(bootstrap, prefix)
  const find = (pool: string, metric: string, attributes: Record<string, string>, k: number): WindowSummary | undefined =>
    windows.find(
      (w) => w.pool === pool && w.metric === metric && w.windowStartMs === T0 + k * WINDOW_MS && Object.entries(attributes).every(([name, value]) => w.attributes[name] === value),
    )

  for (const [k, scrapes] of [5, 5, 2].entries()) {
    // GPU 0 prints 61 °C; GPU 1 prints no temperature.
    t.like(find('blackwell-a', 'hw.temperature', { sensor: 'GPU_DIE' }, k), {
      count: scrapes,
      sum: 61 * scrapes,
      min: 61,
      max: 61,
      last: 61,
      devices: 1,
      partial: false,
      unit: 'Cel',
    })
    // 1042.318 W of one GPU of one tenant.
    const power = find('blackwell-a', 'hw.power', {}, k)
    t.is(power?.count, scrapes)
    t.true(Math.abs((power?.sum ?? 0) - 1042.318 * scrapes) < 1e-6)
    // 1965 MHz and 120 MHz: two GPUs, one with tenant-a, one without: two contributors.
    t.like(find('blackwell-a', 'sluice.gpu.clock', {}, k), { count: 2 * scrapes, sum: (1965 + 120) * 1e6 * scrapes, min: 120e6, max: 1965e6, devices: 2, contributors: 2 })
    // 171,520 MiB.
    t.like(find('blackwell-a', 'hw.gpu.memory.usage', {}, k), { count: scrapes, sum: 179_851_755_520 * scrapes })
    // Cores at 71.4 % and 69.8 %.
    const utilisation = find('trainium-a', 'hw.gpu.utilization', {}, k)
    t.is(utilisation?.count, 2 * scrapes)
    t.true(Math.abs((utilisation?.sum ?? 0) - (0.714 + 0.698) * scrapes) < 1e-9)
  }
  const telemetry = await readAll(bootstrap, `${prefix}hardware.telemetry`)
  const canonical = telemetry.filter((r) => !r.headers.some(([name]) => name === 'sluice.tick'))
  t.is(canonical.length, 24)
  for (const record of canonical) {
    const text = (record.value as Buffer).toString('latin1')
    for (const secret of ['tray-07', 'GPU-1a2b3c4d', '00000008:01:00.0', 'zorro', 'llm-0', 'neff', 'i-00000000000000001']) t.false(text.includes(secret), `N1: ${secret}`)
  }
  site.remove()
})

kafkaTest('kafka: what a released exporter prints meets what the next one prints in one cell, as computed by hand; a blank is no value', async (t) => {
  t.timeout(180_000)
  const { bootstrap } = kafka as { bootstrap: string[] }
  const prefix = `released-${process.pid}.`
  const site = kafkaSite(prefix, bootstrap, 2000)
  await makeTopics(bootstrap, prefix, site)
  const released = sample('dcgm-exporter-released-4.5.3-4.8.2.prom')
  t.true(released.includes('Hostname="tray-07"') && released.includes(' 9223372036854775794'))
  const raws = Array.from({ length: 12 }, (_, k) => [
    { topic: 'telemetry.dcgm', key: 'tray-07', value: released, timestampMs: T0 + k * 1000 },
    { topic: 'telemetry.dcgm', key: 'tray-08', value: sample('dcgm-exporter.prom').replaceAll('tray-07', 'tray-08'), timestampMs: T0 + k * 1000 },
  ]).flat()
  await publish(bootstrap, prefix, raws)
  const command = run(site)
  const cells = async (metric: string): Promise<WindowSummary[]> =>
    (await windowsOf(bootstrap, prefix)).filter((w) => w.pool === 'blackwell-a' && w.metric === metric).sort((a, b) => a.windowStartMs - b.windowStartMs)
  await until(async () => (await cells('hw.gpu.memory.usage')).length >= 3 && (await cells('hw.temperature')).length >= 3, 40_000, command.stderr)
  await stop(command)
  const memory = await cells('hw.gpu.memory.usage')
  for (const [k, scrapes] of [5, 5, 2].entries())
    // 20,480 MiB of a MIG instance of the one host, 171,520 MiB of a GPU of the other.
    t.like(memory[k], {
      windowStartMs: T0 + k * WINDOW_MS,
      count: 2 * scrapes,
      sum: (21_474_836_480 + 179_851_755_520) * scrapes,
      min: 21_474_836_480,
      max: 179_851_755_520,
      devices: 2,
      partial: false,
      unit: 'By',
    })
  t.is(memory.length, 3)
  // The memory temperature is DCGM's blank: a column without a value, and no cell.
  t.deepEqual(new Set((await cells('hw.temperature')).map((w) => w.attributes['sensor'])), new Set(['GPU_DIE']))
  const codecs = testCodecs()
  const batches = (await readAll(bootstrap, `${prefix}hardware.telemetry`))
    .filter((r) => !r.headers.some(([name]) => name === 'sluice.tick'))
    .map((r) => codecs.decode('NodeBatch', r.value as Buffer))
  t.is(batches.length, 24)
  t.is(new Set(batches.map((b) => b.node)).size, 2)
  const blank = batches.find((b) => codecs.decodeBare('NodeLayout', b.layout).metrics.some((m) => m.attributes['sensor'] === 'HBM'))
  t.deepEqual(blank === undefined ? [] : [0, 1].map((row) => blank.value.readDoubleLE(row * 8)), [Number.NaN, 21_474_836_480])
  t.is((await readAll(bootstrap, `${prefix}telemetry.dcgm.dlq`)).length, 0)
  site.remove()
})

/** The sample scrape as another host would print it, with a temperature that depends on host and time. */
function scrapeOf(host: string, h: number, k: number): Raw {
  const text = sample('dcgm-exporter.prom')
    .replaceAll('tray-07', host)
    .replace(/(DCGM_FI_DEV_GPU_TEMP\{[^}]*\}) 61/, `$1 ${40 + ((h * 7 + k * 3) % 50)}`)
  return { topic: 'telemetry.dcgm', key: host, value: text, timestampMs: T0 + k * 1000 }
}

kafkaTest('kafka: functions killed with SIGKILL and restarted leave exactly the windows of the undisturbed run', async (t) => {
  t.timeout(300_000)
  const { bootstrap } = kafka as { bootstrap: string[] }
  const raws = Array.from({ length: 60 }, (_, k) => Array.from({ length: 6 }, (_, h) => scrapeOf(`tray-${String(h).padStart(2, '0')}`, h, k))).flat()
  const last = Array.from({ length: 6 }, (_, h) => scrapeOf(`tray-${String(h).padStart(2, '0')}`, h, 300))
  // Cells lie in several partitions of the partials: each must have come to its last window.
  const isDone = async (prefix: string): Promise<boolean> => {
    const windows = await windowsOf(bootstrap, prefix)
    const cells = (from: number): Set<string> => new Set(windows.filter((w) => w.windowStartMs >= from).map((w) => JSON.stringify([w.pool, w.metric, w.attributes])))
    return cells(T0 + 55_000).size > 0 && cells(T0 + 55_000).size === cells(0).size
  }
  const both: Map<string, string>[] = []
  for (const [name, kills] of [
    ['calm', 0],
    ['killed', 2],
  ] as const) {
    const prefix = `${name}-${process.pid}.`
    // No ticks here: what is published last closes the windows, however long a restart takes.
    const site = kafkaSite(prefix, bootstrap, 600_000)
    await makeTopics(bootstrap, prefix, site)
    let command = run(site)
    for (let part = 0; part <= kills; part++) {
      const share = Math.ceil(raws.length / (kills + 1))
      const before = (await readAll(bootstrap, `${prefix}hardware.telemetry`)).length
      await publish(bootstrap, prefix, raws.slice(part * share, (part + 1) * share))
      if (part === kills) break
      // In the middle of the part: some of it has been normalised.
      await until(async () => (await readAll(bootstrap, `${prefix}hardware.telemetry`)).length > before, 60_000)
      command.child.kill('SIGKILL')
      await command.finished
      t.log(`killed ${part + 1} of ${kills}`)
      command = run(site)
    }
    await publish(bootstrap, prefix, last)
    await until(() => isDone(prefix), 120_000).catch((error: unknown) => {
      throw new Error(`${name}: ${String(error)}\n${command.stderr()}`)
    })
    await stop(command)
    both.push(byIdentity(await windowsOf(bootstrap, prefix)))
    // A killed producer of the topic sends again what it had not committed: those repeats may be late, nothing else.
    if (kills === 0) t.is((await readAll(bootstrap, `${prefix}hardware.telemetry.late`)).length, 0, 'a record was called late')
    site.remove()
  }
  const [calm, killed] = both as [Map<string, string>, Map<string, string>]
  t.true(calm.size >= 12 * 4)
  t.deepEqual(Object.fromEntries(killed), Object.fromEntries(calm))
})

kafkaTest('kafka: a catch-up over several source partitions calls nothing late and closes every window whole (W2)', async (t) => {
  t.timeout(120_000)
  const { bootstrap } = kafka as { bootstrap: string[] }
  const prefix = `behind-${process.pid}.`
  const site = kafkaSite(prefix, bootstrap, 600_000)
  await makeTopics(bootstrap, prefix, site, 3)
  const hosts = Array.from({ length: 6 }, (_, h) => [`tray-${String(h).padStart(2, '0')}`, h] as const)
  // Ten minutes, all of it there before anybody reads; one host prints ten times as often as the others.
  const seconds = Array.from({ length: 600 }, (_, k) => k)
  await publish(
    bootstrap,
    prefix,
    seconds.flatMap((k) => hosts.filter(([, h]) => h === 0 || k % 10 === 0).map(([host, h]) => scrapeOf(host, h, k))).concat(hosts.map(([host, h]) => scrapeOf(host, h, 900))),
  )
  const command = run(site)
  const temperatures = async (): Promise<WindowSummary[]> => (await windowsOf(bootstrap, prefix)).filter((w) => w.metric === 'hw.temperature' && w.windowStartMs < T0 + 600_000)
  await until(async () => (await temperatures()).length >= 120, 90_000, command.stderr)
  await stop(command)
  t.is((await readAll(bootstrap, `${prefix}hardware.telemetry.late`)).length, 0)
  for (const w of await temperatures()) t.is(w.count, (w.windowStartMs - T0) % 10_000 === 0 ? 10 : 5, `window at ${(w.windowStartMs - T0) / 1000} s`)
  site.remove()
})
