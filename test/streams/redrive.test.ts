import fc from 'fast-check'
import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogHeaders, LogRecord, OutRecord } from '../../schemas/log.ts'
import { deadLetterRecord } from '../../streams/dead-letter.ts'
import { HEADER_REDRIVE, isMarker, readDeadLetter, RedrivenOffsets, redriveRecord, redrivenMarker } from '../../streams/redrive.ts'
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
  const letter = readDeadLetter(park(record(7, { partition: 2, value: 'x' }), 0))
  t.like(letter, { source: { topic: 'p.in', partition: 2, offset: 7n }, functionName: 'f', code: 'SLU_HANDLER_FAILED', attempts: 3 })
  t.regex(letter.message, /SLU_HANDLER_FAILED/)
})

test('redrive: for any record, what is put back is what was parked, byte for byte, but for the header that says so; also after several rounds (D5)', (t) => {
  const bytes = fc.uint8Array({ maxLength: 10 }).map((b) => Buffer.from(b))
  const headers = fc.array(fc.tuple(fc.constantFrom('a', '__connect.errors.offset', 'sluice.attempts'), bytes), { maxLength: 4 })
  fc.assert(
    fc.property(fc.option(bytes, { nil: null }), bytes, headers, (key, value, own: LogHeaders) => {
      const original = record(9, { partition: 3, key, value, headers: own })
      let source: LogRecord = original
      for (let round = 0; round < 3; round++) {
        const back = redriveRecord(readDeadLetter(park(source, round)), 4)
        t.deepEqual([back.topic, back.partition, back.key, back.value, back.timestampMs], ['p.in', 3, key, value, original.timestampMs])
        t.deepEqual(back.headers, [...own, [HEADER_REDRIVE, Buffer.from(`p.in.dlq/3/${round}`)]])
        source = { ...stored(back, 100 + round), topic: 'in' }
      }
    }),
  )
})

test('redrive: what a marker names is redriven, and nothing else; a dead letter is no marker', (t) => {
  const letters = [0, 1, 2, 70_000].map((i) => park(record(i, { partition: 1, value: null }), i))
  const marker = stored(redrivenMarker(letters.filter((l) => l.offset !== 1n).map(readDeadLetter)), 70_001)
  t.deepEqual([marker.topic, marker.partition], ['p.in.dlq', 1])
  t.deepEqual([marker, ...letters].map(isMarker), [true, false, false, false, false])
  const redriven = new RedrivenOffsets()
  redriven.read(marker)
  t.deepEqual(
    [0n, 1n, 2n, 3n, 65_536n, 70_000n, 70_001n, 140_000n].filter((offset) => redriven.has(offset)),
    [0n, 2n, 70_000n],
  )
})

test('redrive: for any offsets in any order, exactly those named are redriven', (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.array(fc.integer({ min: 0, max: 200_000 }), { minLength: 1, maxLength: 20 }), { maxLength: 5 }),
      fc.integer({ min: 0, max: 200_000 }),
      (markers, other) => {
        const redriven = new RedrivenOffsets()
        for (const named of markers) redriven.read(stored(redrivenMarker(named.map((i) => readDeadLetter(record(i, { topic: 'in.dlq' })))), 200_001))
        const all = new Set(markers.flat())
        for (const offset of [...all, other]) t.is(redriven.has(BigInt(offset)), all.has(offset))
      },
    ),
  )
})

test('redrive: a marker names nothing that does not stand before it, whatever a foreign one holds', (t) => {
  const redriven = new RedrivenOffsets()
  for (const text of ['', '5,6', '-1', '1e3', 'x', '9'.repeat(400), ' 3', '9223372036854775807'])
    redriven.read(record(5, { topic: 'in.dlq', headers: [['sluice.redriven', Buffer.from(text)]] }))
  t.deepEqual(
    [1n, 3n, 4n, 5n, 6n, 1000n, 9_223_372_036_854_775_807n].filter((offset) => redriven.has(offset)),
    [],
  )
  redriven.read(record(5, { topic: 'in.dlq', headers: [['sluice.redriven', Buffer.from('x,4')]] }))
  t.true(redriven.has(4n))
})

test('redrive: a dead letter of another tool, without our headers, goes back to the topic its DLQ is named after', (t) => {
  const letter = readDeadLetter(record(4, { topic: 'orders.dlq', partition: 5, value: 'x' }))
  t.like(letter, { source: { topic: 'orders', partition: 5, offset: null }, code: '', attempts: 0 })
  t.is(redriveRecord(letter, 2).partition, undefined, 'a partition the topic has not is left to the key')
})
