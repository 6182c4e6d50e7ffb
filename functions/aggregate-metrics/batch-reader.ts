/**
 * NodeBatches ready to fold: from one scrape of a node to the next only the time and the values differ, so only they are read.
 *
 * Owns: a template per shape of a node's records (what stands before the time, what stands between time and values, the plan of that shape) and the
 * reading by it. Stages: a template of this record key whose bytes are all there again → time and columns, where they lie; else the codec decodes, and
 * a template is made of what it said. A template is never trusted further than the codec: it is kept only if it reads its own record as the codec did,
 * every byte of a record it reads is compared or read, and whatever it does not know (another writer, a field added, a number out of range) goes to the
 * codec. Why not the codec alone: of 30 samples a record it takes longer to decode than to fold, most of it strings and layouts that never change.
 * Bounded: `TEMPLATES_PER_KEY` shapes a key, `keysMax` keys; what is dropped is learnt again.
 */
import type { Codecs } from '../../schemas/codec.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { float64Column, int32Column, makeFoldPlan, type FoldPlan } from './fold-plan.ts'

/** One NodeBatch, ready to fold. */
export interface FoldBatch {
  readonly plan: FoldPlan
  readonly observedMs: number
  readonly part: number
  readonly values: DataView
  readonly offsetsMs: Int32Array | null
}

interface Template {
  /** Frame, site, node, rack and source. */
  readonly head: Buffer
  /** Part, layout, index columns and the length of the values. */
  readonly middle: Buffer
  readonly plan: FoldPlan
  readonly part: number
}

export type BatchReader = (record: LogRecord, codecs: Codecs) => FoldBatch

const TEMPLATES_PER_KEY = 4
/** Branches of the union of `offsetMs`. */
const NO_OFFSETS = 0
const OFFSETS = 2

/** Where one Avro value ends and the next begins. Positions that run over the end give NaN or fail the comparison after them. */
class Cursor {
  at = 0

  /** A zigzag varint; NaN where it does not end or no number holds it exactly. */
  long(bytes: Buffer): number {
    let value = 0
    let scale = 1
    for (;;) {
      const byte = bytes[this.at++]
      if (byte === undefined) return NaN
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
      scale *= 128
    }
    if (value > Number.MAX_SAFE_INTEGER) return NaN
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }

  /** Past a string or bytes. */
  skip(bytes: Buffer): void {
    const length = this.long(bytes)
    this.at += length
  }

  /** Past a union of null and string. */
  skipOptional(bytes: Buffer): void {
    if (this.long(bytes) !== 0) this.skip(bytes)
  }
}

const isAt = (part: Buffer, bytes: Buffer, at: number): boolean => at + part.length <= bytes.length && part.compare(bytes, at, at + part.length) === 0

const cursor = new Cursor()

/** Null: not a record of this template. */
function readBy(template: Template, bytes: Buffer): FoldBatch | null {
  const { head, middle, plan } = template
  if (!isAt(head, bytes, 0)) return null
  cursor.at = head.length
  const observedMs = cursor.long(bytes)
  if (!Number.isSafeInteger(observedMs) || !isAt(middle, bytes, cursor.at)) return null
  const valuesAt = cursor.at + middle.length
  cursor.at = valuesAt + plan.rows * 8
  const branch = bytes[cursor.at++]
  let offsetsMs: Int32Array | null = null
  if (branch === OFFSETS) {
    const length = cursor.long(bytes)
    if (length !== plan.rows * 4 || cursor.at + length !== bytes.length) return null
    offsetsMs = int32Column(bytes.subarray(cursor.at), plan.rows)
  } else if (branch !== NO_OFFSETS || cursor.at !== bytes.length) return null
  return { plan, observedMs, part: template.part, values: new DataView(bytes.buffer, bytes.byteOffset + valuesAt, plan.rows * 8), offsetsMs }
}

/** What a record that the codec decoded looks like; null if this reader does not read it the same. */
function learn(bytes: Buffer, bodyAt: number, decoded: FoldBatch): Template | null {
  cursor.at = bodyAt
  for (const skip of ['skip', 'skip', 'skipOptional', 'skip', 'skipOptional'] as const) cursor[skip](bytes)
  const headEnd = cursor.at
  cursor.long(bytes)
  const middleAt = cursor.at
  cursor.long(bytes)
  for (let column = 0; column < 3; column++) cursor.skip(bytes)
  cursor.long(bytes)
  // Copies: the record is a view of a whole fetch.
  const template = { head: Buffer.from(bytes.subarray(0, headEnd)), middle: Buffer.from(bytes.subarray(middleAt, cursor.at)), plan: decoded.plan, part: decoded.part }
  const read = readBy(template, bytes)
  const isSame = read !== null && read.observedMs === decoded.observedMs && sameBytes(read.values, decoded.values) && sameBytes(read.offsetsMs, decoded.offsetsMs)
  return isSame ? template : null
}

function sameBytes(a: ArrayBufferView | null, b: ArrayBufferView | null): boolean {
  if (a === null || b === null) return a === b
  return Buffer.from(a.buffer, a.byteOffset, a.byteLength).equals(Buffer.from(b.buffer, b.byteOffset, b.byteLength))
}

/** Throws SLU_RECORD_UNDECODABLE, SLU_RECORD_SCHEMA_UNKNOWN. */
export function createBatchReader(keysMax = 100_000): BatchReader {
  const byKey = new Map<string, Template[]>()
  return (record, codecs) => {
    const { value } = record
    if (value === null) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'NodeBatch: the record has no value')
    const key = record.key === null ? '' : record.key.toString('latin1')
    const templates = byKey.get(key)
    if (templates !== undefined)
      for (let i = 0; i < templates.length; i++) {
        const read = readBy(templates[i] as Template, value)
        if (read !== null) return read
      }
    const batch = codecs.decode('NodeBatch', value)
    const plan = makeFoldPlan(batch, codecs)
    const values = float64Column(batch.value, plan.rows)
    const offsetsMs = batch.offsetMs === null ? null : int32Column(batch.offsetMs, plan.rows)
    const decoded = { plan, observedMs: batch.observedMs, part: batch.part, values, offsetsMs }
    const bodyAt = codecs.ownBodyAt('NodeBatch', value)
    const learnt = bodyAt === null ? null : learn(value, bodyAt, decoded)
    if (learnt === null) return decoded
    if (templates !== undefined) {
      templates.unshift(learnt)
      if (templates.length > TEMPLATES_PER_KEY) templates.pop()
    } else {
      if (byKey.size >= keysMax) byKey.clear()
      byKey.set(key, [learnt])
    }
    return decoded
  }
}
