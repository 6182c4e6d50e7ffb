import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { Committed, OutRecord } from '../../schemas/log.ts'
import { createTransactionalSink } from '../../streams/transactional-sink.ts'
import { partitionWorld, settle, valueOf } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

const at = (nextOffset: bigint): Committed => ({ nextOffset, metadata: '' })
const out = (offset: number, value: string) => ({ topic: 'out', key: null, value: Buffer.from(value), source: record(offset, { value: `source${offset}` }) })
const parked = (offset: number) => ({ record: record(offset, { value: `source${offset}` }), error: new SluiceError('SLU_RECORD_REFUSED', 'why'), stage: 'handle' as const })

/** A writer that refuses a transaction holding a record larger than `bytesMax`, headers counted. */
function world(bytesMax = Infinity, holdsState = false) {
  const w = partitionWorld()
  const written: string[] = []
  const size = (r: OutRecord): number => (r.value?.length ?? 0) + (r.headers ?? []).reduce((sum, [, value]) => sum + value.length, 0)
  const sink = createTransactionalSink(
    w.sink,
    {
      write: (records, to) => {
        if (records.some((r) => size(r) > bytesMax)) return Promise.reject(new SluiceError('SLU_LOG_RECORD_TOO_LARGE', ''))
        written.push(`${records.map((r) => `${r.topic}:${valueOf(r).slice(0, 8)}`).join(' ')} → ${to?.nextOffset ?? '-'}`)
        return Promise.resolve()
      },
    },
    holdsState,
  )
  return { w, written, sink }
}

test('transactional sink: outputs, dead letters and offset are one transaction, counted once', async (t) => {
  const { w, written, sink } = world()
  await sink.write({ outgoing: [out(0, 'a'), out(1, 'b')], deadLetters: [parked(2)] }, at(4n))
  t.deepEqual(written, ['out:a out:b in.dlq:source2 → 4'])
  t.deepEqual([w.stats.out, w.stats.deadLetters], [2, 1])
  await sink.write({ outgoing: [], deadLetters: [] }, null)
  t.is(written.length, 1, 'nothing is no transaction')
})

test('transactional sink: what is too large divides the transaction by source record, in offset order, and only the record at fault is parked (D6)', async (t) => {
  const { w, written, sink } = world(4000)
  const large = { ...out(1, 'x'), value: Buffer.alloc(5000, 'x') }
  await sink.write({ outgoing: [out(0, 'a'), out(1, 'b'), large, out(3, 'd')], deadLetters: [parked(2)] }, at(9n))
  t.deepEqual(written, ['out:a → 1', 'in.dlq:source1 → 2', 'in.dlq:source2 → 3', 'out:d → 4', ' → 9'])
  t.deepEqual([w.stats.out, w.stats.deadLetters], [2, 2])
})

test('transactional sink: of a fold only the largest is left out, never the state row with it (C8)', async (t) => {
  const { w, written, sink } = world(4000, true)
  const large = { ...out(1, 'x'), value: Buffer.alloc(5000, 'x') }
  await sink.write({ outgoing: [out(0, 'a'), out(1, 'row'), large], deadLetters: [] }, at(2n))
  t.deepEqual(written, ['out:a → 1', 'out:row in.dlq:source1 → 2'])
  t.deepEqual([w.stats.out, w.stats.deadLetters], [2, 1])
  const narrow = world(900, true)
  await narrow.sink.write({ outgoing: [out(1, 'row'), { ...large, value: Buffer.alloc(1000, 'x') }, { ...large, value: Buffer.alloc(1200, 'y') }], deadLetters: [] }, at(2n))
  t.deepEqual(narrow.written, ['out:row in.dlq:source1 → 2'])
})

test('transactional sink: a dead letter too large with all headers goes in the short form; one that fits in no form holds the partition (D3)', async (t) => {
  const short = world(900)
  const one = { ...parked(0), record: record(0, { value: 'v'.repeat(500) }) }
  await short.sink.write({ outgoing: [], deadLetters: [one] }, at(1n))
  t.deepEqual(short.written, ['in.dlq:vvvvvvvv → 1'])
  const none = world(100)
  const writing = none.sink.write({ outgoing: [], deadLetters: [one] }, at(1n))
  await settle()
  t.is(none.w.sink.held()?.code, 'SLU_LOG_DLQ_UNWRITABLE')
  t.deepEqual(none.written, [])
  none.w.abort.abort()
  await none.w.clock.advance(2000)
  await t.throwsAsync(writing, { message: /SLU_LOG_STALE_EPOCH/ })
})

test('transactional sink: emits of no record that are too large are an error by name, never dropped', async (t) => {
  const { sink } = world(4000)
  const tick = { topic: 'out', key: null, value: Buffer.alloc(5000) }
  await t.throwsAsync(sink.write({ outgoing: [tick], deadLetters: [] }, null), { message: /SLU_LOG_FAILED.*without source/ })
})
