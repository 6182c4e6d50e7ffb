import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { OutRecord } from '../../schemas/log.ts'
import { partitionWorld, settle, valueOf } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

const out = (text: string, source?: ReturnType<typeof record>) => ({ topic: 'out', key: null, value: Buffer.from(text), ...(source === undefined ? {} : { source }) })
const parked = (offset: number) => ({ record: record(offset, { value: `v${offset}` }), error: new SluiceError('SLU_RECORD_REFUSED', ''), stage: 'handle' as const })

test('partition sink: an unreachable log is tried again in place, order kept, nobody’s tries spent (C5, D1)', async (t) => {
  const w = partitionWorld()
  let refusals = 7
  w.refuse = () => (refusals-- > 0 ? new SluiceError('SLU_LOG_UNREACHABLE', '') : null)
  const both = w.sink.send([out('a'), out('b')])
  await w.clock.advance(20_000)
  await both
  t.deepEqual(w.sent.map(valueOf), ['a', 'b'])
  t.is(w.stats.retries, 7)
  t.is(w.sink.held(), null)
})

test('partition sink: a broker that is away and not in the bootstrap list is waited for like any other, never the end of the process (C5)', async (t) => {
  const w = partitionWorld()
  let refusals = 3
  w.refuse = () => (refusals-- > 0 ? new SluiceError('SLU_LOG_ADVERTISED', '') : null)
  const sending = w.sink.send([out('a')])
  await w.clock.advance(20_000)
  await sending
  t.deepEqual(w.sent.map(valueOf), ['a'])
  t.deepEqual(w.fatal, [])
  t.is(w.sink.held(), null)
})

test('partition sink: while the DLQ cannot be written it alarms and waits; it goes on by itself, nothing lost (D3)', async (t) => {
  const w = partitionWorld()
  let isDown = true
  w.refuse = (records) => (isDown && records[0]?.topic === 'in.dlq' ? new SluiceError('SLU_LOG_FORBIDDEN', 'in.dlq') : null)
  let isWritten = false
  const writing = w.sink.deadLetters([parked(1), parked(2)]).then(() => (isWritten = true))
  await w.clock.advance(5000)
  t.is(w.sink.held()?.code, 'SLU_LOG_DLQ_UNWRITABLE')
  t.false(isWritten)
  isDown = false
  await w.clock.advance(5000)
  await writing
  t.is(w.sink.held(), null)
  t.deepEqual(w.sent.map(valueOf), ['v1', 'v2'])
  t.is(w.stats.deadLetters, 2)
})

test('partition sink: a write that succeeds after a refusal does not end the hold of a dead letter that still cannot be written (D3)', async (t) => {
  const w = partitionWorld()
  let refusals = 1
  let isDown = true
  w.refuse = (records) => ((records[0]?.topic === 'in.dlq' ? isDown : refusals-- > 0) ? new SluiceError('SLU_LOG_UNREACHABLE', '') : null)
  const letters = [w.sink.deadLetters([parked(1)]), w.sink.deadLetters([parked(2)])]
  const sending = w.sink.send([out('a')])
  await w.clock.advance(60)
  await sending
  t.is(w.sink.held()?.code, 'SLU_LOG_DLQ_UNWRITABLE')
  isDown = false
  await w.clock.advance(5000)
  await Promise.all(letters)
  t.is(w.sink.held(), null)
})

test('partition sink: what one record makes stays in one transaction when another’s is too large; of its own only the largest is left out (C8)', async (t) => {
  const w = partitionWorld()
  const written: string[][] = []
  const write = async (records: readonly OutRecord[]) => {
    if (records.some((r) => valueOf(r).length > 5)) throw new SluiceError('SLU_LOG_RECORD_TOO_LARGE', '')
    written.push(records.map(valueOf))
    return []
  }
  const [first, second] = [record(1, { value: 'one' }), record(2, { value: 'two' })]
  await w.sink.send([out('row1', first), out('evt1', first), out('row2', second), out('too large', second), out('evt2', second)], write)
  t.deepEqual(written, [
    ['row1', 'evt1'],
    ['row2', 'evt2'],
  ])
  t.deepEqual(
    w.sent.map((r) => `${r.topic}:${valueOf(r)}`),
    ['in.dlq:two'],
  )
})

test('partition sink: a record the log refuses as too large is parked through its source, the others are written (D6)', async (t) => {
  const w = partitionWorld()
  w.refuse = (records) => (records.some((r) => valueOf(r) === 'big') ? new SluiceError('SLU_LOG_RECORD_TOO_LARGE', '') : null)
  await w.sink.send([out('a', record(1)), out('big', record(2, { value: 'source' })), out('c', record(3))])
  t.deepEqual(
    w.sent.map((r) => `${r.topic}:${valueOf(r)}`),
    ['out:a', 'in.dlq:source', 'out:c'],
  )
  await t.throwsAsync(w.sink.send([out('big')]), { message: /SLU_LOG_FAILED/ })
})

test('partition sink: a dead letter too large with all its headers is written with the short ones, never dropped (D3, D6)', async (t) => {
  const w = partitionWorld()
  w.refuse = (records) => ((records[0]?.headers?.length ?? 0) > 8 ? new SluiceError('SLU_LOG_RECORD_TOO_LARGE', '') : null)
  await w.sink.deadLetters([parked(1)])
  t.is(w.sent.length, 1)
  t.false(w.sent[0]?.headers?.some(([name]) => name.endsWith('stacktrace')))
})

for (const topic of ['out', 'in.dlq'])
  test(`partition sink: while ${topic} is gone the partition is held, never the process ended; once it is there again all is written (B6, D3)`, async (t) => {
    const w = partitionWorld()
    let isGone = true
    w.refuse = (records) => (isGone && records[0]?.topic === topic ? new SluiceError('SLU_LOG_TOPIC_MISSING', topic) : null)
    const writing = Promise.all([w.sink.send([out('a')]), w.sink.deadLetters([parked(1)])])
    await w.clock.advance(20_000)
    t.is(w.sink.held()?.code, topic === 'out' ? 'SLU_LOG_TOPIC_MISSING' : 'SLU_LOG_DLQ_UNWRITABLE')
    t.regex(w.sink.held()?.message ?? '', topic === 'out' ? /: out$/ : /SLU_LOG_TOPIC_MISSING/)
    isGone = false
    await w.clock.advance(60_000)
    await writing
    t.is(w.sink.held(), null)
    t.deepEqual(w.sent.map(valueOf).toSorted(), ['a', 'v1'])
    t.deepEqual(w.fatal, [])
  })

test('partition sink: a dead letter that fits in no form holds the partition and says what would help; once it helps, it is written (D3, W9)', async (t) => {
  const w = partitionWorld()
  let bytesMax = 1000
  w.refuse = (records) => (records.some((r) => (r.value?.length ?? 0) > bytesMax) ? new SluiceError('SLU_LOG_RECORD_TOO_LARGE', '') : null)
  const large = { ...parked(1), record: record(1, { value: 'x'.repeat(20_000) }) }
  const writing = w.sink.deadLetters([large])
  await w.clock.advance(5000)
  t.is(w.sink.held()?.message, 'SLU_LOG_DLQ_UNWRITABLE: a dead letter could not be written: it is too large: raise max.message.bytes of in.dlq to 24576')
  bytesMax = 24_576
  await w.clock.advance(60_000)
  await writing
  t.is(w.sink.held(), null)
  t.is(w.sent[0]?.value?.length, 20_000)
})

test('partition sink: dead letters and late records may be packed: what they keep may have come packed (D2)', async (t) => {
  const w = partitionWorld()
  await w.sink.deadLetters([parked(1)])
  await w.sink.late([record(2)])
  await w.sink.send([out('a')])
  t.deepEqual(
    w.sent.map((r) => [r.topic, r.mayPack]),
    [
      ['in.dlq', true],
      ['in.late', true],
      ['out', undefined],
    ],
  )
})

test('partition sink: a late record that the log refuses as too large is parked, the others are kept; it never stops the partition (W2, D6)', async (t) => {
  const w = partitionWorld()
  w.refuse = (records) => (records.some((r) => r.topic === 'in.late' && valueOf(r) === 'big') ? new SluiceError('SLU_LOG_RECORD_TOO_LARGE', '') : null)
  await w.sink.late([record(1, { value: 'a' }), record(2, { value: 'big' }), record(3, { value: 'c' })])
  t.deepEqual(
    w.sent.map((r) => `${r.topic}:${valueOf(r)}`),
    ['in.late:a', 'in.dlq:big', 'in.late:c'],
  )
  t.deepEqual([w.stats.late, w.stats.deadLetters], [2, 1])
})

test('partition sink: after the partition is closed nothing is written, a waiting retry included (C3)', async (t) => {
  const w = partitionWorld()
  w.refuse = () => new SluiceError('SLU_LOG_UNREACHABLE', '')
  const sending = t.throwsAsync(w.sink.send([out('a')]), { message: /SLU_LOG_STALE_EPOCH/ })
  await settle()
  w.abort.abort()
  w.refuse = () => null
  await sending
  await t.throwsAsync(w.sink.send([out('b')]), { message: /SLU_LOG_STALE_EPOCH/ })
  t.deepEqual(w.sent, [] as OutRecord[])
})

test('partition sink: a fatal answer of the log is told once it is met, and nothing is given up as written', async (t) => {
  const w = partitionWorld()
  w.refuse = () => new SluiceError('SLU_LOG_AUTH', '')
  let isSent = false
  void w.sink.send([out('a')]).then(
    () => (isSent = true),
    () => undefined,
  )
  await settle()
  t.is(w.fatal[0]?.code, 'SLU_LOG_AUTH')
  t.false(isSent)
  w.abort.abort()
})

test('partition sink: who holds the partition ends its own hold only; what ended it stands, whatever else begins or ends (B6)', async (t) => {
  const w = partitionWorld()
  const [one, other] = [{}, {}]
  w.sink.hold(one, new SluiceError('SLU_EGRESS_HOLD', 'one'))
  w.sink.hold(other, new SluiceError('SLU_EGRESS_HOLD', 'other'))
  t.regex(w.sink.held()?.message ?? '', /other/)
  let refusals = 1
  w.refuse = () => (refusals-- > 0 ? new SluiceError('SLU_LOG_FORBIDDEN', 'out') : null)
  const sending = w.sink.send([out('a')])
  await settle()
  t.is(w.sink.held()?.code, 'SLU_LOG_FORBIDDEN')
  await w.clock.advance(5000)
  await sending
  w.sink.hold(other, null)
  t.regex(w.sink.held()?.message ?? '', /one/)
  w.sink.end(new SluiceError('SLU_LOG_TRUNCATED', 'in/0 at 1'))
  w.sink.hold(one, null)
  w.sink.hold(other, new SluiceError('SLU_EGRESS_HOLD', 'other'))
  w.sink.hold(other, null)
  t.is(w.sink.held()?.code, 'SLU_LOG_TRUNCATED')
})
