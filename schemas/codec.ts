/**
 * Avro codec over avsc (design.md §4.2).
 *
 * Owns: frames (single-object `C3 01` + fingerprint; Confluent `00` + schema id), reader/writer resolution, the check of foreign schemas.
 * Stages of decode: frame → writer schema → resolver to ours → value. Unknown writers are named errors, never guesses.
 * Encoding goes through one reused scratch buffer; the caller gets a copy of exactly the bytes.
 * Foreign schemas are untrusted: avsc compiles code from them, so names are checked against a pattern and a deny list first (D6, E03).
 */
import avsc from 'avsc'
import { SluiceError } from './errors.ts'
import { canonicalForm, crc64Avro } from './fingerprint.ts'
import type { RecordName, RecordTypes } from './records.ts'

export type SchemaJson = avsc.Schema

export interface Codecs {
  encode<N extends RecordName>(name: N, value: RecordTypes[N]): Buffer
  /** Throws SLU_RECORD_UNDECODABLE, SLU_RECORD_SCHEMA_UNKNOWN. */
  decode<N extends RecordName>(name: N, bytes: Uint8Array): RecordTypes[N]
  /** Without a frame: for values inside a record, such as NodeBatch.layout. */
  encodeBare<N extends RecordName>(name: N, value: RecordTypes[N]): Buffer
  decodeBare<N extends RecordName>(name: N, bytes: Uint8Array): RecordTypes[N]
  /** Which of our records a framed value was written as; null if the frame or writer is unknown. */
  nameOf(bytes: Uint8Array): RecordName | null
  /** Where the body begins of a value written as we write it, with our own schema; null for any other. */
  ownBodyAt(name: RecordName, bytes: Uint8Array): number | null
  /** Accepts a foreign writer of `name` (an older version of ours, or a registry's). Throws SLU_RECORD_SCHEMA_HOSTILE. Returns its fingerprint. */
  addWriter(name: RecordName, schema: SchemaJson, registryId?: number): Buffer
}

export interface CodecOptions {
  /** Ids to write in Confluent frames (from the schema registry). Absent = single-object encoding. */
  readonly registryIds?: ReadonlyMap<RecordName, number>
}

const SINGLE_OBJECT_BYTES = 10
const CONFLUENT_BYTES = 5
const SCRATCH_BYTES = 1 << 16
const SCHEMA_BYTES_MAX = 1 << 18
const SCHEMA_DEPTH_MAX = 24
const NAME = /^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$/
const FORBIDDEN = new Set([
  '__proto__',
  'prototype',
  'constructor',
  'toString',
  'valueOf',
  'hasOwnProperty',
  '__defineGetter__',
  '__defineSetter__',
  '__lookupGetter__',
  '__lookupSetter__',
])

/** Refuses what avsc would compile or lose: odd names, `__proto__` and friends, depth, size. */
export function assertSchemaHarmless(schema: unknown): void {
  const refuse = (why: string): never => {
    throw new SluiceError('SLU_RECORD_SCHEMA_HOSTILE', why)
  }
  let text: string | undefined
  try {
    text = JSON.stringify(schema)
  } catch (cause) {
    throw new SluiceError('SLU_RECORD_SCHEMA_HOSTILE', 'not JSON', cause)
  }
  if (text === undefined || text.length > SCHEMA_BYTES_MAX) refuse('larger than 256 KiB')
  const walk = (node: unknown, depth: number): void => {
    if (depth > SCHEMA_DEPTH_MAX) refuse(`deeper than ${SCHEMA_DEPTH_MAX} levels`)
    if (Array.isArray(node)) for (const n of node) walk(n, depth + 1)
    else if (typeof node === 'object' && node !== null)
      for (const key of Object.keys(node)) {
        if (FORBIDDEN.has(key)) refuse(`attribute ${key}`)
        const value = (node as Record<string, unknown>)[key]
        if (key === 'name' || key === 'namespace') {
          if (typeof value !== 'string' || value.length > 256 || (value !== '' && !NAME.test(value))) refuse(`name ${JSON.stringify(value).slice(0, 80)}`)
          if (
            String(value)
              .split('.')
              .some((part) => FORBIDDEN.has(part))
          )
            refuse(`name ${String(value)}`)
        }
        if (key === 'symbols' || key === 'aliases')
          for (const s of Array.isArray(value) ? value : [value]) if (typeof s !== 'string' || !NAME.test(s) || FORBIDDEN.has(s)) refuse(`${key} ${JSON.stringify(s).slice(0, 80)}`)
        if (key === 'default' || key === 'doc') continue
        walk(value, depth + 1)
      }
  }
  walk(JSON.parse(text as string), 0)
}

const typeOf = (schema: SchemaJson): avsc.Type => avsc.Type.forSchema(JSON.parse(JSON.stringify(schema)) as SchemaJson, { registry: {} })

interface Writer {
  readonly name: RecordName
  readonly resolver: avsc.Resolver | undefined
}

/** `schemas` = our own, by record name, as parsed from `schemas/avro/`. */
export function createCodecs(schemas: ReadonlyMap<RecordName, SchemaJson>, options: CodecOptions = {}): Codecs {
  const types = new Map<RecordName, avsc.Type>()
  const heads = new Map<RecordName, Buffer>()
  const byFingerprint = new Map<string, Writer>()
  const byRegistryId = new Map<number, Writer>()
  let scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)

  for (const [name, schema] of schemas) {
    assertSchemaHarmless(schema)
    const print = crc64Avro(canonicalForm(schema as never))
    types.set(name, typeOf(schema))
    byFingerprint.set(print.toString('latin1'), { name, resolver: undefined })
    const id = options.registryIds?.get(name)
    if (id === undefined) heads.set(name, Buffer.concat([Buffer.from([0xc3, 0x01]), print]))
    else {
      const head = Buffer.alloc(CONFLUENT_BYTES)
      head.writeInt32BE(id, 1)
      heads.set(name, head)
      byRegistryId.set(id, { name, resolver: undefined })
    }
  }

  const own = (name: RecordName): avsc.Type => {
    const type = types.get(name)
    if (type === undefined) throw new SluiceError('SLU_INTERNAL', `no schema for ${name}`)
    return type
  }

  const encodeAfter = (name: RecordName, value: unknown, headBytes: number, head?: Buffer): Buffer => {
    const type = own(name)
    let end: number
    try {
      end = type.encode(value, scratch, headBytes)
      if (end < 0) {
        scratch = Buffer.allocUnsafeSlow(2 ** Math.ceil(Math.log2(scratch.length - end + 1)))
        end = type.encode(value, scratch, headBytes)
      }
    } catch (cause) {
      throw new SluiceError('SLU_INTERNAL', `cannot encode ${name}`, cause)
    }
    head?.copy(scratch, 0)
    const out = Buffer.allocUnsafe(end)
    scratch.copy(out, 0, 0, end)
    return out
  }

  /** The value from `at` to the end of `bytes`, no byte more or less. */
  const decodeFrom = (name: RecordName, bytes: Uint8Array, at: number, resolver?: avsc.Resolver): unknown => {
    const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    const undecodable = (cause: unknown): SluiceError => new SluiceError('SLU_RECORD_UNDECODABLE', `${name}, ${buffer.length - at} bytes`, cause)
    let decoded: { readonly value: unknown; readonly offset: number }
    try {
      decoded = own(name).decode(buffer, at, resolver)
    } catch (cause) {
      throw undecodable(cause)
    }
    if (decoded.offset !== buffer.length) throw undecodable(new Error(decoded.offset < 0 ? 'truncated' : 'trailing bytes'))
    return decoded.value
  }

  /** Almost every value carries the head we write ourselves. */
  const ownHeadOf = (name: RecordName, bytes: Uint8Array): Buffer | null => {
    const head = heads.get(name)
    if (head === undefined || bytes.length < head.length) return null
    for (let i = 0; i < head.length; i++) if (bytes[i] !== head[i]) return null
    return head
  }

  const writerOf = (bytes: Uint8Array): { writer: Writer | undefined; bodyAt: number; frame: string } => {
    if (bytes.length >= SINGLE_OBJECT_BYTES && bytes[0] === 0xc3 && bytes[1] === 0x01) {
      const print = Buffer.from(bytes.buffer, bytes.byteOffset + 2, 8)
      return { writer: byFingerprint.get(print.toString('latin1')), bodyAt: SINGLE_OBJECT_BYTES, frame: `fingerprint ${print.toString('hex')}` }
    }
    if (bytes.length >= CONFLUENT_BYTES && bytes[0] === 0) {
      const id = Buffer.from(bytes.buffer, bytes.byteOffset, CONFLUENT_BYTES).readInt32BE(1)
      return { writer: byRegistryId.get(id), bodyAt: CONFLUENT_BYTES, frame: `schema id ${id}` }
    }
    throw new SluiceError('SLU_RECORD_UNDECODABLE', `no Avro frame in ${bytes.length} bytes`)
  }

  return {
    encode: (name, value) => {
      const head = heads.get(name) as Buffer
      return encodeAfter(name, value, head.length, head)
    },
    encodeBare: (name, value) => encodeAfter(name, value, 0),
    decodeBare: <N extends RecordName>(name: N, bytes: Uint8Array) => decodeFrom(name, bytes, 0) as RecordTypes[N],
    decode: <N extends RecordName>(name: N, bytes: Uint8Array) => {
      const head = ownHeadOf(name, bytes)
      if (head !== null) return decodeFrom(name, bytes, head.length) as RecordTypes[N]
      const { writer, bodyAt, frame } = writerOf(bytes)
      if (writer === undefined) throw new SluiceError('SLU_RECORD_SCHEMA_UNKNOWN', frame)
      if (writer.name !== name) throw new SluiceError('SLU_RECORD_SCHEMA_UNKNOWN', `${frame} is ${writer.name}, expected ${name}`)
      return decodeFrom(name, bytes, bodyAt, writer.resolver) as RecordTypes[N]
    },
    nameOf: (bytes) => {
      try {
        return writerOf(bytes).writer?.name ?? null
      } catch {
        return null
      }
    },
    ownBodyAt: (name, bytes) => ownHeadOf(name, bytes)?.length ?? null,
    addWriter: (name, schema, registryId) => {
      assertSchemaHarmless(schema)
      let writer: Writer
      try {
        writer = { name, resolver: own(name).createResolver(typeOf(schema)) }
      } catch (cause) {
        throw new SluiceError('SLU_RECORD_SCHEMA_UNKNOWN', `cannot be read as ${name}`, cause)
      }
      const print = crc64Avro(canonicalForm(schema as never))
      byFingerprint.set(print.toString('latin1'), writer)
      if (registryId !== undefined) byRegistryId.set(registryId, writer)
      return print
    },
  }
}
