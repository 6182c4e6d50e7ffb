/**
 * normalize-telemetry: what producers publish → one NodeBatch per scrape on `hardware.telemetry` (telemetry.md §1, §2).
 *
 * Owns: which reader reads which source topic, host and event time of a record, the dead letter of a part (N2). Stages: format → host →
 * template (dcgm, fast) or reader (correct) → NodeBatch.
 * Event time: line timestamps where every sample has one, else the record's timestamp (neither exporter states a time of its own).
 * A record of which nothing can be read is SLU_TELEMETRY_FORMAT; of which a part cannot, SLU_TELEMETRY_PART beside what could.
 * Unknown series and groups are ignored, and not counted: sites extend their exporters.
 * Invariants: N1, N2, N3. The template cache changes no output (scrape-template.ts).
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { LogRecord } from '../../schemas/log.ts'
import type { Pseudonyms } from '../../schemas/pseudonym.ts'
import type { NodeBatch } from '../../schemas/records.ts'
import { defineFunction, type Emit, type FunctionContext, type MapFunction } from '../../streams/define-function.ts'
import { bytesOf, type BatchShape } from './batch-columns.ts'
import { HOST_LENGTH_MAX, readScrape, type ScrapeContext } from './dcgm-scrape.ts'
import { createMembership, type PoolMembers, type TenantRule } from './membership.ts'
import { readNeuronReport } from './neuron-report.ts'
import { describeProblems, type Problems } from './problems.ts'
import { createTemplateCache, makeTemplate, scanTemplate } from './scrape-template.ts'

type SourceFormat = 'dcgm-exporter' | 'neuron-monitor'

export interface NormalizeTelemetryOptions {
  readonly site: string
  readonly pseudonyms: Pseudonyms
  /** First member glob that matches wins. */
  readonly pools: readonly PoolMembers[]
  readonly tenants: readonly TenantRule[]
  readonly sources: readonly { readonly topic: string; readonly format: SourceFormat }[]
  /** Memory for templates of recent scrapes, an estimate. 0 = none: every scrape takes the correct path. Default 512 MiB (about 10 KiB a node). */
  readonly templateBytesMax?: number
  /** Source partitions are read in step, to within this many ms of record time: they meet in the partitions of `hardware.telemetry` (W2). */
  readonly alignWithinMs?: number
}

/** One record, read. */
export interface NormalizedRecord {
  readonly node: string
  readonly rack: string | null
  readonly sourceKind: SourceFormat
  readonly observedMs: number
  readonly shape: BatchShape
  readonly values: Float64Array
  readonly offsetsMs: Int32Array | null
  readonly problems: Problems | null
}

const TEMPLATE_BYTES_MAX = 512 * 1024 * 1024
const OUTPUT = 'hardware.telemetry'
const INT32_MAX = 2 ** 31 - 1

const noPart = (reason: string): SluiceError => new SluiceError('SLU_TELEMETRY_FORMAT', reason)

export function normalizeTelemetry(options: NormalizeTelemetryOptions): MapFunction<NormalizedRecord> {
  const membership = createMembership(options.pools, options.tenants, options.pseudonyms)
  const formats = new Map(options.sources.map((source) => [source.topic, source.format]))
  const templates = createTemplateCache(options.templateBytesMax ?? TEMPLATE_BYTES_MAX)
  const usesTemplates = options.templateBytesMax !== 0

  const dcgm = (record: LogRecord, bytes: Buffer, context: ScrapeContext): NormalizedRecord => {
    const text = bytes.toString('latin1')
    const cacheKey = usesTemplates ? templateKey(record, text) : ''
    const template = usesTemplates ? templates.get(cacheKey) : undefined
    const same = { sourceKind: 'dcgm-exporter' as const, observedMs: record.timestampMs, offsetsMs: null, problems: null }
    if (template !== undefined) {
      const values = scanTemplate(template, text)
      if (values !== null) return { ...same, node: template.plan.node, rack: template.plan.rack, shape: template.plan.shape, values }
      templates.drop(cacheKey)
    }
    const scrape = readScrape(text, hostOfKey(record), context)
    if ('failed' in scrape) throw noPart([scrape.failed, describeProblems(scrape.problems)].filter((part) => part !== '').join(': '))
    const next = usesTemplates ? makeTemplate(text, scrape, templates.heads) : null
    if (next !== null) templates.put(cacheKey, next)
    const { plan, values, timesMs, problems } = scrape
    return { ...same, ...timing(timesMs, record.timestampMs), node: plan.node, rack: plan.rack, shape: plan.shape, values, problems }
  }

  const neuron = (record: LogRecord, bytes: Buffer, context: ScrapeContext): NormalizedRecord => {
    const host = hostOfKey(record)
    if (host === null) throw noPart('no host: the record has no key')
    const report = readNeuronReport(bytes.toString('utf8'), host, context)
    if ('failed' in report) throw noPart(report.failed)
    return { ...report, sourceKind: 'neuron-monitor', observedMs: record.timestampMs, offsetsMs: null }
  }

  return defineFunction<MapFunction<NormalizedRecord>>({
    kind: 'map',
    readsOnly: true,
    name: 'normalize-telemetry',
    inputs: options.sources.map((source) => source.topic),
    outputs: [OUTPUT],
    ...(options.alignWithinMs === undefined ? {} : { alignWithinMs: options.alignWithinMs }),
    decode: (record, { codecs }) => {
      const format = formats.get(record.topic)
      if (format === undefined) throw new SluiceError('SLU_INTERNAL', `${record.topic} is no source of this site`)
      if (record.value === null) throw noPart('the record has no value')
      const context = { codecs, pseudonyms: options.pseudonyms, membership }
      return format === 'dcgm-exporter' ? dcgm(record, record.value, context) : neuron(record, record.value, context)
    },
    handle: (value, _, context) => emitsOf(value, options.site, context),
  })
}

function emitsOf(value: NormalizedRecord, site: string, context: FunctionContext): Emit[] {
  const { shape } = value
  const batch: NodeBatch = {
    site,
    node: value.node,
    rack: value.rack,
    source: { kind: value.sourceKind, version: null },
    observedMs: value.observedMs,
    part: 0,
    layout: shape.layout,
    deviceIndex: shape.deviceIndex,
    metricIndex: shape.metricIndex,
    value: bytesOf(value.values),
    offsetMs: value.offsetsMs === null ? null : bytesOf(value.offsetsMs),
  }
  const emits: Emit[] = [{ to: 'topic', topic: OUTPUT, key: value.node, value: context.codecs.encode('NodeBatch', batch) }]
  const reason = value.problems === null ? '' : describeProblems(value.problems)
  if (reason !== '') emits.push({ to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason })
  return emits
}

/** The record's key as a host name; null if there is none that could be one. */
function hostOfKey(record: LogRecord): string | null {
  const { key } = record
  return key === null || key.length === 0 || key.length > HOST_LENGTH_MAX ? null : key.toString('utf8')
}

/** The key where there is one; else the first series of the text, which names host and device. */
function templateKey(record: LogRecord, text: string): string {
  if (record.key !== null && record.key.length <= HOST_LENGTH_MAX) return `${record.topic}\0${record.key.toString('latin1')}`
  let at = 0
  while (text.charCodeAt(at) === 35) {
    const newline = text.indexOf('\n', at)
    if (newline < 0) break
    at = newline + 1
  }
  return `${record.topic}\0\0${text.slice(at, Math.max(at, text.indexOf('}', at)))}`
}

/** Line timestamps as event time and offsets from it; the record's time where a row has none. */
function timing(timesMs: Float64Array | null, recordMs: number): { observedMs: number; offsetsMs: Int32Array | null } {
  if (timesMs === null) return { observedMs: recordMs, offsetsMs: null }
  const times = timesMs.map((ms) => (Number.isNaN(ms) ? recordMs : ms))
  const observedMs = times.reduce((a, b) => Math.max(a, b))
  if (times.every((ms) => ms === observedMs)) return { observedMs, offsetsMs: null }
  return { observedMs, offsetsMs: Int32Array.from(times, (ms) => Math.max(ms - observedMs, -INT32_MAX)) }
}
