/**
 * NodeBatches ready to fold: from one scrape of a node to the next only the time and the values differ, so only they are read.
 *
 * Owns: a template per shape of a node's records (what stands before the time, what stands between time and values, the plan of that shape) and the
 * reading by it. Stages: a template of this record key whose bytes are all there again → time and columns, where they lie; else the codec decodes, and
 * a template is made of what it said. Before the key is looked up, the template that came after the last one is tried.
 * A template is never trusted further than the codec: it is kept only if it reads its own record as the codec did,
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
  /** Node, source and part: with `observedMs` the identity of the record (W10). */
  readonly source: string
  readonly observedMs: number
  /** Row i at byte `valuesAt` + 8·i, little endian. */
  readonly values: DataView
  readonly valuesAt: number
  readonly offsetsMs: Int32Array | null
}

interface Template {
  /** Frame, site, node, rack and source. */
  readonly head: Buffer
  /** Part, layout, index columns and the length of the values. */
  readonly middle: Buffer
  /** Head, the time read last, middle: compared in one go, once the time of the record at hand stands in it. */
  lead: Buffer
  /** The template that was read by after this one: sources come in the same order again and again. */
  next: Template | null
  readonly plan: FoldPlan
  readonly source: string
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

const cursor = new Cursor()

let viewed: DataView = new DataView(new ArrayBuffer(0))

/** One view for all records of a fetch. */
function viewOf({ buffer }: Buffer): DataView {
  if (viewed.buffer !== buffer) viewed = new DataView(buffer)
  return viewed
}

/** Null: not a record of this template. */
function readBy(template: Template, bytes: Buffer): FoldBatch | null {
  const { head, middle, plan, source } = template
  cursor.at = head.length
  const observedMs = cursor.long(bytes)
  if (!Number.isSafeInteger(observedMs)) return null
  const middleAt = cursor.at
  const leadEnd = middleAt + middle.length
  if (template.lead.length !== leadEnd) template.lead = Buffer.concat([head, bytes.subarray(head.length, middleAt), middle])
  else for (let i = head.length; i < middleAt; i++) template.lead[i] = bytes[i] as number
  if (leadEnd > bytes.length || template.lead.compare(bytes, 0, leadEnd) !== 0) return null
  cursor.at = leadEnd + plan.rows * 8
  const branch = bytes[cursor.at++]
  let offsetsMs: Int32Array | null = null
  if (branch === OFFSETS) {
    const length = cursor.long(bytes)
    if (length !== plan.rows * 4 || cursor.at + length !== bytes.length) return null
    offsetsMs = int32Column(bytes.subarray(cursor.at), plan.rows)
  } else if (branch !== NO_OFFSETS || cursor.at !== bytes.length) return null
  return { plan, source, observedMs, values: viewOf(bytes), valuesAt: bytes.byteOffset + leadEnd, offsetsMs }
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
  const [head, middle, lead] = [bytes.subarray(0, headEnd), bytes.subarray(middleAt, cursor.at), bytes.subarray(0, cursor.at)].map((part) => Buffer.from(part)) as [
    Buffer,
    Buffer,
    Buffer,
  ]
  const template: Template = { head, middle, lead, next: null, plan: decoded.plan, source: decoded.source }
  const read = readBy(template, bytes)
  const isSame = read !== null && read.observedMs === decoded.observedMs && sameValues(read, decoded) && sameOffsets(read.offsetsMs, decoded.offsetsMs)
  return isSame ? template : null
}

function sameValues(a: FoldBatch, b: FoldBatch): boolean {
  const bytesOf = ({ plan, values, valuesAt }: FoldBatch): Buffer => Buffer.from(values.buffer, valuesAt, plan.rows * 8)
  return bytesOf(a).equals(bytesOf(b))
}

function sameOffsets(a: Int32Array | null, b: Int32Array | null): boolean {
  if (a === null || b === null) return a === b
  return a.every((offset, row) => offset === b[row])
}

/** Throws SLU_RECORD_UNDECODABLE, SLU_RECORD_SCHEMA_UNKNOWN. */
export function createBatchReader(keysMax = 100_000): BatchReader {
  const byKey = new Map<string, Template[]>()
  let last: Template | null = null

  const known = (value: Buffer, templates: readonly Template[] | undefined): FoldBatch | null => {
    if (templates === undefined) return null
    for (const template of templates) {
      const read = readBy(template, value)
      if (read === null) continue
      if (last !== null) last.next = template
      last = template
      return read
    }
    return null
  }

  const keep = (key: string, templates: Template[] | undefined, learnt: Template): void => {
    if (templates !== undefined) {
      templates.unshift(learnt)
      // What is dropped must not hold on to what came after it.
      if (templates.length > TEMPLATES_PER_KEY) (templates.pop() as Template).next = null
      return
    }
    if (byKey.size >= keysMax) {
      byKey.clear()
      last = null
    }
    byKey.set(key, [learnt])
  }

  return (record, codecs) => {
    const { value } = record
    if (value === null) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'NodeBatch: the record has no value')
    const guess: Template | null = last === null ? null : last.next
    const guessed = guess === null ? null : readBy(guess, value)
    if (guessed !== null) {
      last = guess
      return guessed
    }
    const key = record.key === null ? '' : record.key.toString('latin1')
    const templates = byKey.get(key)
    const read = known(value, templates)
    if (read !== null) return read
    const batch = codecs.decode('NodeBatch', value)
    const plan = makeFoldPlan(batch, codecs)
    const { view: values, at: valuesAt } = float64Column(batch.value, plan.rows)
    const offsetsMs = batch.offsetMs === null ? null : int32Column(batch.offsetMs, plan.rows)
    const decoded = { plan, source: `${plan.owner}|${batch.part}`, observedMs: batch.observedMs, values, valuesAt, offsetsMs }
    const bodyAt = codecs.ownBodyAt('NodeBatch', value)
    const learnt = bodyAt === null ? null : learn(value, bodyAt, decoded)
    if (learnt !== null) keep(key, templates, learnt)
    return decoded
  }
}
