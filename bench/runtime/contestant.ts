/**
 * Our side of `npm run bench -- runtime`: one process, one measurement, one JSON line on stdout. Started by bench/runtime.ts.
 *
 * Owns: the functions under measurement and the two raw loops (the same client without handlers: what is left is the runtime's share). Measured is from
 * `warm` records on, so neither start nor warm-up counts: wall time until the last record is handled, acknowledged and at every stage behind it; CPU of
 * the whole process until all of it is committed too. Options come as one JSON argument.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { aggregateMetrics } from '../../functions/aggregate-metrics/aggregate-metrics.ts'
import { combineMetrics } from '../../functions/combine-metrics/combine-metrics.ts'
import { systemClock, systemRandom } from '../../infra/clock.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import { silentTelemetry } from '../../infra/observability/telemetry.ts'
import type { LogDriver, LogRecord } from '../../schemas/log.ts'
import { defineFunction, type AnyFunction, type MapFunction, type TaskFunction, type WindowParameters } from '../../streams/define-function.ts'
import { createRunner, type Runner } from '../../streams/runner.ts'
import { codecs } from '../scrapes.ts'
import { jsonWindows } from './json-windows.ts'
import { ServiceCalls } from './service-calls.ts'

export interface ContestantOptions {
  readonly form: 'map' | 'map-raw' | 'windows-avro' | 'windows-json' | 'windows-raw' | 'task' | 'effects'
  readonly bootstrap: readonly string[]
  readonly prefix: string
  readonly group: string
  readonly records: number
  readonly warm: number
  readonly parameters?: WindowParameters
  readonly concurrency?: number
  readonly effectMs?: number
  /** Where the service listens that an effect calls; without one an effect is a timer. */
  readonly servicePort?: number
}

export interface Measured {
  readonly records: number
  /** Records between the two looks. */
  readonly measured: number
  readonly wallMs: number
  readonly cpuMs: number
  readonly dropped: number
  readonly peakKb: number
  /** How long an effect of those measured really took, ms, on average; 0 where there is none. A timer is late, in Node and in Java differently. */
  readonly effectMs: number
}

const LOOK_MS = 5
/** Looks, of which one asks every partition how it is: that costs something of each. */
const HELD_LOOKS = 50
const RAW_SENDS_MAX = 4

interface Look {
  readonly atMs: number
  readonly cpuMs: number
  readonly records: number
  readonly effects: number
  readonly effectsMs: number
}

function look(records: number): Look {
  const { user, system } = process.cpuUsage()
  return { atMs: performance.now(), cpuMs: (user + system) / 1000, records, effects, effectsMs }
}

/** Most memory this process ever held, as the kernel counts it; 0 where it does not say. */
function peakKb(): number {
  try {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0)
  } catch {
    return 0
  }
}

const mapFunction = (): MapFunction<Buffer> =>
  defineFunction<MapFunction<Buffer>>({
    kind: 'map',
    name: 'bench-map',
    inputs: ['in'],
    outputs: ['out'],
    decode: (record) => record.value as Buffer,
    handle: (value, record) => {
      // Its own copy: the runtime keeps what was fetched.
      value[0] = (value[0] as number) ^ 1
      return [{ to: 'topic', topic: 'out', key: record.key, value }]
    },
  })

let effects = 0
let effectsMs = 0

async function effectOf(effectMs: number): Promise<void> {
  const fromMs = performance.now()
  await (service === null ? delay(effectMs) : service.call())
  effectsMs += performance.now() - fromMs
}

const taskFunction = (concurrency: number, effectMs: number): TaskFunction<LogRecord> =>
  defineFunction<TaskFunction<LogRecord>>({
    kind: 'task',
    name: 'bench-task',
    inputs: ['in'],
    outputs: [],
    order: 'key',
    concurrency,
    deadlineMs: 30_000,
    decode: (record) => record,
    handle: async () => {
      if (effectMs > 0) await effectOf(effectMs)
      effects++
      return []
    },
  })

function functionsOf(options: ContestantOptions): AnyFunction[] {
  const { form, parameters } = options
  if (form === 'map') return [mapFunction()]
  if (form === 'task') return [taskFunction(options.concurrency ?? 1, options.effectMs ?? 0)]
  if (parameters === undefined) throw new Error(`${form} needs parameters`)
  if (form === 'windows-json') return [jsonWindows(parameters)]
  return [aggregateMetrics({ site: 'bench', parameters, contributorFactsMax: 1000 }), combineMetrics({ site: 'bench', windowMs: parameters.windowMs, contributorFactsMax: 1000 })]
}

/** Everything that stands in the log has been handled and acknowledged. */
const isThrough = (runner: Runner): boolean => runner.partitions().every((p) => p.position !== null && p.end !== null && p.position >= p.end && p.inFlight === 0)

async function runFunctions(driver: LogDriver, options: ContestantOptions): Promise<Omit<Measured, 'peakKb'>> {
  let failed: Error | null = null
  const runners = functionsOf(options).map((definition) =>
    createRunner({
      definition,
      driver,
      group: `${options.group}.${definition.name}`,
      topicPrefix: options.prefix,
      site: 'bench',
      codecs,
      clock: systemClock,
      random: systemRandom,
      hashing: nodeHashing,
      telemetry: silentTelemetry,
      onFatal: (error) => (failed = error),
    }),
  )
  const [first, ...rest] = runners as [Runner, ...Runner[]]
  for (const runner of runners) await runner.start()
  let from: Look | null = null
  let end: Look | null = null
  let drained = 0
  for (let looks = 1; drained < 2; looks++) {
    await delay(LOOK_MS)
    if (failed !== null) throw failed
    const held = looks % HELD_LOOKS === 0 ? runners.flatMap((r) => r.partitions()).find((p) => p.state === 'held') : undefined
    if (held !== undefined) throw new Error(`${held.topic}/${held.partition} is held: ${held.reason}`)
    // A task counts what it takes in; done is what its handler has finished.
    const records = options.form === 'task' ? effects : first.stats().in
    if (from === null && records >= options.warm) from = look(records)
    if (end === null && records >= options.records && rest.every(isThrough)) end = look(records)
    drained = end !== null && runners.every((r) => r.drained()) ? drained + 1 : 0
  }
  const whole = look(options.records)
  const { in: taken, late, deadLetters, skipped } = first.stats()
  for (const runner of runners) await runner.stop(5000)
  return { records: options.form === 'task' ? effects : taken, ...between(from, end, whole), dropped: late + deadLetters + skipped }
}

function between(from: Look | null, end: Look | null, whole: Look): Pick<Measured, 'measured' | 'wallMs' | 'cpuMs' | 'effectMs'> {
  if (from === null || end === null) throw new Error('ended before it was measured')
  const effectMs = end.effects === from.effects ? 0 : (end.effectsMs - from.effectsMs) / (end.effects - from.effects)
  return { measured: end.records - from.records, wallMs: end.atMs - from.atMs, cpuMs: whole.cpuMs - from.cpuMs, effectMs }
}

/** Reads, and for `map-raw` writes what it read, with a few sends under way. */
async function runRaw(driver: LogDriver, options: ContestantOptions): Promise<Omit<Measured, 'peakKb'>> {
  const producer = options.form === 'map-raw' ? driver.producer() : null
  const tail = await driver
    .reader()
    .open({ topic: `${options.prefix}${options.form === 'map-raw' ? 'in' : 'hardware.telemetry'}`, partitions: 'all', from: 'start', committedOnly: true, untilEnd: true })
  let records = 0
  let from: Look | null = null
  const sends: Promise<unknown>[] = []
  for await (const batch of tail) {
    if (producer !== null) {
      if (sends.length >= RAW_SENDS_MAX) await sends.shift()
      sends.push(producer.send(batch.records.map(({ key, value }) => ({ topic: `${options.prefix}out`, key, value }))))
    }
    records += batch.records.length
    if (from === null && records >= options.warm) from = look(records)
  }
  await Promise.all(sends)
  const end = look(records)
  return { records, ...between(from, end, end), dropped: 0 }
}

/** As many effects at once and nothing else: the most that a task can come to in this process. */
async function runEffects({ records, warm, concurrency = 1, effectMs = 0 }: ContestantOptions): Promise<Omit<Measured, 'peakKb'>> {
  let from: Look | null = null
  const place = async (): Promise<void> => {
    while (effects < records) {
      await effectOf(effectMs)
      if (++effects === warm) from = look(effects)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, place))
  const end = look(effects)
  return { records: effects, ...between(from, end, end), dropped: 0 }
}

const options = JSON.parse(process.argv[2] ?? '') as ContestantOptions
const service = options.servicePort === undefined ? null : new ServiceCalls(options.servicePort)
const driver = createKafkaDriver({ brokers: options.bootstrap })
const measured = options.form === 'effects' ? await runEffects(options) : options.form.endsWith('-raw') ? await runRaw(driver, options) : await runFunctions(driver, options)
await driver.close()
service?.close()
process.stdout.write(`${JSON.stringify({ ...measured, peakKb: peakKb() })}\n`)
