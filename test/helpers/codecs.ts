/** The shipped schemas as codecs, for tests. */
import { readFileSync, readdirSync } from 'node:fs'
import { createCodecs, type CodecOptions, type Codecs, type SchemaJson } from '../../schemas/codec.ts'
import type { RecordName } from '../../schemas/records.ts'

const FOLDER = new URL('../../schemas/avro/', import.meta.url)

export function shippedSchemas(): Map<RecordName, SchemaJson> {
  const schemas = new Map<RecordName, SchemaJson>()
  for (const file of readdirSync(FOLDER)) {
    const schema = JSON.parse(readFileSync(new URL(file, FOLDER), 'utf8')) as { name: RecordName } & SchemaJson
    schemas.set(schema.name, schema)
  }
  return schemas
}

export function testCodecs(options?: CodecOptions): Codecs {
  return createCodecs(shippedSchemas(), options)
}
