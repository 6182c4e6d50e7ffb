/**
 * Records as a person reads them: Avro decoded, JSON parsed, everything else as text where it is text.
 *
 * Owns: the promise that every record can be shown, whatever its bytes: nothing here throws, and what it gives back `toJson` can write.
 */
import { isUtf8 } from 'node:buffer'
import type { Codecs } from '../schemas/codec.ts'
import { factsOf, readColumns } from '../functions/aggregate-metrics/contributor-columns.ts'
import type { NodeBatch, WindowPartial } from '../schemas/records.ts'
import { toJson } from './output.ts'
import { indented, shortened } from './printable.ts'

/** JSON nested deeper is shown as the text it is: nobody reads it as a tree, and writing a tree takes stack for every level. */
const DEPTH_MAX = 128
/** Shown of a value unless all of it is asked for. */
const VALUE_CHARS_MAX = 2000
/** The times a Date can be (ECMA-262, Time Values and Time Range), in ms. A producer may claim others. */
const TIME_MAX_MS = 8.64e15

export const text = (bytes: Buffer | null): string | null => (bytes === null ? null : isUtf8(bytes) ? bytes.toString('utf8') : `base64:${bytes.toString('base64')}`)

export const instant = (ms: number): string => (Math.abs(ms) <= TIME_MAX_MS ? new Date(ms).toISOString() : `${ms} ms`)

/** NodeBatch columns as rows a person can read. */
function nodeBatchRows(batch: NodeBatch, codecs: Codecs): unknown {
  const layout = codecs.decodeBare('NodeLayout', batch.layout)
  const rows = []
  for (let i = 0; i * 8 < batch.value.length; i++) {
    const device = layout.devices[batch.deviceIndex.readUInt16LE(i * 2)]
    const metric = layout.metrics[batch.metricIndex.readUInt16LE(i * 2)]
    rows.push({ device: device?.id, pool: device?.pool, metric: metric?.name, unit: metric?.unit, ...metric?.attributes, value: batch.value.readDoubleLE(i * 8) })
  }
  return { site: batch.site, node: batch.node, source: batch.source, observedMs: batch.observedMs, part: batch.part, samples: rows }
}

/** The columns of a WindowPartial as the facts they are. */
function partialFacts(partial: WindowPartial, codecs: Codecs): unknown {
  const { members, contributorSums: _, contributorCounts: __, contributorBuckets: ___, bucketIndexes: ____, bucketCounts: _____, ...rest } = partial
  const known = codecs.decodeBare('CellMembers', members)
  return { ...rest, contributorFacts: factsOf(readColumns(partial, known.contributors.length, partial.histogram), known), devices: known.devices }
}

/** A decoded Avro value with its bytes as text. Its depth is that of our own schemas. */
function withTexts(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return text(value)
  if (Array.isArray(value)) return value.map(withTexts)
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([name, v]) => [name, withTexts(v)]))
  return value
}

/** Whether JSON nests deeper than `DEPTH_MAX`. Brackets within strings do not count. */
function isTooDeep(json: Buffer): boolean {
  let depth = 0
  let isInString = false
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]
    if (isInString) {
      if (byte === 0x5c) i++
      else if (byte === 0x22) isInString = false
    } else if (byte === 0x22) isInString = true
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > DEPTH_MAX) return true
    } else if (byte === 0x7d || byte === 0x5d) depth--
  }
  return false
}

export function readable(value: Buffer | null, codecs: Codecs): unknown {
  if (value === null) return null
  const name = codecs.nameOf(value)
  if (name !== null)
    try {
      const decoded = codecs.decode(name, value)
      if (name === 'NodeBatch') return { [name]: nodeBatchRows(decoded as NodeBatch, codecs) }
      return { [name]: name === 'WindowPartial' ? partialFacts(decoded as WindowPartial, codecs) : withTexts(decoded) }
    } catch {
      return text(value)
    }
  const asText = text(value)
  if (asText === null || !asText.startsWith('{') || isTooDeep(value)) return asText
  try {
    return JSON.parse(asText)
  } catch {
    return asText
  }
}

/** What `readable` gave, for people: indented, and cut unless all of it is asked for. */
export function shownValue(value: unknown, isFull: boolean): string {
  const whole = typeof value === 'string' ? value : toJson(value)
  return indented(isFull ? whole : shortened(whole, VALUE_CHARS_MAX, '--full'), '  ')
}
