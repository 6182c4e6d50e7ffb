import fc from 'fast-check'
import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogHeaders, LogRecord, OutRecord } from '../../schemas/log.ts'
import { deadLetterRecord } from '../../streams/dead-letter.ts'
import {
  handledNote,
  HEADER_REDRIVE,
  inOrder,
  isForAnother,
  isMarker,
  orderOfCopy,
  readDeadLetter,
  readHandledNote,
  redrivenMarker,
  RedrivenOffsets,
  redriveRecord,
} from '../../streams/redrive.ts'
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
        const back = redriveRecord(readDeadLetter(park(source, round)), 4, 'p.')
        t.deepEqual([back.topic, back.partition, back.key, back.value, back.timestampMs], ['p.in', 3, key, value, original.timestampMs])
        t.deepEqual(back.headers, [
          ...own,
          [HEADER_REDRIVE, Buffer.from(`p.in.dlq/3/${round}`)],
          ['sluice.redrive.attempts', Buffer.from(String(3 * (round + 1)))],
          ['sluice.redrive.for', Buffer.from('f/in')],
        ])
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
  t.is(redriveRecord(letter, 2, '').partition, undefined, 'a partition the topic has not is left to the key')
})

test('redrive: tries are counted over all rounds, whatever header the record itself brings (D1)', (t) => {
  let source: LogRecord = record(9, { value: 'x', headers: [['sluice.redrive.attempts', Buffer.from('many')]] })
  for (const [round, attempts] of [3, 6, 9].entries()) {
    const letter = readDeadLetter(park(source, round))
    t.is(letter.attempts, attempts)
    source = { ...stored(redriveRecord(letter, 4, 'p.'), 100 + round), topic: 'in' }
  }
})

test('redrive: a copy of a parked key says its order to the function that parked it, to no other, and keeps it over rounds (D4)', (t) => {
  const parked = { error: new SluiceError('SLU_RECORD_KEY_PARKED', ''), stage: 'handle' as const }
  let source: LogRecord = record(9, { key: 'k', value: 'x' })
  for (let round = 0; round < 3; round++) {
    const letter = readDeadLetter(stored(deadLetterRecord({ record: source, ...parked }, facts, 0, false, orderOfCopy(source, 'f') ?? source.offset), round))
    t.is(letter.order, 9n)
    source = { ...stored(redriveRecord(letter, 4, 'p.'), 100 + round), topic: 'in' }
    t.deepEqual([orderOfCopy(source, 'f'), orderOfCopy(source, 'g')], [9n, null])
  }
  t.is(orderOfCopy(record(3, { value: 'x' }), 'f'), null)
})

test('redrive: of those that park their key the lowest order goes first, the others keep their places (D4)', (t) => {
  const letters = [7, null, 3, null, 5].map((order, i) => ({ ...readDeadLetter(park(record(i, { value: 'x' }), i)), order: order === null ? null : BigInt(order) }))
  t.deepEqual(
    inOrder(letters).map((l) => l.order),
    [3n, null, 5n, null, 7n],
  )
})

test('redrive: the note of a handled copy comes back as written; a dead letter is no note, whatever header its record brought along (D4)', (t) => {
  const note = { functionName: 'f', topic: 'p.in', partition: 2, offset: 7n, order: 3n, digest: 'abc' }
  const written = stored(handledNote({ topic: 'p.in.dlq', partition: 2 }, Buffer.from('k'), note), 5)
  t.deepEqual(readHandledNote(written), note)
  t.true(isMarker(written))
  const hostile = park(record(4, { key: 'k', value: null, headers: [...written.headers, ['sluice.redriven', Buffer.from('1')]] }), 6)
  t.false(isMarker(hostile))
  t.is(readHandledNote(hostile), null)
  t.is(readHandledNote({ ...written, headers: [['sluice.park.handled', Buffer.from('f p.in x 7 3 abc')]] }), null)
})

test('redrive: a copy is for the function that parked it, and no other; handed on to another topic, put back for all or parked by another tool it is for every reader (D5)', (t) => {
  const letter = readDeadLetter(park(record(9, { value: 'x' }), 0))
  const copy = { ...stored(redriveRecord(letter, 4, 'p.'), 100), topic: 'in' }
  t.deepEqual([isForAnother(copy, 'f'), isForAnother(copy, 'g')], [false, true])
  t.false(isForAnother({ ...copy, topic: 'derived' }, 'g'), 'a handler that hands its headers on addresses nobody')
  t.false(isForAnother(stored(redriveRecord(letter, 4, 'p.', true), 100), 'g'))
  const foreign = readDeadLetter(record(4, { topic: 'in.dlq', headers: [['__connect.errors.connector.name', Buffer.from('jdbc-sink')]] }))
  t.false(isForAnother(stored(redriveRecord(foreign, 4, ''), 100), 'g'))
  t.false(isForAnother(record(1, { headers: [['a', Buffer.alloc(0)]] }), 'g'))
  const parkedAgain = readDeadLetter(
    stored(deadLetterRecord({ record: copy, error: new SluiceError('SLU_HANDLER_FAILED', ''), stage: 'handle' }, { ...facts, functionName: 'g' }, 1), 7),
  )
  t.true(isForAnother({ ...stored(redriveRecord(parkedAgain, 4, 'p.'), 101), topic: 'in' }, 'f'), 'one address a copy: of who parked it last')
})
