import test from 'ava'
import fc from 'fast-check'
import { assertSchemaHarmless, createCodecs } from '../../schemas/codec.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { HealthEvent, WindowMarker } from '../../schemas/records.ts'
import { shippedSchemas, testCodecs } from '../helpers/codecs.ts'

const marker: WindowMarker = {
  function: 'aggregate-metrics',
  sourcePartition: 3,
  partitionCount: 4,
  closedThroughMs: 1_700_000_000_000,
  readThrough: 42,
  neededFrom: 40,
  suspectMs: -1,
  parametersHash: 'abc',
}
const codeOf = (act: () => unknown): string => {
  try {
    act()
  } catch (error) {
    return error instanceof SluiceError ? error.code : String(error)
  }
  return 'nothing thrown'
}

test('codec: a record comes back equal from the single-object frame, and the frame names it', (t) => {
  const codecs = testCodecs()
  const bytes = codecs.encode('WindowMarker', marker)
  t.deepEqual([...bytes.subarray(0, 2)], [0xc3, 0x01])
  t.like(codecs.decode('WindowMarker', bytes), marker)
  t.is(codecs.nameOf(bytes), 'WindowMarker')
})

test('codec: a value that ends early or goes on behind its record is undecodable, whether its writer is ours or foreign', (t) => {
  const codecs = testCodecs()
  const ours = codecs.encode('WindowMarker', marker)
  const foreign = Buffer.from(ours)
  // A field of no bytes: the same value under another fingerprint.
  const schema = shippedSchemas().get('WindowMarker') as { readonly fields: readonly object[] }
  codecs.addWriter('WindowMarker', { ...schema, fields: [...schema.fields, { name: 'extra', type: 'null' }] } as never).copy(foreign, 2)
  for (const bytes of [ours, foreign]) {
    t.like(codecs.decode('WindowMarker', bytes), marker)
    for (const wrong of [bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.from([0])]), bytes.subarray(0, 10)])
      t.is(
        codeOf(() => codecs.decode('WindowMarker', wrong)),
        'SLU_RECORD_UNDECODABLE',
      )
  }
  const bare = codecs.encodeBare('WindowMarker', marker)
  t.is(
    codeOf(() => codecs.decodeBare('WindowMarker', Buffer.concat([bare, bare]))),
    'SLU_RECORD_UNDECODABLE',
  )
})

test('codec: the scratch buffer is never shared with a caller, a later encode does not change earlier bytes', (t) => {
  const codecs = testCodecs()
  const first = codecs.encode('WindowMarker', marker)
  const copy = Buffer.from(first)
  codecs.encode('WindowMarker', { ...marker, function: 'x'.repeat(200_000), sourcePartition: 9 })
  t.deepEqual(first, copy)
})

test('codec: the Confluent frame is written where the registry gave ids, and both frames are read', (t) => {
  const single = testCodecs()
  const registry = testCodecs({ registryIds: new Map([['WindowMarker', 77]]) })
  const framed = registry.encode('WindowMarker', marker)
  t.deepEqual([...framed.subarray(0, 5)], [0, 0, 0, 0, 77])
  t.like(registry.decode('WindowMarker', framed), marker)
  t.like(registry.decode('WindowMarker', single.encode('WindowMarker', marker)), marker)
  t.is(
    codeOf(() => single.decode('WindowMarker', framed)),
    'SLU_RECORD_SCHEMA_UNKNOWN',
  )
})

test('codec: an old writer is resolved to today’s reader, a missing field gets its default', (t) => {
  const codecs = testCodecs()
  const today = shippedSchemas().get('NodeBatch') as unknown as { fields: { name: string }[] }
  const old = { ...today, fields: today.fields.filter((f) => f.name !== 'part') } as never
  const writer = createCodecs(new Map([['NodeBatch', old]]))
  const bytes = writer.encode('NodeBatch', {
    site: 's',
    node: 'n',
    rack: null,
    source: { kind: 'dcgm-exporter', version: null },
    observedMs: 5,
    layout: Buffer.alloc(0),
    deviceIndex: Buffer.alloc(0),
    metricIndex: Buffer.alloc(0),
    value: Buffer.alloc(0),
    offsetMs: null,
  } as never)
  t.is(
    codeOf(() => codecs.decode('NodeBatch', bytes)),
    'SLU_RECORD_SCHEMA_UNKNOWN',
  )
  codecs.addWriter('NodeBatch', old)
  t.is(codecs.decode('NodeBatch', bytes).part, 0)
})

test('codec: cut, damaged and foreign bytes are a named error, never a crash or a guess (D6)', (t) => {
  const codecs = testCodecs()
  const bytes = codecs.encode('WindowMarker', marker)
  for (let end = 0; end < bytes.length; end++)
    t.is(
      codeOf(() => codecs.decode('WindowMarker', bytes.subarray(0, end))),
      'SLU_RECORD_UNDECODABLE',
      `cut at ${end}`,
    )
  t.is(
    codeOf(() => codecs.decode('WindowMarker', Buffer.concat([bytes, Buffer.from([1])]))),
    'SLU_RECORD_UNDECODABLE',
  )
  t.is(
    codeOf(() => codecs.decode('HealthEvent', bytes)),
    'SLU_RECORD_SCHEMA_UNKNOWN',
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 400 }), fc.boolean(), (noise, framed) => {
      const body = framed ? Buffer.concat([bytes.subarray(0, 10), noise]) : Buffer.from(noise)
      const code = codeOf(() => codecs.decode('WindowMarker', body))
      return ['SLU_RECORD_UNDECODABLE', 'SLU_RECORD_SCHEMA_UNKNOWN', 'nothing thrown'].includes(code)
    }),
    { numRuns: 500 },
  )
})

test('codec: a foreign schema with __proto__, odd names or excessive depth is refused before avsc compiles it', (t) => {
  const field = (name: string): unknown => ({ type: 'record', name: 'R', fields: [{ name, type: 'int' }] })
  for (const name of ['__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'a b', 'x;process.exit(1)', '', 'é', '1a']) {
    if (name === '') continue
    t.is(
      codeOf(() => assertSchemaHarmless(field(name))),
      'SLU_RECORD_SCHEMA_HOSTILE',
      name,
    )
  }
  let deep: unknown = 'int'
  for (let i = 0; i < 40; i++) deep = { type: 'array', items: deep }
  t.is(
    codeOf(() => assertSchemaHarmless(deep)),
    'SLU_RECORD_SCHEMA_HOSTILE',
  )
  t.is(
    codeOf(() => assertSchemaHarmless({ type: 'enum', name: 'E', symbols: ['__proto__'] })),
    'SLU_RECORD_SCHEMA_HOSTILE',
  )
  t.is(
    codeOf(() => assertSchemaHarmless({ type: 'record', name: 'R', doc: 'x'.repeat(300_000), fields: [] })),
    'SLU_RECORD_SCHEMA_HOSTILE',
  )
  t.is(
    codeOf(() => assertSchemaHarmless(field('fine'))),
    'nothing thrown',
  )
  t.is(
    codeOf(() => testCodecs().addWriter('WindowMarker', field('__proto__') as never)),
    'SLU_RECORD_SCHEMA_HOSTILE',
  )
})

test('codec: a writer that cannot be resolved is refused, ours stays readable', (t) => {
  const codecs = testCodecs()
  t.is(
    codeOf(() => codecs.addWriter('WindowMarker', { type: 'record', name: 'WindowMarker', namespace: 'sluice.v1', fields: [{ name: 'other', type: 'int' }] } as never)),
    'SLU_RECORD_SCHEMA_UNKNOWN',
  )
  t.like(codecs.decode('WindowMarker', codecs.encode('WindowMarker', marker)), marker)
})

test('codec: a value that does not fit its schema is our defect and says which record', (t) => {
  t.is(
    codeOf(() => testCodecs().encode('HealthEvent', { site: 1 } as unknown as HealthEvent)),
    'SLU_INTERNAL',
  )
})
