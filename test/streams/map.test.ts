import test from 'ava'
import fc from 'fast-check'
import { SluiceError } from '../../schemas/errors.ts'
import { createMapProcessor } from '../../streams/map.ts'
import { defineFunction, type FunctionContext } from '../../streams/define-function.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { record } from '../helpers/records.ts'

const context: FunctionContext = { site: 's', codecs: testCodecs(), nowMs: () => 0 }

const upper = defineFunction({
  kind: 'map',
  name: 'upper',
  inputs: ['in'],
  outputs: ['out'],
  recordBytesMax: 64,
  decode: (r) => {
    const text = r.value?.toString('utf8') ?? ''
    if (text.startsWith('!')) throw new SluiceError('SLU_TELEMETRY_FORMAT', text)
    if (text.startsWith('?')) throw new TypeError('bug')
    return text
  },
  handle: (text: string) => {
    if (text === 'hold') throw new SluiceError('SLU_EGRESS_HOLD', '')
    if (text === 'elsewhere') return [{ to: 'topic', topic: 'secret', key: null, value: null }]
    return [{ to: 'topic', topic: 'out', key: text, value: Buffer.from(text.toUpperCase()) }]
  },
})

test('map: whatever a record holds, it ends as an emit, a dead letter or a skip, and never stops the next one (D6)', (t) => {
  const value = fc.oneof(
    fc.uint8Array({ maxLength: 100 }).map((a) => Buffer.from(a)),
    fc.constantFrom('!bad', '?bug', 'elsewhere', 'fine').map((s) => Buffer.from(s)),
    fc.constant(null),
  )
  fc.assert(
    fc.property(fc.array(value, { maxLength: 30 }), (values) => {
      const processor = createMapProcessor(upper, context)
      processor.begin(null, new Map())
      const records = values.map((v, i) => record(i, { value: v }))
      const effects = processor.process(records, 40n)
      const emitted = effects.batches.flatMap((b) => b.records).length
      t.is(emitted + effects.deadLetters.length + effects.skipped, records.length)
      t.deepEqual(processor.checkpoint(), { nextOffset: 40n, metadata: '' })
    }),
  )
})

test('map: a dead letter carries the code of its stage; an undeclared topic is never written to', (t) => {
  const processor = createMapProcessor(upper, context)
  const values = ['!bad', '?bug', 'elsewhere', 'x'.repeat(65), 'fine']
  const effects = processor.process(
    values.map((v, i) => record(i, { value: v })),
    5n,
  )
  t.deepEqual(
    effects.deadLetters.map((d) => [d.error.code, d.stage]),
    [
      ['SLU_TELEMETRY_FORMAT', 'decode'],
      ['SLU_RECORD_UNDECODABLE', 'decode'],
      ['SLU_HANDLER_FAILED', 'handle'],
      ['SLU_RECORD_TOO_LARGE', 'decode'],
    ],
  )
  t.deepEqual(
    effects.batches[0]?.records.map((r) => r.value?.toString()),
    ['FINE'],
  )
})

test('map: a tick is skipped, never decoded (W8)', (t) => {
  const processor = createMapProcessor(upper, context)
  const effects = processor.process([record(0, { value: '!bad', headers: [['sluice.tick', Buffer.alloc(0)]] })], 1n)
  t.is(effects.skipped, 1)
  t.deepEqual(effects.deadLetters, [])
})

test('map: a hold is thrown and moves nothing, so the same records come again', (t) => {
  const processor = createMapProcessor(upper, context)
  processor.begin({ nextOffset: 3n, metadata: '' }, new Map())
  t.throws(() => processor.process([record(3, { value: 'fine' }), record(4, { value: 'hold' })], 5n), { message: /SLU_EGRESS_HOLD/ })
  t.is(processor.checkpoint().nextOffset, 3n)
})

test('map: it starts where it committed, and at the start of the log without a commit (C7)', (t) => {
  t.is(createMapProcessor(upper, context).begin(null, new Map()).nextOffset, 'start')
  t.is(createMapProcessor(upper, context).begin({ nextOffset: 9n, metadata: '' }, new Map()).nextOffset, 9n)
})

test('map: a handler or decoder that returns a promise makes dead letters that say so, never an unhandled rejection (D6)', (t) => {
  for (const part of ['handle', 'decode'] as const) {
    const later = { ...upper, [part]: () => Promise.reject(new Error('async poison')) }
    const effects = createMapProcessor(later, context).process([record(0, { value: 'x' })], 1n)
    t.deepEqual(
      effects.deadLetters.map((d) => [d.error.code, d.stage]),
      [['SLU_HANDLER_FAILED', part]],
    )
    t.regex(effects.deadLetters[0]?.error.message ?? '', new RegExp(`${part} returned a promise`))
  }
})

test('map: as many emits as a handler makes of one record are sent or parked, never the end of the process (D6)', (t) => {
  const definition = defineFunction({
    kind: 'map',
    name: 'many',
    inputs: ['in'],
    outputs: ['out'],
    decode: (r) => r.value?.toString() ?? '',
    handle: (value: string) =>
      Array.from({ length: 300_000 }, () =>
        value === 'out' ? ({ to: 'topic', topic: 'out', key: null, value: null } as const) : ({ to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason: '' } as const),
      ),
  })
  const processor = createMapProcessor(definition, context)
  processor.begin(null, new Map())
  const { batches, deadLetters, handled } = processor.process([record(0, { value: 'out' }), record(1, { value: 'parked' })], 2n)
  t.deepEqual([batches[0]?.records.length, deadLetters.length, handled], [300_000, 300_000, 2])
})

test('map: a handler may emit one buffer again and again, as it was each time, never as it was last (D2)', (t) => {
  const scratch = Buffer.alloc(1)
  const definition = defineFunction({
    kind: 'map',
    name: 'scratch',
    inputs: ['in'],
    outputs: ['out'],
    decode: (r) => Number(r.value),
    handle: (value: number) => {
      scratch[0] = value
      return [{ to: 'topic', topic: 'out', key: scratch, value: scratch, headers: [['h', scratch]] }]
    },
  })
  const processor = createMapProcessor(definition, context)
  processor.begin(null, new Map())
  const { batches } = processor.process(
    [1, 2, 3, 4].map((n) => record(n, { value: String(n) })),
    5n,
  )
  t.deepEqual(
    batches[0]?.records.map(({ key, value, headers }) => [key?.[0], value?.[0], headers?.[0]?.[1][0]]),
    [1, 2, 3, 4].map((n) => [n, n, n]),
  )
})
