/**
 * CRC-64-AVRO (Rabin) fingerprint of a schema's Parsing Canonical Form, as in the Avro 1.12 specification, "Schema fingerprints".
 *
 * Owns: those 30 lines. avsc offers only node:crypto digests, and no maintained package has this one alone.
 * Runs once per schema at load, so it uses bigint for clarity.
 */
const EMPTY = 0xc15d213aa4d7a795n

const table: readonly bigint[] = Array.from({ length: 256 }, (_, i) => {
  let fp = BigInt(i)
  for (let j = 0; j < 8; j++) fp = (fp >> 1n) ^ (fp & 1n ? EMPTY : 0n)
  return fp
})

/** Eight bytes, little endian, as they stand in a single-object frame. */
export function crc64Avro(canonicalForm: string): Buffer {
  let fp = EMPTY
  for (const byte of Buffer.from(canonicalForm, 'utf8')) fp = (fp >> 8n) ^ (table[Number((fp ^ BigInt(byte)) & 0xffn)] as bigint)
  const out = Buffer.alloc(8)
  out.writeBigUInt64LE(fp)
  return out
}

type Schema = string | readonly unknown[] | { readonly [key: string]: unknown }

const PRIMITIVES = new Set(['null', 'boolean', 'int', 'long', 'float', 'double', 'bytes', 'string'])

/** Parsing Canonical Form: full names, only the attributes that matter to parsing, fixed order, no white space. */
export function canonicalForm(schema: Schema, namespace = ''): string {
  if (typeof schema === 'string') return JSON.stringify(PRIMITIVES.has(schema) || schema.includes('.') || namespace === '' ? schema : `${namespace}.${schema}`)
  if (Array.isArray(schema)) return `[${schema.map((s) => canonicalForm(s as Schema, namespace)).join(',')}]`
  const s = schema as { readonly [key: string]: unknown }
  const type = s['type'] as Schema
  if (type === 'array') return `{"type":"array","items":${canonicalForm(s['items'] as Schema, namespace)}}`
  if (type === 'map') return `{"type":"map","values":${canonicalForm(s['values'] as Schema, namespace)}}`
  if (typeof type === 'string' && PRIMITIVES.has(type)) return JSON.stringify(type)
  if (type !== 'record' && type !== 'enum' && type !== 'fixed') return canonicalForm(type, namespace)
  const own = typeof s['namespace'] === 'string' ? s['namespace'] : namespace
  const name = String(s['name'])
  const full = name.includes('.') || own === '' ? name : `${own}.${name}`
  const inner = full.includes('.') ? full.slice(0, full.lastIndexOf('.')) : ''
  const head = `{"name":${JSON.stringify(full)},"type":"${type}"`
  if (type === 'enum') return `${head},"symbols":${JSON.stringify(s['symbols'])}}`
  if (type === 'fixed') return `${head},"size":${String(s['size'])}}`
  const fields = (s['fields'] as { name: string; type: Schema }[]).map((f) => `{"name":${JSON.stringify(f.name)},"type":${canonicalForm(f.type, inner)}}`)
  return `${head},"fields":[${fields.join(',')}]}`
}
