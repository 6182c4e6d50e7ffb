/**
 * The comparison: what lies in the topics against what must lie there.
 *
 * Owns: the verdicts. `lost`: samples, results or parked records that are nowhere. `doubled`: samples counted twice, ids with two visible results.
 * `wrong`: whatever differs otherwise, or lies where it must not. A record that stands on a topic again with the same identity and the same bytes is
 * a repeat: at-least-once delivery makes them and every reader drops them by identity; they are counted, and are no fault. Pure.
 */
import type { Codecs } from '../../schemas/codec.ts'
import { inferenceResultFromJson } from '../../schemas/inference-json.ts'
import type { InferenceResult, WindowSummary } from '../../schemas/records.ts'
import { digestIn, digestOf } from './endpoints.ts'
import type { RawRecord } from './raw-log.ts'
import { deviceOf, expectedWindows, rowsOf, type Cell, type Expected, type Logged, type WindowParameters } from './reference.ts'
import { bodyOf, requestRecord, type PlannedRequest } from './requests.ts'
import { SAMPLES_PER_SCRAPE, type Scrape, type ScrapePlan } from './scrapes.ts'

export interface CompareInput {
  readonly plan: ScrapePlan
  readonly requests: readonly PlannedRequest[]
  readonly startMs: number
  readonly site: string
  readonly key: string
  readonly parameters: WindowParameters
  readonly codecs: Codecs
  /** By topic, each partition in order. */
  readonly topics: ReadonlyMap<string, readonly RawRecord[]>
}

export interface Verdict {
  lost: number
  wrong: number
  doubled: number
  /** What was compared. */
  windows: number
  results: number
  samples: number
  late: number
  /** Late though nobody held them back: the pipeline was slower than the windows wait. On the late topic, not lost. */
  lateUnplanned: number
  deadLetters: Record<string, number>
  repeats: { canonical: number; windows: number; late: number; deadLetters: number }
  ticks: number
  /** The first faults, in words. */
  readonly faults: string[]
}

export const COMPARED_TOPICS = [
  'telemetry.dcgm',
  'telemetry.dcgm.dlq',
  'hardware.telemetry',
  'hardware.telemetry.late',
  'hardware.telemetry.dlq',
  'metrics.partials.late',
  'metrics.partials.dlq',
  'metrics.windows',
  'inference.requests',
  'inference.requests.dlq',
  'inference.results',
] as const

const FAULTS_MAX = 40
const TICK_HEADER = 'sluice.tick'

/** Why one class: the counts and the notes belong to one verdict. */
class Comparison {
  readonly #input: CompareInput
  readonly verdict: Verdict = {
    lost: 0,
    wrong: 0,
    doubled: 0,
    windows: 0,
    results: 0,
    samples: 0,
    late: 0,
    lateUnplanned: 0,
    deadLetters: {},
    repeats: { canonical: 0, windows: 0, late: 0, deadLetters: 0 },
    ticks: 0,
    faults: [],
  }

  constructor(input: CompareInput) {
    this.#input = input
  }

  #records(topic: (typeof COMPARED_TOPICS)[number]): readonly RawRecord[] {
    return this.#input.topics.get(topic) ?? []
  }

  #fault(kind: 'lost' | 'wrong' | 'doubled', count: number, text: string): void {
    if (count === 0) return
    this.verdict[kind] += count
    if (this.verdict.faults.length < FAULTS_MAX) this.verdict.faults.push(`${kind} ${count}: ${text}`)
  }

  /** The records of a side topic by the coordinates of their source. `must` = coordinates and the code they must have (null = any). */
  #sideTopic(topic: (typeof COMPARED_TOPICS)[number], names: { partition: string; offset: string }, must: ReadonlyMap<string, readonly string[] | null>): number {
    const found = new Map<string, number>()
    for (const { headers } of this.#records(topic)) {
      const at = `${headers[names.partition]}/${headers[names.offset]}`
      const code = headers['sluice.error.code'] ?? 'late'
      const before = found.get(at) ?? 0
      found.set(at, before + 1)
      const codes = must.get(at)
      if (codes === undefined) this.#fault('wrong', 1, `${topic} holds ${at} with ${code}, which must not be there`)
      else if (codes !== null && !codes.includes(code)) this.#fault('wrong', 1, `${topic} holds ${at} with ${code}, must be ${codes.join(' or ')}`)
      else if (before === 0 && code !== 'late') this.verdict.deadLetters[code] = (this.verdict.deadLetters[code] ?? 0) + 1
    }
    for (const at of must.keys()) if (!found.has(at)) this.#fault('lost', 1, `${topic} lacks ${at}`)
    return [...found.values()].reduce((sum, n) => sum + n - 1, 0)
  }

  #deadLetters(topic: (typeof COMPARED_TOPICS)[number], must: ReadonlyMap<string, readonly string[] | null>): void {
    this.verdict.repeats.deadLetters += this.#sideTopic(topic, { partition: '__connect.errors.partition', offset: '__connect.errors.offset' }, must)
  }

  /** Raw pages → canonical records: each scrape there with exactly its rows, what cannot be read parked. */
  canonical(): Map<number, Logged[]> {
    const { plan, startMs, codecs, key } = this.#input
    const identityOf = (h: number, eventMs: number): string => `${h}/${eventMs}`
    const planned = new Map<string, Scrape>(plan.published.map((s) => [identityOf(s.h, startMs + s.eventAt), s]))
    const hostByName = new Map(plan.hosts.map((host, h) => [host.name, h]))
    const hostByNode = new Map(plan.hosts.map((host, h) => [host.node, h]))

    const there = new Set<string>()
    const parked = new Map<string, readonly string[]>()
    for (const { partition, offset, key: name, timestampMs } of this.#records('telemetry.dcgm')) {
      const identity = identityOf(hostByName.get(name ?? '') ?? -1, timestampMs)
      const scrape = planned.get(identity)
      if (scrape === undefined) throw new Error(`telemetry.dcgm ${partition}/${offset}: not of this run`)
      there.add(identity)
      if (scrape.kind === 'garbage') parked.set(`${partition}/${offset}`, ['SLU_TELEMETRY_FORMAT'])
      if (scrape.kind === 'part') parked.set(`${partition}/${offset}`, ['SLU_TELEMETRY_PART'])
    }
    for (const [identity, { h, k }] of planned)
      if (!there.has(identity)) this.#fault('lost', SAMPLES_PER_SCRAPE, `scrape ${k} of host ${h} is not in telemetry.dcgm though it was acknowledged`)
    this.#deadLetters('telemetry.dcgm.dlq', parked)

    const logs = new Map<number, Logged[]>()
    const seen = new Set<string>()
    for (const { partition, offset, timestampMs: appendMs, value, headers } of this.#records('hardware.telemetry')) {
      const log = logs.get(partition) ?? []
      logs.set(partition, log)
      const tick = headers[TICK_HEADER]
      if (tick !== undefined) {
        log.push({ kind: 'tick', offset, appendMs, timeMs: Number(tick) })
        continue
      }
      const batch = codecs.decode('NodeBatch', value as Buffer)
      const h = hostByNode.get(batch.node) ?? -1
      const scrape = planned.get(identityOf(h, batch.observedMs))
      if (scrape === undefined || scrape.kind === 'garbage') {
        this.#fault('wrong', 1, `hardware.telemetry ${partition}/${offset}: of no scrape`)
        continue
      }
      log.push({ kind: 'scrape', offset, appendMs, eventMs: batch.observedMs, scrape })
      const identity = identityOf(h, batch.observedMs)
      if (seen.has(identity)) this.verdict.repeats.canonical++
      seen.add(identity)
      const layout = codecs.decodeBare('NodeLayout', batch.layout)
      const have = Array.from({ length: batch.value.length / 8 }, (_, i) => {
        const metric = layout.metrics[batch.metricIndex.readUInt16LE(i * 2)]
        const attributes = Object.entries(metric?.attributes ?? {}).map(([name, text]) => `${name}=${text}`)
        return `${layout.devices[batch.deviceIndex.readUInt16LE(i * 2)]?.id} ${metric?.name} ${attributes.join(',')} ${batch.value.readDoubleLE(i * 8)}`
      })
      const host = plan.hosts[h] as ScrapePlan['hosts'][number]
      const want = rowsOf(plan, scrape).map((row) => `${deviceOf(key, host, row.gpu)} ${row.of.metric} ${row.of.attributes} ${row.value}`)
      if (have.sort().join('\n') !== want.sort().join('\n')) this.#fault('wrong', 1, `hardware.telemetry ${partition}/${offset}: rows of scrape ${scrape.k} of host ${h} differ`)
    }
    for (const [identity, { h, k, kind }] of planned)
      if (kind !== 'garbage' && there.has(identity) && !seen.has(identity)) this.#fault('lost', SAMPLES_PER_SCRAPE, `scrape ${k} of host ${h} is not in hardware.telemetry`)
    return logs
  }

  /** Canonical records → windows, late records, records dated in the future. */
  windows(logs: ReadonlyMap<number, readonly Logged[]>): void {
    const { plan, site, key, parameters, codecs } = this.#input
    const expected = expectedWindows(plan, { site, key }, parameters, logs)
    this.verdict.ticks = expected.ticks
    const all = (places: ReadonlySet<string>, codes: readonly string[] | null): Map<string, readonly string[] | null> => new Map([...places].map((at) => [at, codes]))
    this.verdict.repeats.late += this.#sideTopic('hardware.telemetry.late', { partition: 'sluice.late.partition', offset: 'sluice.late.offset' }, all(expected.late, null))
    this.verdict.late = expected.late.size
    this.#deadLetters('hardware.telemetry.dlq', all(expected.future, ['SLU_RECORD_FUTURE']))
    // A partial that no window took is a window that is wrong.
    this.#sideTopic('metrics.partials.late', { partition: 'sluice.late.partition', offset: 'sluice.late.offset' }, new Map())
    this.#deadLetters('metrics.partials.dlq', new Map())
    this.#unplanned(expected)
    this.verdict.samples = [...expected.cells.values()].reduce((sum, cell) => sum + cell.count, 0)

    const found = new Map<string, { readonly bytes: Buffer; readonly summary: WindowSummary }>()
    for (const { value, partition, offset } of this.#records('metrics.windows')) {
      const bytes = value as Buffer
      const summary = codecs.decode('WindowSummary', bytes)
      const before = found.get(summary.id)
      if (before === undefined) found.set(summary.id, { bytes, summary })
      else if (before.bytes.equals(bytes)) this.verdict.repeats.windows++
      else this.#fault('wrong', 1, `metrics.windows ${partition}/${offset}: ${summary.id} again with other contents`)
    }
    this.verdict.windows = found.size
    for (const [id, cell] of expected.cells) {
      const summary = found.get(id)?.summary
      if (summary === undefined) this.#fault('lost', cell.count, `no window ${id}`)
      else this.#window(summary, cell)
    }
    for (const [id, { summary }] of found) if (!expected.cells.has(id)) this.#fault('doubled', summary.count, `window ${id} must not exist`)
  }

  #window(summary: WindowSummary, cell: Cell): void {
    const { id, count, sum, min, max, contributors, devices, partial, histogram } = summary
    const inBuckets = [...histogram.counts, ...histogram.negativeCounts].reduce((a, b) => a + b, histogram.zeroCount)
    if (count < cell.count) this.#fault('lost', cell.count - count, `${id}: ${count} of ${cell.count} samples`)
    else if (count > cell.count) this.#fault('doubled', count - cell.count, `${id}: ${count} samples for ${cell.count}`)
    else if (sum !== cell.sum || min !== cell.min || max !== cell.max)
      this.#fault('wrong', 1, `${id}: sum ${sum} min ${min} max ${max}, must be ${cell.sum} ${cell.min} ${cell.max}`)
    else if (contributors !== cell.contributors.size || devices !== cell.devices.size)
      this.#fault('wrong', 1, `${id}: ${contributors} contributors of ${devices} devices, must be ${cell.contributors.size} of ${cell.devices.size}`)
    else if (inBuckets !== count) this.#fault('wrong', 1, `${id}: the histogram holds ${inBuckets} of ${count}`)
    else if (partial) this.#fault('wrong', 1, `${id} is partial, though nothing was taken from the log`)
  }

  /** Scrapes that ended on the late topic alone, though they were published in time. */
  #unplanned(expected: Expected): void {
    const { plan } = this.#input
    const { graceMs, outOfOrdernessMs } = this.#input.parameters
    for (const { h, k, kind, eventAt, publishAt } of new Map(plan.published.toReversed().map((s) => [`${s.h}/${s.k}`, s])).values())
      if (kind !== 'garbage' && kind !== 'future' && publishAt - eventAt < graceMs + outOfOrdernessMs && !expected.folded.has(`${h}/${k}`)) this.verdict.lateUnplanned++
  }

  /** R1: one visible result per id, the answer to the body that came first; what may not be answered is parked. */
  routing(): void {
    const { requests, startMs, codecs } = this.#input
    const byBytes = new Map(requests.map((r) => [digestOf(requestRecord(r, startMs, codecs).value), r]))
    const answered = new Map<string, PlannedRequest>()
    const parked = new Map<string, readonly string[]>()
    const there = new Set<PlannedRequest>()
    for (const { partition, offset, value } of this.#records('inference.requests')) {
      const planned = byBytes.get(digestOf(value as Buffer))
      if (planned === undefined) throw new Error(`inference.requests ${partition}/${offset}: not of this run`)
      there.add(planned)
      const at = `${partition}/${offset}`
      const first = answered.get(planned.id)
      if (planned.kind === 'garbage') parked.set(at, ['SLU_RECORD_UNDECODABLE', 'SLU_RECORD_SCHEMA_UNKNOWN'])
      else if (planned.kind === 'other-key') parked.set(at, ['SLU_ROUTE_KEY_MISMATCH'])
      else if (first === undefined) answered.set(planned.id, planned)
      else if (first.kind !== planned.kind) parked.set(at, ['SLU_ROUTE_ID_REUSED'])
    }
    for (const planned of byBytes.values()) if (!there.has(planned)) this.#fault('lost', 1, `request ${planned.id} is not in inference.requests though it was acknowledged`)
    this.#deadLetters('inference.requests.dlq', parked)

    const results = new Map<string, RawRecord[]>()
    for (const record of this.#records('inference.results')) results.set(record.key ?? '', [...(results.get(record.key ?? '') ?? []), record])
    this.verdict.results = results.size
    for (const [id, planned] of answered) {
      const [first, ...more] = results.get(id) ?? []
      if (first === undefined) this.#fault('lost', 1, `no result for ${id}`)
      else this.#result(first, planned)
      this.#fault('doubled', more.length, `${more.length + 1} visible results for ${id}`)
    }
    for (const [id, list] of results) if (!answered.has(id)) this.#fault('wrong', list.length, `a result for ${id}, which must not be answered`)
  }

  #result(record: RawRecord, planned: PlannedRequest): void {
    const value = record.value as Buffer
    const result: InferenceResult = value[0] === 0x7b ? inferenceResultFromJson(value) : this.#input.codecs.decode('InferenceResult', value)
    if (result.id !== planned.id) this.#fault('wrong', 1, `the result under ${planned.id} names ${result.id}`)
    else if (planned.kind === 'unknown-model') {
      if (result.code !== 'SLU_ROUTE_MODEL_UNKNOWN') this.#fault('wrong', 1, `${planned.id} asked for a model nobody serves and was answered ${result.status} ${result.code}`)
    } else if (result.status !== 200 || digestIn(result.body) !== digestOf(bodyOf(planned)))
      this.#fault('wrong', 1, `${planned.id} was answered ${result.status} ${result.code ?? 'for another body'}`)
  }
}

export function compare(input: CompareInput): Verdict {
  const comparison = new Comparison(input)
  comparison.windows(comparison.canonical())
  comparison.routing()
  return comparison.verdict
}
