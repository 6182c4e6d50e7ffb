/**
 * One dcgm-exporter scrape, read line by line: the correct path (telemetry.md §2).
 *
 * Owns: line → (device, metric, attributes), the shape of the batch, and the plan by which raw values become row values; the plan depends on
 * nothing but the text before each value, so that scrape-template.ts may reuse it while that text repeats.
 * Stages: lines → host → devices and rows → plan → values.
 * Decisions: unknown families are ignored (exporters are extended by their sites); a line that is not of the format, or of a known family without a
 * usable index, is a problem with its line number (N2); a series repeated under other labels (a shared GPU is listed once per pod) counts
 * once, and its device has no tenant if the namespaces differ; a series repeated under the same labels is a problem.
 * Invariants: N1 (only indexes, closed lists, pseudonyms and site.yaml names come out), N2, N3.
 */
import type { Codecs } from '../../schemas/codec.ts'
import type { Pseudonyms } from '../../schemas/pseudonym.ts'
import { createBatchColumns, DICTIONARY_MAX, type BatchColumns, type BatchShape, type Device } from './batch-columns.ts'
import { dcgmFieldByName, MEMORY_FREE, MEMORY_RESERVED, nvidiaModel, type DcgmField } from './dcgm-fields.ts'
import { attributesOf, labelsOf, placeOf, type Labels, type Place } from './dcgm-labels.ts'
import type { Membership } from './membership.ts'
import { parseSampleLine, type SampleLine } from './prometheus-line.ts'
import { noteProblem, type Problems } from './problems.ts'

export const HOST_LENGTH_MAX = 253
const REPEATED = 'the series is given twice'

/** What a sample's raw value does: `slot` -1 = nothing. Slots behind the rows are hidden (parts of a sum). */
interface LinePlan {
  slot: number
  readonly multiply: number
  readonly divide: number
  /** Keep the larger of this and what is in the slot (states listed once per cause). */
  readonly isMax: boolean
}

interface SumPlan {
  readonly row: number
  readonly slots: readonly [number, number, number]
}

export interface ScrapePlan {
  readonly node: string
  readonly rack: string | null
  readonly shape: BatchShape
  readonly lines: readonly LinePlan[]
  readonly sums: readonly SumPlan[]
  /** Rows and hidden slots. */
  readonly slots: number
}

/** Where the parts of a sample line lie in the text; what a template is made of. */
interface LinePlace {
  readonly labelsAt: number
  readonly valueAt: number
  /** Position behind the value. */
  readonly valueTo: number
}

export interface Scrape {
  readonly plan: ScrapePlan
  /** One per row. */
  readonly values: Float64Array
  /** Epoch ms per row, NaN where the line has none; null if no line has one. */
  readonly timesMs: Float64Array | null
  readonly places: readonly LinePlace[]
  readonly problems: Problems
}

export interface ScrapeContext {
  readonly codecs: Codecs
  readonly pseudonyms: Pseudonyms
  readonly membership: Membership
}

interface Sample {
  readonly lineNumber: number
  readonly line: SampleLine
  readonly plan: LinePlan
}

/** Fills columns and plan; state of one scrape. */
class ScrapeBuilder {
  readonly columns: BatchColumns = createBatchColumns()
  readonly sums: SumPlan[] = []
  private readonly namespaces = new Map<number, string | null>()
  private readonly hidden = new Map<string, number>()
  private readonly limitParts = new Map<number, { used?: number; free?: number; reserved?: number; hasTotal?: boolean }>()
  /** Series texts by row or hidden slot: the first alone, a set only where there are more. */
  private readonly seen = new Map<number, string | Set<string>>()
  private readonly context: ScrapeContext
  private readonly host: string
  private readonly pool: string | null

  constructor(context: ScrapeContext, host: string, pool: string | null) {
    this.context = context
    this.host = host
    this.pool = pool
  }

  /** What to do with the value of this line, or why nothing can be done. */
  plan(field: DcgmField, l: Labels, seriesText: string): LinePlan | string {
    const place = placeOf(l)
    if (typeof place === 'string') return place
    const attributes = attributesOf(field, l)
    if (typeof attributes === 'string') return attributes
    const device = this.columns.device(`${place.kind}/${place.index}`, () => this.create(place, l.model))
    if (device === null) return `more than ${DICTIONARY_MAX} devices`
    this.noteNamespace(device, l.namespace)
    const plan = (slot: number, isMax = false): LinePlan => ({ slot, multiply: field.multiply, divide: field.divide, isMax })
    const parts = this.partsOf(device)
    if (field.metric === MEMORY_FREE || field.metric === MEMORY_RESERVED) {
      const key = `${device} ${field.metric}`
      const known = this.hidden.get(key)
      if (known !== undefined) return this.isRepeated(known, seriesText) ? REPEATED : plan(-1)
      const slot = -2 - this.hidden.size
      this.hidden.set(key, slot)
      this.seen.set(slot, seriesText)
      parts[field.metric === MEMORY_FREE ? 'free' : 'reserved'] = slot
      return plan(slot)
    }
    const row = this.columns.row(device, field.metric, attributes)
    if (row === null) return `more than ${DICTIONARY_MAX} metrics`
    if (!row.isNew) {
      if (this.isRepeated(row.row, seriesText)) return REPEATED
      return field.labelled === 'watch' ? plan(row.row, true) : plan(-1)
    }
    this.seen.set(row.row, seriesText)
    if (field.metric === 'hw.gpu.memory.usage') parts.used = row.row
    if (field.metric === 'hw.gpu.memory.limit') parts.hasTotal = true
    return plan(row.row)
  }

  /** After the last line: derived rows, tenants, hidden slots behind the rows. */
  finish(lines: readonly LinePlan[]): ScrapePlan {
    for (const [device, p] of this.limitParts) {
      if (p.hasTotal === true || p.used === undefined || p.free === undefined || p.reserved === undefined) continue
      const row = this.columns.row(device, 'hw.gpu.memory.limit', {})
      if (row !== null) this.sums.push({ row: row.row, slots: [p.used, p.free, p.reserved] })
    }
    for (const [device, namespace] of this.namespaces) (this.columns.devices[device] as Device).tenant = this.context.membership.tenantOf(namespace)
    const shape = this.columns.shape(this.context.codecs)
    const place = (slot: number): number => (slot <= -2 ? shape.rows - 2 - slot : slot)
    for (const line of lines) line.slot = place(line.slot)
    const sums = this.sums.map((s) => ({ row: s.row, slots: s.slots.map(place) as [number, number, number] }))
    const { pseudonyms, membership } = this.context
    return { node: pseudonyms.node(this.host), rack: membership.poolOf(this.host).rack, shape, lines, sums, slots: shape.rows + this.hidden.size }
  }

  /** Whether this very series was there before; else it is noted. */
  private isRepeated(slot: number, seriesText: string): boolean {
    const known = this.seen.get(slot)
    if (known === seriesText || (known instanceof Set && known.has(seriesText))) return true
    if (known instanceof Set) known.add(seriesText)
    else this.seen.set(slot, new Set([known ?? '', seriesText]))
    return false
  }

  private partsOf(device: number): { used?: number; free?: number; reserved?: number; hasTotal?: boolean } {
    let parts = this.limitParts.get(device)
    if (parts === undefined) this.limitParts.set(device, (parts = {}))
    return parts
  }

  private noteNamespace(device: number, namespace: string | null): void {
    if (namespace === null || namespace === '') return
    const known = this.namespaces.get(device)
    this.namespaces.set(device, known === undefined || known === namespace ? namespace : null)
  }

  private create(place: Place, model: string | null): Device {
    const { pseudonyms } = this.context
    return {
      id: pseudonyms.device(this.host, place.kind, place.index),
      type: place.kind,
      vendor: 'nvidia',
      model: model === null ? null : nvidiaModel(model),
      parent: place.parentGpu === null ? null : pseudonyms.device(this.host, 'gpu', place.parentGpu),
      tenant: null,
      pool: this.pool,
    }
  }
}

/** `hostOfKey` = the record's key, for lines without a host label. Returns the reason if nothing could be read. */
export function readScrape(text: string, hostOfKey: string | null, context: ScrapeContext): Scrape | { readonly failed: string; readonly problems: Problems } {
  const problems: Problems = { noted: [], more: 0 }
  const samples: Sample[] = []
  let host: string | null = null
  let builder: ScrapeBuilder | null = null
  let lineNumber = 0
  for (let from = 0; from < text.length;) {
    const newline = text.indexOf('\n', from)
    const next = newline < 0 ? text.length : newline + 1
    let end = newline < 0 ? text.length : newline
    if (end > from && text.charCodeAt(end - 1) === 13) end--
    lineNumber++
    const first = text.charCodeAt(from)
    if (end === from || first === 35) {
      from = next
      continue
    }
    const line = parseSampleLine(text, from, end)
    if (typeof line === 'string') noteProblem(problems, `line ${lineNumber}`, line)
    else {
      const field = dcgmFieldByName.get(line.name)
      let plan: LinePlan | string = { slot: -1, multiply: 1, divide: 1, isMax: false }
      if (field !== undefined) {
        const l = labelsOf(line)
        const lineHost = l.host !== null && l.host !== '' ? l.host : hostOfKey
        if (lineHost === null || lineHost === '') plan = 'no host: neither label nor record key'
        else if (lineHost.length > HOST_LENGTH_MAX) plan = `a host name longer than ${HOST_LENGTH_MAX}`
        else if (host !== null && lineHost !== host) plan = 'another host than the lines before'
        else {
          host = lineHost
          builder ??= new ScrapeBuilder(context, host, context.membership.poolOf(host).pool)
          plan = builder.plan(field, l, text.slice(from, line.valueAt))
        }
      }
      if (typeof plan === 'string') noteProblem(problems, `line ${lineNumber}`, plan)
      else samples.push({ lineNumber, line, plan })
    }
    from = next
  }
  if (builder === null || builder.columns.rows === 0) return { failed: 'no series of a known family', problems }
  const plan = builder.finish(samples.map((s) => s.plan))
  const raw = Float64Array.from(samples, (s) => s.line.value)
  return { plan, values: applyPlan(plan, raw), timesMs: timesOf(plan, samples), places: samples.map((s) => s.line), problems }
}

/** Row values of raw line values: the one place where conversions happen. */
export function applyPlan(plan: ScrapePlan, raw: Float64Array): Float64Array {
  const slots = new Float64Array(plan.slots).fill(NaN)
  const { lines } = plan
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i] as LinePlan
    if (line.slot < 0) continue
    const value = ((raw[i] as number) * line.multiply) / line.divide
    const held = slots[line.slot] as number
    if (!line.isMax || held !== held || value > held) slots[line.slot] = value
  }
  for (const {
    row,
    slots: [a, b, c],
  } of plan.sums)
    slots[row] = (slots[a] as number) + (slots[b] as number) + (slots[c] as number)
  return slots.subarray(0, plan.shape.rows)
}

function timesOf(plan: ScrapePlan, samples: readonly Sample[]): Float64Array | null {
  if (samples.every((s) => s.line.timestampMs === null)) return null
  const times = new Float64Array(plan.shape.rows).fill(NaN)
  for (const { line, plan: p } of samples) if (p.slot >= 0 && p.slot < times.length && line.timestampMs !== null) times[p.slot] = line.timestampMs
  return times
}
