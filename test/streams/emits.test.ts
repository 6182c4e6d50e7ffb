import test from 'ava'
import { carrierOf, sortEmits, assertRecordSize, withCarrier } from '../../streams/emits.ts'
import { defineFunction } from '../../streams/define-function.ts'
import { record } from '../helpers/records.ts'

const definition = defineFunction({ kind: 'map', name: 'f', inputs: ['in'], outputs: ['out'], decode: () => 0, handle: () => [] })

test('emits: one to a topic that is not declared is the handler’s failure, never a write (design §4.5)', (t) => {
  t.throws(() => sortEmits([{ to: 'topic', topic: 'elsewhere', key: null, value: null }], record(1), definition), { message: /SLU_HANDLER_FAILED.*elsewhere/ })
  t.throws(() => sortEmits(undefined as never, record(1), definition), { message: /SLU_HANDLER_FAILED/ })
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
