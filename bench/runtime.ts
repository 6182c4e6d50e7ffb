/**
 * How much work the runtime gets out of a CPU-second on real Kafka, beside Kafka Streams, the Confluent Parallel Consumer and the bare client.
 *
 * Owns: which contestants run on which data, the order (every round runs all of them in turn on topics filled for that round; medians), and what each
 * figure means. `npm run bench -- runtime [map|windows|json|task|partitions|keys …]` runs some of the groups.
 * Conditions: one broker on the same machine, at least once, one consuming thread each, every contestant its own process with nothing else of ours in it.
 * Start and warm-up do not count: a contestant is measured from 40 % of its records on, CPU being that of its whole process (JIT and GC threads included).
 * Ours ends when the last record's effects are acknowledged and committed; the peers end, in their favour, when the last record was processed
 * (`map`: when the last one was sent).
 * What comes out is counted against what went in before a figure is printed.
 */
import { fileURLToPath } from 'node:url'
import { isKafkaAvailable } from '../infra/deploy/kafka/cluster.ts'
import type { LogRecord } from '../schemas/log.ts'
import { startService } from './peers/java.ts'
import type { Bench } from './report.ts'
import { batchRecords, countOfSummary, MAP_BYTES, mapRecords, SAMPLES_PER_RECORD, taskRecords, type ValueForm } from './runtime/data.ts'
import type { ContestantOptions } from './runtime/contestant.ts'
import { FLAT_RECORDS, flatCase } from './runtime/flat.ts'
import {
  cpuUs,
  GRACE_MS,
  MAP_KEYS,
  newPrefix,
  NODES,
  parameters,
  PARTITIONS,
  peakMiB,
  perCpuSecond,
  perSecond,
  ROUNDS,
  Scores,
  TASK_CONCURRENCY,
  WARM_SHARE,
  warmOf,
  WINDOW_MS,
  type Report,
} from './runtime/measure.ts'
import { mustEqual, openStage, windowTopics, type Stage } from './runtime/stage.ts'

const MAP_RECORDS = 200_000
const BATCHES = 240_000
const SCRAPE_MS = 1000
const TASK_KEYS = [
  { keys: 1, records: 1000 },
  { keys: 100, records: 50_000 },
  { keys: 1000, records: 100_000 },
] as const
const EFFECT_MS = 5
const SCHEMAS = fileURLToPath(new URL('../schemas/avro/', import.meta.url))

async function mapCase(stage: Stage, report: Report): Promise<void> {
  const scores = new Scores()
  for (let turn = 0; turn < ROUNDS; turn++) {
    const prefix = newPrefix()
    const id = `${prefix}kafka-streams`
    const out = `${prefix}out`
    await stage.topics([`${prefix}in`, `${prefix}in.dlq`, out, `${id}-out`], PARTITIONS)
    await stage.fill(mapRecords(`${prefix}in`, MAP_RECORDS, MAP_KEYS))
    const common = { records: MAP_RECORDS, warm: warmOf(MAP_RECORDS) }
    scores.add('sluice', await stage.ours({ form: 'map', prefix, group: prefix, ...common }))
    mustEqual('map, records out', await stage.count(out), MAP_RECORDS)
    const peer = await stage.peer('kafka-streams', { form: 'map', id, topic: `${prefix}in`, out: `${id}-out`, ...common })
    if (peer !== null) mustEqual('map by Kafka Streams, records out', await stage.count(`${id}-out`), MAP_RECORDS)
    scores.add('Kafka Streams', peer)
    scores.add('bare client', await stage.ours({ form: 'map-raw', prefix, group: prefix, ...common }))
    mustEqual('map by the bare client, records out', await stage.count(out), 2 * MAP_RECORDS)
    await stage.remove(prefix)
  }
  const what = `map ${MAP_BYTES} B, Kafka → Kafka`
  scores.report(report, what, 'records/CPU-s', 'higher', 'sluice', perCpuSecond(1))
  scores.report(report, what, 'records/s', 'higher', 'sluice', perSecond(1))
  scores.report(report, `${what}, peak memory`, 'MiB', 'lower', 'sluice', peakMiB)
}

/** The forms the peer is run in; bench/peers/kafka-streams/Peer.java says what each does. */
const STREAMS_FORMS = [
  { name: 'Kafka Streams, state per device, in memory', form: 'device', store: 'mem', layout: 'cached' },
  { name: 'Kafka Streams, state per device, RocksDB', form: 'device', store: 'rocks', layout: 'cached' },
  { name: 'Kafka Streams, totals per pool only, in memory', form: 'cell', store: 'mem', layout: 'cached' },
  { name: 'Kafka Streams, totals per pool only, RocksDB', form: 'cell', store: 'rocks', layout: 'cached' },
] as const
const DSL = { name: 'Kafka Streams, DSL, RocksDB', form: 'dsl', store: 'rocks', layout: 'cached' } as const

const countOfPeer = (record: LogRecord): number => Number((record.value as Buffer).readBigInt64BE(0))

/** The partials of the JSON function are 32 bytes; all else in the topic is a marker. */
const countOfPartial = (record: LogRecord): number => (record.value?.length === 32 ? countOfPeer(record) : 0)

async function windowsCase(stage: Stage, form: ValueForm, report: Report): Promise<void> {
  const scores = new Scores()
  const samples = BATCHES * SAMPLES_PER_RECORD
  const records = BATCHES + PARTITIONS
  const common = { records, warm: warmOf(records) }
  for (let turn = 0; turn < ROUNDS; turn++) {
    const prefix = newPrefix()
    const input = `${prefix}hardware.telemetry`
    await windowTopics(stage, prefix, PARTITIONS)
    await stage.fill(batchRecords(input, { form, nodes: NODES, records: BATCHES, partitions: PARTITIONS, scrapeMs: SCRAPE_MS }))
    const ours = await stage.ours({ form: form === 'json' ? 'windows-json' : 'windows-avro', prefix, group: prefix, parameters, ...common })
    mustEqual(`windows of ${form}, records late or parked`, ours.dropped, 0)
    const [topic, of] = form === 'json' ? (['metrics.partials', countOfPartial] as const) : (['metrics.windows', countOfSummary] as const)
    mustEqual(`windows of ${form}, samples in windows`, await stage.sum(prefix + topic, of), samples)
    scores.add('sluice', ours)
    // The DSL once: what counts is what it drops, and it takes the longest.
    for (const peer of turn === 0 ? [...STREAMS_FORMS, DSL] : STREAMS_FORMS) {
      const id = `${prefix}${peer.form}-${peer.store}`
      await stage.topics([`${id}-out`], PARTITIONS)
      const { name, ...settings } = peer
      const measured = await stage.peer('kafka-streams', {
        ...settings,
        ...common,
        value: form,
        id,
        topic: input,
        out: `${id}-out`,
        samples,
        windowMs: WINDOW_MS,
        graceMs: GRACE_MS,
        schemas: SCHEMAS,
      })
      if (measured === null) break
      if (peer.form !== 'dsl') mustEqual(`${name}, samples in windows`, await stage.sum(`${id}-out`, countOfPeer), samples)
      scores.add(name, measured)
    }
    scores.add('bare client, reads only', await stage.ours({ form: 'windows-raw', prefix, group: prefix, ...common }))
    await stage.remove(prefix)
  }
  const what = `windows of ${form === 'json' ? 'JSON' : 'NodeBatches'}, ${SAMPLES_PER_RECORD} samples a record`
  scores.report(report, what, 'samples/CPU-s', 'higher', 'sluice', perCpuSecond(SAMPLES_PER_RECORD))
  scores.report(report, what, 'samples/s', 'higher', 'sluice', perSecond(SAMPLES_PER_RECORD))
  scores.report(report, `${what}, CPU`, 'µs/record', 'lower', 'sluice', cpuUs)
  scores.report(report, `${what}, peak memory`, 'MiB', 'lower', 'sluice', peakMiB)
  scores.report(report, `${what}, left out as late`, 'samples', 'lower', 'sluice', (m) => m.dropped)
}

/**
 * What the 5 ms are. A wait is kept by the platform's own timer, which Node counts in whole milliseconds and Java does not. A call takes both equally long:
 * the service keeps the time.
 */
async function taskCase(stage: Stage, report: Report): Promise<void> {
  await taskOf('wait', {}, stage, report)
  const service = await startService(EFFECT_MS)
  if ('missing' in service) {
    process.stderr.write(`tasks that call a service left out: ${service.missing}\n`)
    return
  }
  try {
    await taskOf('call', { servicePort: service.port }, stage, report)
  } finally {
    service.close()
  }
}

async function taskOf(effect: 'wait' | 'call', where: Pick<ContestantOptions, 'servicePort'>, stage: Stage, report: Report): Promise<void> {
  for (const { keys, records } of TASK_KEYS) {
    const scores = new Scores()
    for (let turn = 0; turn < ROUNDS; turn++) {
      const prefix = newPrefix()
      await stage.topics([`${prefix}in`, `${prefix}in.dlq`], PARTITIONS)
      await stage.fill(taskRecords(`${prefix}in`, records, keys, PARTITIONS))
      const common = { records, warm: warmOf(records), concurrency: TASK_CONCURRENCY, effectMs: EFFECT_MS, ...where }
      const ours = await stage.ours({ form: 'task', prefix, group: prefix, ...common })
      mustEqual('task, records handled', ours.records - ours.dropped, records)
      scores.add('sluice', ours)
      const peer = await stage.peer('parallel-consumer', { id: `${prefix}parallel-consumer`, topic: `${prefix}in`, ...common })
      if (peer !== null) mustEqual('task by the Parallel Consumer, records handled', peer.records, records)
      scores.add('Parallel Consumer', peer)
      if (keys >= TASK_CONCURRENCY) scores.add('the effects alone, without a log', await stage.ours({ form: 'effects', prefix, group: prefix, ...common }))
      await stage.remove(prefix)
    }
    const what = `task, a ${effect} of ${EFFECT_MS} ms, key order, ${keys} ${keys === 1 ? 'key' : 'keys'}, ${TASK_CONCURRENCY} at once`
    scores.report(report, what, 'records/s', 'higher', 'sluice', perSecond(1))
    scores.report(report, `${what}, the effect as it took`, 'ms', 'lower', 'sluice', (m) => m.effectMs)
    if (keys >= TASK_CONCURRENCY) scores.report(report, `${what}, places at work`, '%', 'higher', 'sluice', (m) => (perSecond(1)(m) * m.effectMs) / (10 * TASK_CONCURRENCY))
    scores.report(report, `${what}, CPU`, 'µs/record', 'lower', 'sluice', cpuUs)
    scores.report(report, `${what}, peak memory`, 'MiB', 'lower', 'sluice', peakMiB)
  }
}

const GROUPS: Readonly<Record<string, (stage: Stage, report: Report) => Promise<void>>> = {
  map: mapCase,
  windows: (stage, report) => windowsCase(stage, 'avro', report),
  json: (stage, report) => windowsCase(stage, 'json', report),
  task: taskCase,
  partitions: (stage, report) => flatCase(stage, 'partitions', report),
  keys: (stage, report) => flatCase(stage, 'keys', report),
}

async function runAll(report: Report, only: readonly string[]): Promise<void> {
  const unknown = only.find((name) => !(name in GROUPS))
  if (unknown !== undefined) throw new Error(`no group ${unknown}; there are ${Object.keys(GROUPS).join(', ')}`)
  const available = await isKafkaAvailable()
  if (!available.available) {
    process.stderr.write(`no Kafka can be started here: ${available.reason}\n`)
    return
  }
  const stage = await openStage()
  try {
    for (const [name, group] of Object.entries(GROUPS)) if (only.length === 0 || only.includes(name)) await group(stage, report)
  } finally {
    await stage.close()
  }
}

export const runtimeBench: Bench = {
  question: 'How much work does the runtime get out of a CPU-second on real Kafka, beside what one would use instead?',
  conditions: {
    rounds: ROUNDS,
    partitions: PARTITIONS,
    measuredFrom: `${WARM_SHARE * 100} % of the records on`,
    mapRecords: MAP_RECORDS,
    batches: BATCHES,
    nodes: NODES,
    windowMs: WINDOW_MS,
    graceMs: GRACE_MS,
    broker: 'Apache Kafka 4.4.0, one, same machine',
    flatRecords: FLAT_RECORDS,
    taskConcurrency: TASK_CONCURRENCY,
    effectMs: EFFECT_MS,
    streams: 'Kafka Streams 4.3.1, one thread, at least once, caches on, Avro 1.12.0, OpenJDK, -Xmx1g',
    parallelConsumer: 'Confluent Parallel Consumer 0.5.3.3, kafka-clients 4.3.1, -Xmx1g',
  },
  run: runAll,
}
