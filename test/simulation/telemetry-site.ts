/**
 * The whole telemetry pipeline under the simulation: the real normalize-telemetry, aggregate-metrics and combine-metrics, each a group of members that
 * die, sleep, are thrown out, hand over and stop, while scrapes come late, twice, broken, in part, and from clocks that are wrong.
 *
 * Owns: the script of one seed and its verdict. Every scrape ends in exactly one place: a window, late, or a dead letter; one of which a part cannot be read
 * in its batch and one dead letter (N2). The windows are computed once more from the numbers that were put into the scrapes, by the rules of
 * `window-reference.ts`, which shares no code with `streams/` or `functions/`.
 */
import { createHmac } from 'node:crypto'
import { aggregateMetrics } from '../../functions/aggregate-metrics/aggregate-metrics.ts'
import { combineMetrics } from '../../functions/combine-metrics/combine-metrics.ts'
import { normalizeTelemetry } from '../../functions/normalize-telemetry/normalize-telemetry.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { createPseudonyms } from '../../schemas/pseudonym.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import type { AnyFunction } from '../../streams/define-function.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { seededRandom } from './once.ts'
import { diceOf, PipelineWorld, type MemberSpec, type WorldCounts } from './pipeline-world.ts'
import { headerOf } from './pipeline-verdict.ts'
import { StepGroup } from './step-group.ts'
import { StepLog } from './step-log.ts'
import { PARAMETERS, referenceOf, type Reading, type Slot } from './window-reference.ts'

export interface SiteRun extends WorldCounts {
  readonly seed: number
  readonly lost: number
  readonly wrong: number
  readonly doubled: number
  readonly breaches: readonly string[]
  readonly scrapes: number
  readonly windows: number
  readonly late: number
  readonly deadLetters: number
}

const SOURCES = 2
const HOSTS = 4
const SCRAPES = 60
const STEPS = 1300
const CALM_MS = 8000

/** What a scrape says, and what it is. */
interface Scrape {
  readonly host: number
  readonly observedMs: number
  readonly temperature: number
  /** Joules since boot. */
  readonly energy: number
  readonly fate: 'ok' | 'part' | 'garbage' | 'null'
  /** Dated so late that it is parked; sent once more it may count, and then its counter has gone back. */
  readonly isFuture: boolean
}

const codecs = testCodecs()
const pseudonyms = createPseudonyms(nodeHashing, createHmac('sha256', 'site').digest())
const hostOf = (host: number): string => `tray-0${host}`
const nodes = new Map(Array.from({ length: HOSTS }, (_, host) => [pseudonyms.node(hostOf(host)), host]))
const poolOf = (host: number): string => `k${host % 2}`
const pools = ['k0', 'k1'].map((name) => ({
  name,
  members: Array.from({ length: HOSTS }, (_, host) => host)
    .filter((host) => poolOf(host) === name)
    .map((host) => ({ host: hostOf(host) })),
}))

function textOf({ host, temperature, energy, fate }: Scrape): Buffer | null {
  if (fate === 'null') return null
  if (fate === 'garbage') return Buffer.from([0xff, 0xfe, 0x00])
  const line = (name: string, value: number | string): string => `${name}{gpu="0",UUID="GPU-1",hostname="${hostOf(host)}"} ${value}\n`
  const broken = fate === 'part' ? line('DCGM_FI_DEV_POWER_USAGE', 'much') : ''
  return Buffer.from(line('DCGM_FI_DEV_GPU_TEMP', temperature) + line('DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', energy * 1000) + broken)
}

const FUNCTIONS: readonly (() => AnyFunction)[] = [
  () => normalizeTelemetry({ site: 'hall-1', pseudonyms, pools, tenants: [], sources: [{ topic: 'telemetry.dcgm', format: 'dcgm-exporter' }], alignWithinMs: 40 }),
  () => aggregateMetrics({ site: 'hall-1', parameters: PARAMETERS, contributorFactsMax: 50 }),
  () => combineMetrics({ site: 'hall-1', windowMs: PARAMETERS.windowMs, contributorFactsMax: 50 }),
]

const identityOf = (host: number, observedMs: number): string => `${host}@${observedMs}`
const nothing = (): Slot[] => []

/** Why over 70 lines: one script, read from top to bottom. */
export async function simulateSite(seed: number): Promise<SiteRun> {
  const dice = diceOf(seededRandom(seed * 2654435761 + 99))
  const log = new StepLog(dice.random, { epochs: true, acknowledgements: true })
  const breaches: string[] = []
  let wrong = 0
  const breach = (text: string): void => {
    wrong++
    if (breaches.length < 12) breaches.push(`${log.nowMs} ${text}`)
  }
  const raw = { timestampType: 'CreateTime' } as const
  log.create('telemetry.dcgm', SOURCES, raw)
  log.create('telemetry.dcgm.dlq', SOURCES, raw)
  for (const [topic, partitions] of Object.entries({ 'hardware.telemetry': SOURCES, 'metrics.partials': 2, 'metrics.windows': 1 })) {
    log.create(topic, partitions)
    for (const beside of ['.late', '.dlq']) log.create(topic + beside, partitions, raw)
  }
  const scrapes = new Map<string, Scrape>()
  const raws = new Map<string, Scrape>()
  const batches = new Map<string, string>()
  const letters = new Set<string>()

  /** The reading of a batch, by what was put into its scrape. */
  const readingOf = (record: LogRecord): Reading | null => {
    if (record.value === null) return null
    const { node, observedMs } = codecs.decode('NodeBatch', record.value)
    const scrape = scrapes.get(identityOf(nodes.get(node) ?? -1, observedMs))
    return scrape === undefined ? null : { id: identityOf(scrape.host, observedMs), eventMs: observedMs, device: scrape.host, counter: scrape.energy }
  }

  log.watch = {
    appended: (record) => {
      if (record.topic === 'hardware.telemetry' && record.value !== null) {
        const reading = readingOf(record)
        if (reading === null) return breach('N2: a batch of no scrape')
        const bytes = record.value.toString('base64')
        if ((batches.get(reading.id) ?? bytes) !== bytes) breach(`N3: ${reading.id} came out differently`)
        batches.set(reading.id, bytes)
      }
      if (record.topic === 'telemetry.dcgm.dlq') {
        const at = `${headerOf(record, '__connect.errors.partition')}/${headerOf(record, '__connect.errors.offset')}`
        const scrape = raws.get(at)
        const due = scrape?.fate === 'part' ? 'SLU_TELEMETRY_PART' : scrape?.fate === 'ok' ? '' : 'SLU_TELEMETRY_FORMAT'
        if (headerOf(record, 'sluice.error.code') !== due) breach(`N2: ${at} (${scrape?.fate}) is a dead letter: ${headerOf(record, 'sluice.error.code')}`)
        letters.add(at)
      }
    },
  }
  const hasEnded = (at: string, { host, observedMs, fate }: Scrape): boolean =>
    (fate === 'ok' || letters.has(at)) && (fate === 'garbage' || fate === 'null' || batches.has(identityOf(host, observedMs)))
  const committed = (_: unknown, { topic, partition, nextOffset }: { topic: string; partition: number; nextOffset: bigint }): void => {
    if (topic !== 'telemetry.dcgm') return
    for (const { offset } of log.at({ topic, partition }).records) {
      const scrape = raws.get(`${partition}/${offset}`)
      if (offset < nextOffset && scrape !== undefined && !hasEnded(`${partition}/${offset}`, scrape))
        breach(`C1: committed ${nextOffset} above ${partition}/${offset}, which has not ended`)
    }
  }
  const specs = FUNCTIONS.map((define): MemberSpec => {
    const { name, inputs } = define()
    return { group: new StepGroup(log, name, inputs, { committed }), membersMax: 2, limits: { recordsInFlightMax: 12 }, define }
  })
  const world = new PipelineWorld(log, dice, specs, { orderly: false, clockJumps: false, outages: ['.dlq', '.late', 'metrics.windows', 'hardware.telemetry'] })

  const energies = Array.from({ length: HOSTS }, () => 0)
  const produce = (): void => {
    const host = dice.upTo(HOSTS)
    const draw = dice.random()
    const fate = draw < 0.04 ? 'garbage' : draw < 0.06 ? 'null' : draw < 0.14 ? 'part' : 'ok'
    const isFuture = dice.chance(0.03)
    let observedMs = log.nowMs + dice.upTo(60) - 30 - (dice.chance(0.06) ? 150 : 0) + (isFuture ? 400 : 0)
    // One scrape of a host at a time.
    while (scrapes.has(identityOf(host, observedMs))) observedMs++
    const scrape: Scrape = { host, observedMs, temperature: 20 + dice.upTo(60), energy: (energies[host] = (energies[host] as number) + 1 + dice.upTo(20)), fate, isFuture }
    scrapes.set(identityOf(host, observedMs), scrape)
    const record = { topic: 'telemetry.dcgm', partition: host % SOURCES, key: Buffer.from(hostOf(host)), value: textOf(scrape), timestampMs: observedMs }
    // A producer that was not answered sends again.
    for (const { partition, offset } of log.append(dice.chance(0.08) ? [record, record] : [record])) raws.set(`${partition}/${offset}`, scrape)
  }
  for (let step = 0; step < STEPS; step++) {
    if (scrapes.size < SCRAPES && dice.chance(0.06)) produce()
    await world.step()
  }

  const references = () =>
    (log.topics.get('hardware.telemetry') ?? []).map(({ records }, source) =>
      referenceOf(
        source,
        records.map((r) => ({ ...r, value: r.value === null ? null : Buffer.from(JSON.stringify(readingOf(r))) })),
      ),
    )
  const isNormalized = (): boolean => [...raws].every(([at, scrape]) => hasEnded(at, scrape))
  /** What stands beside the batches of a source, and what should. */
  const besides = (source: number, { late, deadLetters }: ReturnType<typeof referenceOf>) =>
    (
      [
        ['hardware.telemetry.late', 'sluice.late.', late],
        ['hardware.telemetry.dlq', '__connect.errors.', deadLetters],
      ] as const
    ).map(([topic, name, should]) => {
      const records = (log.topics.get(topic) ?? []).flatMap((p) => p.records).filter((r) => headerOf(r, `${name}partition`) === String(source))
      return { topic, should, offsets: new Set(records.map((r) => Number(headerOf(r, `${name}offset`)))) }
    })
  // The last record of a source may be a late one, that closes nothing.
  const isClosed = (): boolean =>
    isNormalized() && references().every((r, source) => r.closedThroughMs >= r.lastEndMs && besides(source, r).every(({ offsets, should }) => should.isSubsetOf(offsets)))
  const expectedOf = (all: ReturnType<typeof references>): Map<string, Slot[]> => {
    const expected = new Map<string, Slot[]>()
    for (const { slots } of all) for (const [identity, slot] of slots) expected.set(identity, [...(expected.get(identity) ?? nothing()), slot])
    return expected
  }
  const summaries = () => log.at({ topic: 'metrics.windows', partition: 0 }).records.map((r) => codecs.decode('WindowSummary', r.value as Buffer))
  const temperatures = () =>
    new Set(
      summaries()
        .filter((s) => s.metric === 'hw.temperature')
        .map((s) => `${s.windowEndMs}/${s.pool}`),
    )
  await world.calm(() => isClosed() && temperatures().size >= expectedOf(references()).size, CALM_MS)
  for (const error of world.fatal) breach(`fatal: ${error.message}`)

  const all = references()
  const expected = expectedOf(all)
  let lost = 0
  let doubled = 0
  for (const [at, scrape] of raws)
    if (!hasEnded(at, scrape)) {
      lost++
      breaches.push(`N2: scrape ${at} (${scrape.fate}) has not ended`)
    }
  const first = new Map<string, string>()
  for (const summary of summaries()) {
    const { pool, metric, windowEndMs, count, sum, min, max, partial, sources, id } = summary
    const slots = expected.get(`${windowEndMs}/${pool}`)
    const told = JSON.stringify({ ...summary, id: '' })
    if ((first.get(id) ?? told) !== told) {
      doubled++
      breaches.push(`W4: ${id} came out twice, differently`)
    }
    first.set(id, told)
    if (slots === undefined || partial) {
      breach(`W3: ${id} should not be${partial ? ', or not be partial' : ''}`)
      continue
    }
    const members = slots.flatMap((slot) => slot.ids.map((one) => scrapes.get(one) as Scrape))
    const values = members.map(({ temperature }) => temperature)
    const total = values.reduce((a, b) => a + b, 0)
    if (metric === 'hw.temperature' && (count !== values.length || sum !== total || min !== Math.min(...values) || max !== Math.max(...values)))
      breach(`W3, W10: ${id} says ${count} of ${sum}, the scrapes ${values.length} of ${total}`)
    const delta = slots.reduce((a, slot) => a + slot.delta, 0)
    if (metric === 'hw.energy' && !members.some(({ isFuture }) => isFuture) && Math.abs(sum - delta) > 1e-6) breach(`W5: ${id} rose by ${sum}, the scrapes by ${delta}`)
    for (const { partition, firstOffset, lastOffset } of sources)
      if (!slots.some((slot) => slot.source === partition && slot.first === firstOffset && slot.last === lastOffset))
        breach(`W4: ${id} names ${partition}: ${firstOffset} to ${lastOffset}`)
  }
  const there = temperatures()
  for (const identity of expected.keys())
    if (!there.has(identity)) {
      lost++
      breaches.push(`W3: no window ${identity}`)
    }
  let late = 0
  let deadLetters = letters.size
  for (const [source, reference] of all.entries())
    for (const { topic, offsets, should } of besides(source, reference)) {
      if (topic.endsWith('.late')) late += offsets.size
      else deadLetters += offsets.size
      const differing = offsets.symmetricDifference(should)
      if (differing.size > 0) breach(`W2: ${topic} of ${source}: ${[...differing].join()} there and should not be, or not there`)
    }
  world.end()
  return { seed, lost, wrong, doubled, breaches, scrapes: raws.size, windows: expected.size, late, deadLetters, ...world.counts }
}
