import fc from 'fast-check'
import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogHeaders, LogRecord, OutRecord } from '../../schemas/log.ts'
import { deadLetterRecord } from '../../streams/dead-letter.ts'
import { HEADER_REDRIVE, readDeadLetters, redriveRecord, redrivenMarker } from '../../streams/redrive.ts'
import { record } from '../helpers/records.ts'

const facts = { functionName: 'f', topicPrefix: 'p.', targetPartitions: 4 }
/** As the log gives back what was written. */
const stored = (out: OutRecord, offset: number): LogRecord => ({
  topic: out.topic,
  partition: out.partition ?? 0,
  offset: BigInt(offset),
  timestampMs: out.timestampMs ?? 0,
  appendMs: null,
  key: out.key,
  value: out.value,
  headers: out.headers ?? [],
})
const park = (source: LogRecord, offset: number, attempts = 3): LogRecord =>
  stored(deadLetterRecord({ record: source, error: new SluiceError('SLU_HANDLER_FAILED', 'why'), stage: 'handle' }, facts, attempts), offset)

test('redrive: a dead letter says whence, why and after how many tries', (t) => {
  const [letter] = readDeadLetters([park(record(7, { partition: 2, value: 'x' }), 0)]).open
  t.like(letter, { source: { topic: 'p.in', partition: 2, offset: 7n }, functionName: 'f', code: 'SLU_HANDLER_FAILED', attempts: 3 })
  t.regex(letter?.message ?? '', /SLU_HANDLER_FAILED/)
})

test('redrive: for any record, what is put back is what was parked, byte for byte, but for the header that says so; also after several rounds (D5)', (t) => {
  const bytes = fc.uint8Array({ maxLength: 10 }).map((b) => Buffer.from(b))
  const headers = fc.array(fc.tuple(fc.constantFrom('a', '__connect.errors.offset', 'sluice.attempts'), bytes), { maxLength: 4 })
  fc.assert(
    fc.property(fc.option(bytes, { nil: null }), bytes, headers, (key, value, own: LogHeaders) => {
      const original = record(9, { partition: 3, key, value, headers: own })
      let source: LogRecord = original
      for (let round = 0; round < 3; round++) {
        const [letter] = readDeadLetters([park(source, round)]).open
        const back = redriveRecord(letter as NonNullable<typeof letter>, 4)
        t.deepEqual([back.topic, back.partition, back.key, back.value, back.timestampMs], ['p.in', 3, key, value, original.timestampMs])
        t.deepEqual(back.headers, [...own, [HEADER_REDRIVE, Buffer.from(`p.in.dlq/3/${round}`)]])
        source = { ...stored(back, 100 + round), topic: 'in' }
      }
    }),
  )
})

test('redrive: what a marker names is not offered again, in its own partition only', (t) => {
  const letters = [0, 1, 2].map((i) => park(record(i, { partition: 1, value: 'x' }), i))
  const other = park(record(0, { partition: 2, value: 'y' }), 0)
  const { open } = readDeadLetters([...letters, other])
  t.is(open.length, 4)
  const marker = stored(redrivenMarker(open.filter((l) => l.record.partition === 1 && l.record.offset < 2n)), 3)
  const after = readDeadLetters([marker, ...letters, other])
  t.is(after.redriven, 2)
  t.deepEqual(
    after.open.map((l) => `${l.record.partition}/${l.record.offset}`),
    ['1/2', '2/0'],
  )
})

test('redrive: a dead letter of another tool, without our headers, goes back to the topic its DLQ is named after', (t) => {
  const [letter] = readDeadLetters([record(4, { topic: 'orders.dlq', partition: 5, value: 'x' })]).open
  t.like(letter, { source: { topic: 'orders', partition: 5, offset: null }, code: '', attempts: 0 })
  t.is(redriveRecord(letter as NonNullable<typeof letter>, 2).partition, undefined, 'a partition the topic has not is left to the key')
})
