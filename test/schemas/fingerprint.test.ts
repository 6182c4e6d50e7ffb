import test from 'ava'
import { canonicalForm, crc64Avro } from '../../schemas/fingerprint.ts'

// Expected values: the Avro project's own test vectors for Parsing Canonical Form and CRC-64-AVRO (share/test/data/schema-tests.txt).
const asLong = (schema: unknown): bigint => crc64Avro(canonicalForm(schema as never)).readBigInt64LE()

test('fingerprint: primitive schemas have the fingerprints of the Avro specification', (t) => {
  t.is(asLong('null'), 7195948357588979594n)
  t.is(asLong('boolean'), -6970731678124411036n)
  t.is(asLong({ type: 'int' }), 8247732601305521295n)
  t.is(asLong('string'), -8142146995180207161n)
})

test('fingerprint: attributes that do not matter to parsing do not change it, names and types do', (t) => {
  const a = { type: 'record', name: 'R', namespace: 'x', doc: 'd', fields: [{ name: 'f', type: { type: 'int' }, default: 1, 'x-class': 'internal' }] }
  const b = { name: 'x.R', type: 'record', fields: [{ type: 'int', name: 'f' }] }
  t.is(canonicalForm(a as never), '{"name":"x.R","type":"record","fields":[{"name":"f","type":"int"}]}')
  t.is(asLong(a), asLong(b))
  t.not(asLong(a), asLong({ ...b, fields: [{ name: 'g', type: 'int' }] }))
})

test('fingerprint: nested names take the namespace of what encloses them', (t) => {
  const schema = {
    type: 'record',
    name: 'a.b.Outer',
    fields: [
      { name: 'e', type: { type: 'enum', name: 'E', symbols: ['A'] } },
      { name: 'again', type: ['null', 'E'] },
      { name: 'x', type: { type: 'fixed', name: 'F', size: 4 } },
      { name: 'm', type: { type: 'map', values: 'long' } },
    ],
  }
  t.is(
    canonicalForm(schema as never),
    '{"name":"a.b.Outer","type":"record","fields":[{"name":"e","type":{"name":"a.b.E","type":"enum","symbols":["A"]}},{"name":"again","type":["null","a.b.E"]},{"name":"x","type":{"name":"a.b.F","type":"fixed","size":4}},{"name":"m","type":{"type":"map","values":"long"}}]}',
  )
})
