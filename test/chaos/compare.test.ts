import test from 'ava'
import { inferenceResultToJson } from '../../schemas/inference-json.ts'
import type { InferenceResult, WindowSummary } from '../../schemas/records.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { compare, type CompareInput, type Verdict } from './compare.ts'
import { digestOf } from './endpoints.ts'
import type { RawRecord } from './raw-log.ts'
import { deviceOf, expectedWindows, rowsOf, type Logged } from './reference.ts'
import { bodyOf, planRequests, requestRecord } from './requests.ts'
import { planScrapes, type Scrape, type ScrapePlan } from './scrapes.ts'

const codecs = testCodecs()
const KEY = 'a key of the test'
const START_MS = 1_800_000_000_000
const PARTITIONS = 4
const parameters = { windowMs: 2000, graceMs: 2000, outOfOrdernessMs: 2000, skewMs: 30_000, maxGapMs: 5000 }
const lateAfterMs = 9000

type Topics = Map<string, RawRecord[]>

function append(topics: Topics, topic: string, partition: number, record: Partial<RawRecord>): RawRecord {
  const list = topics.get(topic) ?? []
  topics.set(topic, list)
  const offset = BigInt(list.filter((r) => r.partition === partition).length)
  const one = { topic, partition, offset, timestampMs: START_MS, key: null, value: null, headers: {}, ...record }
  list.push(one)
  return one
}

const parkedHeaders = (of: RawRecord, code: string): Record<string, string> => ({
  '__connect.errors.partition': String(of.partition),
  '__connect.errors.offset': String(of.offset),
  'sluice.error.code': code,
})

function nodeBatch(plan: ScrapePlan, scrape: Scrape): Buffer {
  const host = plan.hosts[scrape.h] as ScrapePlan['hosts'][number]
  const rows = rowsOf(plan, scrape)
  const devices = [...new Set(rows.map((r) => r.gpu))]
  const metrics = [...new Set(rows.map((r) => `${r.of.metric}|${r.of.attributes}`))]
  const uint16 = (of: (r: (typeof rows)[number]) => number): Buffer => Buffer.from(Uint16Array.from(rows, of).buffer)
  return codecs.encode('NodeBatch', {
    site: 'chaos',
    node: host.node,
    rack: null,
    source: { kind: 'dcgm-exporter', version: null },
    observedMs: START_MS + scrape.eventAt,
    part: 0,
    layout: codecs.encodeBare('NodeLayout', {
      devices: devices.map((gpu) => ({ id: deviceOf(KEY, host, gpu), type: 'gpu', vendor: null, model: null, parent: null, tenant: null, pool: host.pool })),
      metrics: metrics.map((text) => {
        const [name, attributes] = text.split('|') as [string, string]
        return { name, unit: '', kind: 'gauge', attributes: attributes === '' ? {} : Object.fromEntries([attributes.split('=') as [string, string]]), startMs: null }
      }),
    }),
    deviceIndex: uint16((r) => devices.indexOf(r.gpu)),
    metricIndex: uint16((r) => metrics.indexOf(`${r.of.metric}|${r.of.attributes}`)),
    value: Buffer.from(Float64Array.from(rows, (r) => r.value).buffer),
    offsetMs: null,
  })
}

const summary = (id: string, more: Partial<WindowSummary>): WindowSummary => ({
  site: 'chaos',
  pool: '',
  metric: '',
  unit: '',
  attributes: {},
  contributorKind: 'device',
  windowStartMs: 0,
  windowEndMs: 0,
  count: 0,
  sum: 0,
  min: 0,
  max: 0,
  last: 0,
  lastMs: 0,
  histogram: { scale: 0, zeroCount: more.count ?? 0, offset: 0, counts: [], negativeOffset: 0, negativeCounts: [] },
  contributorFacts: [],
  contributorOverflow: false,
  contributors: 0,
  devices: 0,
  sources: [],
  partial: false,
  parametersHash: '',
  id,
  ...more,
})

const result = (id: string, status: number, code: string | null, body: string): InferenceResult => ({
  id,
  status,
  code,
  headers: {},
  body: Buffer.from(body),
  contentType: 'application/json',
  model: null,
  modelVersion: null,
  pool: null,
  endpoint: null,
  accelerator: null,
  timings: { queueMs: 0, firstByteMs: null, totalMs: 0 },
  usage: null,
  evidence: null,
})

const answer = (digest: string): string => JSON.stringify({ choices: [{ message: { content: digest } }] })

interface World extends CompareInput {
  readonly topics: Topics
}

/** The topics of a run in which nothing went wrong. */
function makePerfect(): World {
  const plan = planScrapes({ seed: 9, samples: 12_000, spanMs: 60_000, partitions: PARTITIONS, key: KEY, lateAfterMs, jitterMs: 2000 })
  const requests = planRequests(5, 300, 60_000)
  const topics: Topics = new Map()
  const logs = new Map<number, Logged[]>()
  for (const scrape of plan.published) {
    const host = plan.hosts[scrape.h] as ScrapePlan['hosts'][number]
    const raw = append(topics, 'telemetry.dcgm', scrape.h % 2, { key: host.name, timestampMs: START_MS + scrape.eventAt })
    if (scrape.kind === 'garbage') append(topics, 'telemetry.dcgm.dlq', 0, { headers: parkedHeaders(raw, 'SLU_TELEMETRY_FORMAT') })
    if (scrape.kind === 'part') append(topics, 'telemetry.dcgm.dlq', 0, { headers: parkedHeaders(raw, 'SLU_TELEMETRY_PART') })
    if (scrape.kind === 'garbage') continue
    const { offset, timestampMs } = append(topics, 'hardware.telemetry', host.partition, { timestampMs: START_MS + scrape.publishAt, value: nodeBatch(plan, scrape) })
    logs.set(host.partition, [...(logs.get(host.partition) ?? []), { kind: 'scrape', offset, appendMs: timestampMs, eventMs: START_MS + scrape.eventAt, scrape }])
  }
  const expected = expectedWindows(plan, { site: 'chaos', key: KEY }, parameters, logs)
  const placed = (at: string): { partition: string; offset: string } => ({ partition: at.split('/')[0] as string, offset: at.split('/')[1] as string })
  for (const at of expected.late) {
    const { partition, offset } = placed(at)
    append(topics, 'hardware.telemetry.late', 0, { headers: { 'sluice.late.partition': partition, 'sluice.late.offset': offset } })
  }
  for (const at of expected.future) {
    const { partition, offset } = placed(at)
    append(topics, 'hardware.telemetry.dlq', 0, {
      headers: { '__connect.errors.partition': partition, '__connect.errors.offset': offset, 'sluice.error.code': 'SLU_RECORD_FUTURE' },
    })
  }
  for (const [id, { count, sum, min, max, contributors, devices }] of expected.cells)
    append(topics, 'metrics.windows', 0, { value: codecs.encode('WindowSummary', summary(id, { count, sum, min, max, contributors: contributors.size, devices: devices.size })) })

  const seen = new Map<string, string>()
  for (const request of requests) {
    const { key, value } = requestRecord(request, START_MS, codecs)
    const at = append(topics, 'inference.requests', 0, { key, value })
    const park = (code: string): RawRecord => append(topics, 'inference.requests.dlq', 0, { headers: parkedHeaders(at, code) })
    const before = seen.get(request.id)
    if (request.kind === 'garbage') park('SLU_RECORD_UNDECODABLE')
    else if (request.kind === 'other-key') park('SLU_ROUTE_KEY_MISMATCH')
    else if (before !== undefined && before !== request.kind) park('SLU_ROUTE_ID_REUSED')
    else if (before === undefined) {
      seen.set(request.id, request.kind)
      const answered =
        request.kind === 'unknown-model' ? result(request.id, 404, 'SLU_ROUTE_MODEL_UNKNOWN', '{}') : result(request.id, 200, null, answer(digestOf(bodyOf(request))))
      append(topics, 'inference.results', 0, { key: request.id, value: inferenceResultToJson(answered) })
    }
  }
  return { plan, requests, startMs: START_MS, site: 'chaos', key: KEY, parameters, codecs, topics }
}

const base = makePerfect()
/** A copy to spoil. */
const perfect = (): World => ({ ...base, topics: new Map([...base.topics].map(([topic, records]) => [topic, [...records]])) })

const counts = ({ lost, wrong, doubled }: Verdict): object => ({ lost, wrong, doubled })
const list = (input: World, topic: string): RawRecord[] => input.topics.get(topic) as RawRecord[]

/** The first record of the topic that `is` says yes to, decoded, changed, and put back. */
function changeWindow(input: World, change: (s: WindowSummary) => Partial<WindowSummary>): WindowSummary {
  const records = list(input, 'metrics.windows')
  const [first] = records as [RawRecord]
  const before = codecs.decode('WindowSummary', first.value as Buffer)
  const after = { ...before, ...change(before) }
  records[0] = { ...first, value: codecs.encode('WindowSummary', after) }
  return before
}

test('compare: a run in which nothing went wrong has no fault, and every kind of input is in it', (t) => {
  const verdict = compare(perfect())
  t.deepEqual(verdict.faults, [])
  t.deepEqual(counts(verdict), { lost: 0, wrong: 0, doubled: 0 })
  t.true(verdict.windows > 100 && verdict.results > 200 && verdict.late > 2 && verdict.repeats.canonical > 5)
  t.deepEqual(Object.keys(verdict.deadLetters).sort(), [
    'SLU_RECORD_FUTURE',
    'SLU_RECORD_UNDECODABLE',
    'SLU_ROUTE_ID_REUSED',
    'SLU_ROUTE_KEY_MISMATCH',
    'SLU_TELEMETRY_FORMAT',
    'SLU_TELEMETRY_PART',
  ])
  t.is(verdict.lateUnplanned, 0)
})

test('compare: a window that is missing or short of samples is lost by its samples', (t) => {
  const missing = perfect()
  const gone = codecs.decode('WindowSummary', list(missing, 'metrics.windows').shift()?.value as Buffer)
  t.deepEqual(counts(compare(missing)), { lost: gone.count, wrong: 0, doubled: 0 })
  const short = perfect()
  changeWindow(short, ({ count }) => ({ count: count - 2 }))
  t.deepEqual(counts(compare(short)), { lost: 2, wrong: 0, doubled: 0 })
})

test('compare: a sample folded twice, and a window nobody’s samples are in, are doubled', (t) => {
  const twice = perfect()
  changeWindow(twice, ({ count }) => ({ count: count + 1 }))
  t.deepEqual(counts(compare(twice)), { lost: 0, wrong: 0, doubled: 1 })
  const invented = perfect()
  append(invented.topics, 'metrics.windows', 0, { value: codecs.encode('WindowSummary', summary('chaos/x/0-1', { count: 3 })) })
  t.deepEqual(counts(compare(invented)), { lost: 0, wrong: 0, doubled: 3 })
})

test('compare: a window with another sum, minimum, maximum, contributors, devices or histogram, or a partial one, is wrong', (t) => {
  const changes: ((s: WindowSummary) => Partial<WindowSummary>)[] = [
    ({ sum }) => ({ sum: sum + 0.5 }),
    ({ min }) => ({ min: min - 1 }),
    ({ max }) => ({ max: max + 1 }),
    ({ contributors }) => ({ contributors: contributors + 1 }),
    ({ devices }) => ({ devices: devices - 1 }),
    ({ histogram }) => ({ histogram: { ...histogram, zeroCount: histogram.zeroCount - 1 } }),
    () => ({ partial: true }),
  ]
  for (const change of changes) {
    const input = perfect()
    changeWindow(input, change)
    t.deepEqual(counts(compare(input)), { lost: 0, wrong: 1, doubled: 0 }, String(change))
  }
})

test('compare: the same window again is a repeat; with other contents it is wrong, even if the first was right', (t) => {
  const same = perfect()
  list(same, 'metrics.windows').push(list(same, 'metrics.windows')[0] as RawRecord)
  const verdict = compare(same)
  t.deepEqual(counts(verdict), { lost: 0, wrong: 0, doubled: 0 })
  t.is(verdict.repeats.windows, 1)
  const other = perfect()
  const [first] = list(other, 'metrics.windows')
  changeWindow(other, ({ sum }) => ({ sum: sum + 1 }))
  list(other, 'metrics.windows').unshift(first as RawRecord)
  t.deepEqual(counts(compare(other)), { lost: 0, wrong: 1, doubled: 0 })
})

test('compare: a scrape that is not in the canonical topic is lost, one with another value is wrong', (t) => {
  const gone = perfect()
  const at = list(gone, 'hardware.telemetry').findIndex((r) => r.partition === 1)
  list(gone, 'hardware.telemetry').splice(at, 1)
  t.true(compare(gone).lost >= 48)
  const other = perfect()
  const records = list(other, 'hardware.telemetry')
  const first = records[0] as RawRecord
  const batch = codecs.decode('NodeBatch', first.value as Buffer)
  batch.value.writeDoubleLE(12_345, 0)
  records[0] = { ...first, value: codecs.encode('NodeBatch', batch) }
  t.is(compare(other).wrong, 1)
})

test('compare: a dead letter or late record that is missing is lost, one that must not be there or names another code is wrong', (t) => {
  for (const topic of ['telemetry.dcgm.dlq', 'hardware.telemetry.dlq', 'hardware.telemetry.late', 'inference.requests.dlq']) {
    const gone = perfect()
    list(gone, topic).shift()
    t.deepEqual(counts(compare(gone)), { lost: 1, wrong: 0, doubled: 0 }, topic)
    const extra = perfect()
    const names = topic.endsWith('.late') ? ['sluice.late.partition', 'sluice.late.offset'] : ['__connect.errors.partition', '__connect.errors.offset']
    append(extra.topics, topic, 0, { headers: Object.fromEntries(names.map((name) => [name, '99'])) })
    t.deepEqual(counts(compare(extra)), { lost: 0, wrong: 1, doubled: 0 }, topic)
    const again = perfect()
    list(again, topic).push(list(again, topic)[0] as RawRecord)
    t.deepEqual(counts(compare(again)), { lost: 0, wrong: 0, doubled: 0 }, topic)
  }
  const otherCode = perfect()
  const letters = list(otherCode, 'inference.requests.dlq')
  letters[0] = { ...(letters[0] as RawRecord), headers: { ...letters[0]?.headers, 'sluice.error.code': 'SLU_HANDLER_FAILED' } }
  t.deepEqual(counts(compare(otherCode)), { lost: 0, wrong: 1, doubled: 0 })
  const stray = perfect()
  append(stray.topics, 'metrics.partials.late', 0, {})
  append(stray.topics, 'metrics.partials.dlq', 0, {})
  t.deepEqual(counts(compare(stray)), { lost: 0, wrong: 2, doubled: 0 })
})

test('compare: an id without result is lost, with two is doubled, with the answer to another body is wrong', (t) => {
  const gone = perfect()
  list(gone, 'inference.results').shift()
  t.deepEqual(counts(compare(gone)), { lost: 1, wrong: 0, doubled: 0 })
  const two = perfect()
  list(two, 'inference.results').push(list(two, 'inference.results')[3] as RawRecord)
  t.deepEqual(counts(compare(two)), { lost: 0, wrong: 0, doubled: 1 })
  const id = perfect().requests.find((r) => r.kind === 'plain')?.id as string
  for (const other of [result(id, 200, null, answer(digestOf(Buffer.from('another body')))), result(id, 504, 'SLU_ROUTE_DEADLINE', '{}'), result('r-0-0', 200, null, '{}')]) {
    const input = perfect()
    const results = list(input, 'inference.results')
    const at = results.findIndex((r) => r.key === id)
    results[at] = { ...(results[at] as RawRecord), value: inferenceResultToJson(other) }
    t.deepEqual(counts(compare(input)), { lost: 0, wrong: 1, doubled: 0 })
  }
  const unasked = perfect()
  append(unasked.topics, 'inference.results', 0, { key: 'nobody', value: inferenceResultToJson(result('nobody', 200, null, '{}')) })
  t.deepEqual(counts(compare(unasked)), { lost: 0, wrong: 1, doubled: 0 })
})

test('compare: input that was acknowledged and is not in the log is lost', (t) => {
  const request = perfect()
  const unknown = request.requests.find((r) => r.kind === 'unknown-model')?.id
  request.topics.set(
    'inference.requests',
    list(request, 'inference.requests').filter((r) => r.key !== unknown),
  )
  request.topics.set(
    'inference.results',
    list(request, 'inference.results').filter((r) => r.key !== unknown),
  )
  t.deepEqual(counts(compare(request)), { lost: 1, wrong: 0, doubled: 0 })
})
