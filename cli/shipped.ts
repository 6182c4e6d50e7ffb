/** Files that come with Sluice, read once: the Avro schemas as codecs. */
import { readdirSync, readFileSync } from 'node:fs'
import { createCodecs, type Codecs, type SchemaJson } from '../schemas/codec.ts'
import type { RecordName } from '../schemas/records.ts'

const AVRO = new URL('../schemas/avro/', import.meta.url)

export function shippedCodecs(): Codecs {
  const schemas = new Map<RecordName, SchemaJson>()
  for (const file of readdirSync(AVRO)) {
    if (!file.endsWith('.avsc')) continue
    const schema = JSON.parse(readFileSync(new URL(file, AVRO), 'utf8')) as SchemaJson & { readonly name: RecordName }
    schemas.set(schema.name, schema)
  }
  return createCodecs(schemas)
}
