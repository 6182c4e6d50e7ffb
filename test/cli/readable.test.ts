import fc from 'fast-check'
import test from 'ava'
import { toJson } from '../../cli/output.ts'
import { instant, readable, shownValue } from '../../cli/readable.ts'
import { aggregateMetrics } from '../../functions/aggregate-metrics/aggregate-metrics.ts'
import type { Cell } from '../../functions/aggregate-metrics/cell.ts'
import { canonicalForm, crc64Avro } from '../../schemas/fingerprint.ts'
import { shippedSchemas, testCodecs } from '../helpers/codecs.ts'
import { batchBytes, openWindow, partialOf } from '../helpers/metrics.ts'
import { rawRecord } from '../helpers/telemetry.ts'

const codecs = testCodecs()
const nested = (levels: number, inner = ''): string => `{"a":${'['.repeat(levels)}${inner}${']'.repeat(levels)}}`

test('readable: JSON is shown as a tree to a depth of 128 and as its own text beyond, never as a crash', (t) => {
  t.deepEqual(readable(Buffer.from(nested(127)), codecs), JSON.parse(nested(127)))
  for (const text of [nested(128), nested(200_000), `{"a":${'['.repeat(200_000)}`]) {
    t.is(readable(Buffer.from(text), codecs), text)
    t.is(JSON.parse(toJson({ value: readable(Buffer.from(text), codecs) })).value, text)
  }
})

test('readable: brackets within strings, escaped quotes included, are no depth', (t) => {
  const inner = JSON.stringify(`"\\${'[{'.repeat(500)}\\`)
  t.deepEqual(readable(Buffer.from(nested(1, inner)), codecs), JSON.parse(nested(1, inner)))
})

test('readable: brackets side by side are no depth', (t) => {
  const wide = `{"a":[${'[],'.repeat(500)}{}]}`
  t.deepEqual(readable(Buffer.from(wide), codecs), JSON.parse(wide))
})

test('readable: any bytes behind any of our frames are shown, and can be written', (t) => {
  const frames = ['InferenceRequest', 'NodeBatch', 'WindowPartial'] as const
  const prints = frames.map((name) => crc64Avro(canonicalForm(shippedSchemas().get(name) as never)))
  const frame = fc.constantFrom(Buffer.alloc(0), Buffer.from('{'), Buffer.from([0, 0, 0, 0, 1]), ...prints.map((p) => Buffer.concat([Buffer.from([0xc3, 0x01]), p])))
  fc.assert(
    fc.property(frame, fc.uint8Array({ maxLength: 200 }), (head, bytes) => {
      const value = Buffer.concat([head, bytes])
      t.is(typeof toJson({ value: readable(value, codecs) }), 'string')
    }),
    { numRuns: 1000 },
  )
})

test('readable: bytes within an Avro record are text where they are text', (t) => {
  const shown = (body: Buffer): unknown => {
    const request = { id: 'r', model: 'm', api: 'openai.chat', headers: { a: 'b' }, contentType: 'c', createdMs: 1, priority: 'default', tenant: 't', body }
    return (readable(codecs.encode('InferenceRequest', request as never), codecs) as { InferenceRequest: { body: unknown } }).InferenceRequest.body
  }
  t.is(shown(Buffer.from('{"x":1}')), '{"x":1}')
  t.is(shown(Buffer.from([0xff, 0xfe])), 'base64://4=')
})

test('readable: a WindowPartial is shown with its contributors and devices, never as columns of bytes', (t) => {
  const definition = aggregateMetrics({
    site: 'hall-1',
    parameters: { windowMs: 60_000, graceMs: 0, outOfOrdernessMs: 0, skewMs: 0, maxGapMs: 0, idleMs: 0 },
    contributorFactsMax: 9,
  })
  const window = openWindow()
  const rows = ['x', 'y'].map((tenant, i) => ({ device: `d${i}`, tenant, metric: 'hw.power', value: i }))
  definition.add(window, definition.decode(rawRecord('hardware.telemetry', 'n', batchBytes(rows)), { codecs, site: 'hall-1' }), undefined)
  const [[key, cell]] = window.groups as never as [[string, Cell]]
  const shown = readable(codecs.encode('WindowPartial', partialOf(definition, key, cell)), codecs) as { WindowPartial: Record<string, unknown> }
  t.deepEqual(shown.WindowPartial.contributorFacts, [
    { id: 'x', sum: 0, count: 1, bucketCounts: [] },
    { id: 'y', sum: 1, count: 1, bucketCounts: [1] },
  ])
  t.deepEqual(shown.WindowPartial.devices, ['d0', 'd1'])
  t.false(JSON.stringify(shown).includes('base64'))
})

test('readable: a time that no calendar has is shown as the number it is', (t) => {
  t.is(instant(0), '1970-01-01T00:00:00.000Z')
  t.is(instant(Number.MAX_SAFE_INTEGER), '9007199254740991 ms')
  t.is(instant(Number.NaN), 'NaN ms')
})

test('readable: for people a value is cut before what a terminal would obey is written out; 5 MB of it never become 20', (t) => {
  const zeros = readable(Buffer.alloc(5_000_000), codecs)
  const cut = shownValue(zeros, false)
  t.true(cut.length < 10_000 && cut.endsWith('[cut: 2000 of 5000000 characters; all with --full]'), cut.slice(-100))
  t.is(shownValue(zeros, true), `  ${'\\x00'.repeat(5_000_000)}`)
  t.is(shownValue({ id: 'r-1' }, false), '  {"id":"r-1"}')
})
