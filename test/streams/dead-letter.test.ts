import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { deadLetterRecord, lateRecord } from '../../streams/dead-letter.ts'
import { outcomeOf } from '../../streams/retry.ts'
import { hostileThrows } from '../helpers/hostile-throws.ts'
import { record } from '../helpers/records.ts'

const facts = { functionName: 'f', topicPrefix: 'hall.', targetPartitions: 4 }
const source = record(7, {
  partition: 3,
  key: Buffer.from([0xff, 0]),
  value: Buffer.from([0, 0x80, 0xfe]),
  headers: [
    ['a', Buffer.from([0xc3])],
    ['a', Buffer.from('2')],
  ],
})
const text = (out: { headers?: readonly (readonly [string, Buffer])[] }, name: string): string | undefined => out.headers?.find(([n]) => n === name)?.[1].toString()

test('dead letter: key, value, timestamp and headers stay as they were, byte for byte (D2)', (t) => {
  const out = deadLetterRecord({ record: source, error: new SluiceError('SLU_RECORD_UNDECODABLE', 'x'), stage: 'decode' }, facts, 3)
  t.is(out.topic, 'hall.in.dlq')
  t.is(out.partition, 3)
  t.is(out.key, source.key)
  t.is(out.value, source.value)
  t.is(out.timestampMs, source.timestampMs)
  t.deepEqual(out.headers?.slice(0, 2), source.headers)
})

test('dead letter: coordinates and cause stand in Kafka Connect’s headers, the code and the tries in ours (D2)', (t) => {
  const error = new SluiceError('SLU_HANDLER_FAILED', 'f', new TypeError('no such thing'))
  const out = deadLetterRecord({ record: source, error, stage: 'handle' }, facts, 3)
  const connect = (name: string): string | undefined => text(out, `__connect.errors.${name}`)
  t.deepEqual(['topic', 'partition', 'offset', 'connector.name', 'task.id', 'stage', 'class.name', 'exception.class.name'].map(connect), [
    'hall.in',
    '3',
    '7',
    'f',
    '3',
    'TASK_PUT',
    'sluice.f',
    'TypeError',
  ])
  t.regex(connect('exception.message') ?? '', /no such thing/)
  t.regex(connect('exception.stacktrace') ?? '', /TypeError/)
  t.is(text(out, 'sluice.error.code'), 'SLU_HANDLER_FAILED')
  t.is(text(out, 'sluice.attempts'), '3')
})

test('dead letter: the short form leaves out the text, never the coordinates; a long message never grows the record without bound', (t) => {
  const error = new SluiceError('SLU_RECORD_UNDECODABLE', 'y'.repeat(1_000_000))
  const short = deadLetterRecord({ record: source, error, stage: 'decode' }, facts, 1, true)
  t.is(text(short, '__connect.errors.offset'), '7')
  t.is(text(short, '__connect.errors.exception.message'), undefined)
  const full = deadLetterRecord({ record: source, error, stage: 'decode' }, facts, 1)
  t.true((full.headers ?? []).every(([, value]) => value.length <= 16_384))
})

for (const [what, make] of Object.entries(hostileThrows))
  test(`dead letter: ${what}, thrown by a handler, is parked with bounded headers, never tried for ever (D6)`, (t) => {
    for (const thrown of [make(), new Error('outer', { cause: make() })]) {
      const { error } = outcomeOf(thrown, 'SLU_HANDLER_FAILED')
      const out = deadLetterRecord({ record: source, error, stage: 'handle' }, facts, 1)
      t.is(text(out, 'sluice.error.code'), error.code)
      t.true((out.headers ?? []).every(([, value]) => Buffer.isBuffer(value) && value.length <= 16_384))
    }
  })

test('dead letter: a source partition the target does not have is left to the key, never refused by the log', (t) => {
  t.is(deadLetterRecord({ record: source, error: new SluiceError('SLU_RECORD_REFUSED', ''), stage: 'decode' }, { ...facts, targetPartitions: 2 }, 1).partition, undefined)
})

test('late record: bytes unchanged, coordinates in headers (W2)', (t) => {
  const out = lateRecord(source, facts)
  t.is(out.topic, 'hall.in.late')
  t.is(out.value, source.value)
  t.is(text(out, 'sluice.late.offset'), '7')
})
