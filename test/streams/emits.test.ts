import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { assertRecordSize, carrierOf, closingRecord, handed, sortEmits, synchronous, untilWindowFails, withCarrier } from '../../streams/emits.ts'
import { defineFunction } from '../../streams/define-function.ts'
import type { Outgoing } from '../../streams/processor.ts'
import { record } from '../helpers/records.ts'

const definition = defineFunction({ kind: 'map', name: 'f', inputs: ['in'], outputs: ['out'], decode: () => 0, handle: () => [] })

test('emits: one to a topic that is not declared is the handler’s failure, never a write (design §4.5)', (t) => {
  t.throws(() => sortEmits([{ to: 'topic', topic: 'elsewhere', key: null, value: null }], record(1), definition), { message: /SLU_HANDLER_FAILED.*elsewhere/ })
  t.throws(() => sortEmits(undefined as never, record(1), definition), { message: /SLU_HANDLER_FAILED/ })
})

test('emits: what a log cannot take is named by its place and field before anything is sent, never found by the driver (D6)', (t) => {
  const sound = { to: 'topic', topic: 'out', key: 'k', value: Buffer.from('v') } as const
  const problem = (emit: unknown): string => {
    try {
      sortEmits([sound, emit as never], record(1), definition, (topic) => (topic === 'out' ? 3 : undefined))
      return ''
    } catch (thrown) {
      return thrown instanceof SluiceError && thrown.code === 'SLU_HANDLER_FAILED' ? thrown.detail : String(thrown)
    }
  }
  t.is(problem({ ...sound, value: null, key: null, headers: [['h', Buffer.from('x')]], partition: 2 }), '')
  t.is(problem(null), 'f: emits[1] is null, must be an object')
  t.is(problem('x'), 'f: emits[1] is a string, must be an object')
  t.is(problem({ ...sound, to: 'nowhere' }), 'f: emits[1].to is a string, must be topic or dead-letter')
  t.is(problem({ ...sound, value: 'text' }), 'f: emits[1].value is a string, must be a Buffer or null')
  t.is(problem({ ...sound, value: 42 }), 'f: emits[1].value is a number, must be a Buffer or null')
  t.is(problem({ ...sound, value: { a: 1 } }), 'f: emits[1].value is an object, must be a Buffer or null')
  t.is(problem({ ...sound, value: undefined }), 'f: emits[1].value is undefined, must be a Buffer or null')
  t.is(problem({ ...sound, key: 7 }), 'f: emits[1].key is a number, must be a string, a Buffer or null')
  t.is(problem({ ...sound, key: undefined }), 'f: emits[1].key is undefined, must be a string, a Buffer or null')
  t.is(problem({ ...sound, headers: { a: 'b' } }), 'f: emits[1].headers is an object, must be a list of [name, Buffer]')
  t.is(problem({ ...sound, headers: [['a', 'text']] }), 'f: emits[1].headers[0] is a string, must be [name, Buffer]')
  t.is(problem({ ...sound, headers: ['a'] }), 'f: emits[1].headers[0] is a string, must be [name, Buffer]')
  t.is(problem({ ...sound, partition: -1 }), 'f: emits[1].partition is -1, must be a whole number from 0')
  t.is(problem({ ...sound, partition: 1.5 }), 'f: emits[1].partition is 1.5, must be a whole number from 0')
  t.is(problem({ ...sound, partition: '1' }), 'f: emits[1].partition is a string, must be a whole number from 0')
  t.is(problem({ ...sound, partition: 99 }), 'f: emits[1].partition is 99, out has 3')
  t.is(problem({ to: 'dead-letter', code: 'NOPE', reason: '' }), 'f: emits[1].code is a string that is no error code')
  t.is(problem({ to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason: 7 }), 'f: emits[1].reason is a number, must be a string')
})

test('emits: bytes are taken as they are when the handler returns, Buffer or not: one that is used again never changes what was emitted (D2)', (t) => {
  for (const bytes of [new Uint8Array([1, 2, 3, 4]).subarray(1, 3), Buffer.from([1, 2, 3, 4]).subarray(1, 3)]) {
    const emit = { to: 'topic', topic: 'out', key: bytes as Buffer, value: bytes as Buffer, headers: [['h', bytes as Buffer]] } as const
    const sent = (outgoing: Outgoing | undefined) => [outgoing?.key, outgoing?.value, outgoing?.headers?.[0]?.[1]]
    const [copied] = sortEmits([emit], record(1), definition).outgoing
    const [shared] = sortEmits([emit], record(1), { ...definition, readsOnly: true }).outgoing
    const closing = closingRecord(definition, 'result', () => emit)
    t.true([...sent(copied), ...sent(shared), ...sent(closing)].every((one) => Buffer.isBuffer(one)))
    t.true(sent(shared).every((one) => one?.buffer === bytes.buffer))
    bytes.fill(9)
    t.deepEqual(
      [...sent(copied), ...sent(closing)],
      Array.from({ length: 6 }, () => Buffer.from([2, 3])),
    )
  }
})

test('emits: dead letters are told from records, keys become bytes, the source rides along', (t) => {
  const { outgoing, parked } = sortEmits(
    [
      { to: 'topic', topic: 'out', key: 'k', value: null, partition: 2 },
      { to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason: 'line 3' },
    ],
    record(1),
    definition,
  )
  t.deepEqual(outgoing[0]?.key, Buffer.from('k'))
  t.is(outgoing[0]?.partition, 2)
  t.is(outgoing[0]?.source?.offset, 1n)
  t.is(parked[0]?.error.code, 'SLU_TELEMETRY_PART')
})

test('emits: a record above the limit is refused before it is decoded (D6)', (t) => {
  t.throws(() => assertRecordSize(record(1, { value: 'abc' }), { recordBytesMax: 2 }), { message: /SLU_RECORD_TOO_LARGE/ })
  t.notThrows(() => assertRecordSize(record(1, { value: 'ab' }), { recordBytesMax: 2 }))
})

test('emits: trace headers are read and written as W3C has them; a handler’s own are not overwritten', (t) => {
  const carrier = carrierOf([
    ['traceparent', Buffer.from('00-a')],
    ['__proto__', Buffer.from('x')],
    ['other', Buffer.from('y')],
  ])
  t.deepEqual(carrier, { traceparent: '00-a' })
  t.deepEqual(withCarrier(undefined, carrier), [['traceparent', Buffer.from('00-a')]])
  t.is(withCarrier([['traceparent', Buffer.from('mine')]], carrier).length, 1)
})

test('emits: what a window comes to is checked like an emit, and its fault is a hold, not a record’s (D6)', (t) => {
  const make = (value: unknown) => () => ({ to: 'topic', topic: 'out', key: 'k', value: value as Buffer }) as const
  t.deepEqual(closingRecord(definition, 'result', make(Buffer.from('x'))), { topic: 'out', key: Buffer.from('k'), value: Buffer.from('x') })
  const error = t.throws(() => closingRecord(definition, 'result of g', make(7)), { instanceOf: SluiceError })
  t.deepEqual([error.code, error.detail], ['SLU_WINDOW_FAILED', 'f: result of g'])
  t.regex(String(error.cause), /value is a number/)
})

test('emits: once a window failed, every later call fails the same; what else is thrown is not kept', (t) => {
  const attempt = untilWindowFails()
  const failing = (error: Error) => () =>
    attempt(() => {
      throw error
    })
  t.throws(failing(new TypeError('other')), { message: 'other' })
  t.is(
    attempt(() => 1),
    1,
  )
  t.throws(failing(new SluiceError('SLU_WINDOW_FAILED', 'w')), { message: /SLU_WINDOW_FAILED/ })
  t.throws(() => attempt(() => 1), { message: /SLU_WINDOW_FAILED/ })
})

test('emits: a promise where nobody awaits one is the handler’s failure, and its rejection ends no process (D6)', async (t) => {
  const unhandled: unknown[] = []
  const listen = (reason: unknown): void => void unhandled.push(reason)
  process.on('unhandledRejection', listen)
  t.teardown(() => process.off('unhandledRejection', listen))
  t.throws(() => synchronous(Promise.reject(new Error('nobody awaits')), definition, 'handle'), {
    code: 'SLU_HANDLER_FAILED',
    message: /f: handle returned a promise.*of a map is synchronous; use handle of a task/,
  })
  await new Promise((resolve) => setImmediate(resolve))
  t.deepEqual(unhandled, [])
  t.deepEqual(synchronous([1], definition, 'handle'), [1])
})

test('emits: a handler has bytes of its own, unless its function only reads (D2)', (t) => {
  const fetched = record(1, { key: 'k', value: 'v', headers: [['h', Buffer.from('x')]] })
  const given = handed(fetched, {})
  t.deepEqual(given, fetched)
  given.value?.fill('!')
  given.key?.fill('!')
  given.headers[0]?.[1].fill('!')
  ;(given.headers as unknown[]).push(['mine', Buffer.alloc(0)])
  t.deepEqual(fetched, record(1, { key: 'k', value: 'v', headers: [['h', Buffer.from('x')]] }))
  t.is(handed(fetched, { readsOnly: true }), fetched)
})
