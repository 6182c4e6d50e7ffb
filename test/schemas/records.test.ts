import { readFileSync } from 'node:fs'
import test from 'ava'
import type { RecordName } from '../../schemas/records.ts'
import { shippedSchemas } from '../helpers/codecs.ts'

/** Field names of an interface in records.ts, with those of the interfaces it extends. */
function fieldsOf(source: string, name: string): string[] {
  const match = new RegExp(`interface ${name}(?: extends ([\\w, ]+))? \\{\\n([\\s\\S]*?)\\n\\}`).exec(source)
  if (match === null) return []
  const inherited = (match[1] ?? '').split(',').flatMap((parent) => (parent.trim() === '' ? [] : fieldsOf(source, parent.trim())))
  return [...inherited, ...[...(match[2] as string).matchAll(/^ {2}readonly (\w+):/gm)].map((m) => m[1] as string)]
}

test('records: the typed view of every Avro record has exactly its fields', (t) => {
  const source = readFileSync(new URL('../../schemas/records.ts', import.meta.url), 'utf8')
  const schemas = shippedSchemas()
  t.is(schemas.size, 12)
  for (const [name, schema] of schemas) t.deepEqual(fieldsOf(source, name).sort(), (schema as unknown as { fields: { name: string }[] }).fields.map((f) => f.name).sort(), name)
})

test('records: no released field has gone or changed its name (design.md §4.2)', (t) => {
  const frozen: Partial<Record<RecordName, string>> = {
    NodeBatch: 'site node rack source observedMs layout deviceIndex metricIndex value offsetMs',
    NodeLayout: 'devices metrics',
    WindowSummary:
      'site pool metric unit attributes windowStartMs windowEndMs count sum min max last histogram contributors contributorFacts devices sources partial parametersHash id',
    HealthEvent: 'site device pool scope check codes state verdict ruleId ruleVersion isHealthy recommendedAction detectedMs evidence',
    EndpointHealth: 'endpoint pool sourcePartition generation verdict weight reasons sinceMs observedMs expiresMs sourceOffset',
    InferenceRequest: 'id model modelVersion api headers body bodyRef contentType createdMs deadlineMs priority tenant affinityKey contract replyTopic',
    InferenceResult: 'id status code headers body contentType model modelVersion pool endpoint accelerator timings usage evidence',
    EgressReceipt: 'objectKey destination sha256 bytes policyVersion decision reasons leafIndex outcome atMs',
  }
  const schemas = shippedSchemas()
  for (const [name, names] of Object.entries(frozen)) {
    const schema = schemas.get(name as RecordName) as unknown as { namespace: string; fields: { name: string }[] }
    t.is(schema.namespace, 'sluice.v1')
    const have = new Set(schema.fields.map((f) => f.name))
    t.deepEqual(
      names.split(' ').filter((n) => !have.has(n)),
      [],
      name,
    )
  }
})
