import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { createFoldProcessor, sourcePartitionOf, versionOf } from '../../streams/fold.ts'
import { defineFunction, type FunctionContext } from '../../streams/define-function.ts'
import type { Effects, Outgoing } from '../../streams/processor.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { record } from '../helpers/records.ts'

const context: FunctionContext = { site: 's', codecs: testCodecs(), nowMs: () => 0 }

/** Counts records per key; every count is a row of the state topic. */
const counting = (statesMax = 10) =>
  defineFunction({
    kind: 'fold',
    name: 'counting',
    inputs: ['in'],
    outputs: ['counts'],
    stateTopic: 'counts',
    statesMax,
    decode: (r) => r.value?.toString() ?? '',
    keyOf: (_value, r) => r.key?.toString() ?? '',
    initial: () => 0,
    fold: (state: number, value: string, r) => {
      if (value === 'hold') throw new SluiceError('SLU_EGRESS_HOLD', '')
      if (value === 'bug') throw new TypeError('bug')
      return [state + 1, [{ to: 'topic', topic: 'counts', key: r.key, value: Buffer.from(String(state + 1)) }]]
    },
    restore: (row) => {
      if (row.key === null) throw new TypeError('hostile row')
      return { key: row.key.toString(), merge: () => Number(row.value) }
    },
    tick: { everyMs: 1000, run: (state: number, key) => [state, key === 'silent' ? [{ to: 'topic', topic: 'counts', key, value: Buffer.from(`${state}!`) }] : []] },
  })

const fold = (statesMax?: number) => createFoldProcessor<string, number>(counting(statesMax), context, 0, () => undefined)
const rowsOf = (effects: Effects): string[] => effects.batches.flatMap((b) => b.records).map((r) => `${r.key?.toString()}=${r.value?.toString()}`)
const asRow = (o: Outgoing, at: number): LogRecord => record(at, { topic: 'counts', key: o.key, value: o.value, headers: [...(o.headers ?? [])] })
const many = (keys: string, from = 0): LogRecord[] => keys.split('').map((key, i) => record(from + i, { key, value: 'x' }))

test('fold: every emit is fenced and carries the source offset as its version (C8)', (t) => {
  const processor = fold()
  processor.begin(null, new Map())
  const effects = processor.process(many('ab', 5), 7n)
  t.true(effects.batches.every((b) => b.fenced))
  t.deepEqual(
    effects.batches[0]?.records.map((r, i) => versionOf(asRow(r, i), 0)?.offset),
    [5n, 6n],
  )
  t.is(versionOf(asRow(effects.batches[0]?.records[0] as Outgoing, 0), 1), null)
})

test('fold: rows handed over one by one rebuild the same state, and a reading that failed half way begins anew (C8)', (t) => {
  const first = fold()
  first.begin(null, new Map())
  const rows = first.process(many('abab'), 4n).batches.flatMap((b) => b.records.map(asRow))
  const second = fold()
  const broken = second.restore?.()
  for (const row of [record(0, { topic: 'counts', key: 'c', value: '9' }), record(1, { topic: 'counts', value: 'hostile' }), ...rows]) broken?.(row)
  const again = second.restore?.()
  for (const row of rows) again?.(row)
  second.begin({ nextOffset: 4n, metadata: '' }, new Map())
  t.deepEqual(rowsOf(second.process(many('abc', 4), 7n)), ['a=3', 'b=3', 'c=1'])
})

test('fold: a row says which input partition it derives from; what is none of ours says nothing', (t) => {
  const processor = fold()
  processor.begin(null, new Map())
  const [row] = processor.process(many('a'), 1n).batches.flatMap((b) => b.records.map(asRow))
  t.is(sourcePartitionOf(row as LogRecord), 0)
  t.is(sourcePartitionOf(record(0)), null)
  t.is(sourcePartitionOf(record(0, { headers: [['sluice.source.partition', Buffer.from('-1')]] })), null)
})

test('fold: rebuilt from its rows, a replay after a crash between transaction and commit folds nothing twice (C8)', (t) => {
  const first = fold()
  first.begin(null, new Map())
  const rows = first.process(many('abab'), 4n).batches.flatMap((b) => b.records.map(asRow))
  const second = fold()
  second.begin({ nextOffset: 1n, metadata: '' }, new Map([['counts', rows]]))
  const replay = second.process([...many('bab', 1), ...many('b', 4)], 5n)
  t.deepEqual(rowsOf(replay), ['b=3'])
  t.is(replay.skipped, 3)
})

test('fold: a topic made anew, whose offsets begin again, is not taken for a replay (C8)', (t) => {
  const first = fold()
  const rows = first.process(many('aaa', 100), 103n).batches.flatMap((b) => b.records.map(asRow))
  const second = fold()
  second.begin(null, new Map([['counts', rows]]))
  t.deepEqual(rowsOf(second.process([record(0, { key: 'a', value: 'x', appendMs: 1_800_000_000_000 })], 1n)), ['a=4'])
})

test('fold: hostile rows of the state topic are reported once, the others are restored; no start parks them again (D6)', (t) => {
  const reports: SluiceError[] = []
  const processor = createFoldProcessor<string, number>(counting(), context, 0, (error) => void reports.push(error))
  const hostile = [0, 1].map((at) => record(at, { topic: 'counts', value: 'x' }))
  const { effects } = processor.begin(null, new Map([['counts', [...hostile, record(2, { topic: 'counts', key: 'a', value: '7' })]]]))
  t.deepEqual(effects.deadLetters, [])
  t.deepEqual(
    reports.map((r) => [r.code, r.detail.startsWith('2 rows of counts')]),
    [['SLU_RECORD_UNDECODABLE', true]],
  )
  t.deepEqual(rowsOf(processor.process(many('a'), 1n)), ['a=8'])
})

test('fold: a record that fails leaves its state untouched; a hold puts back every state of the call (D6)', (t) => {
  const processor = fold()
  t.deepEqual(rowsOf(processor.process([...many('a'), record(1, { key: 'a', value: 'bug' })], 2n)), ['a=1'])
  t.throws(() => processor.process([...many('ab', 2), record(4, { key: 'a', value: 'hold' })], 5n), { message: /SLU_EGRESS_HOLD/ })
  t.deepEqual(rowsOf(processor.process(many('ab', 2), 4n)), ['a=2', 'b=1'])
})

test('fold: a call held and made again still knows what the restored rows hold, and folds none of it twice (C8)', (t) => {
  const rows = fold()
    .process(many('aa'), 2n)
    .batches.flatMap((b) => b.records.map(asRow))
  const processor = fold()
  processor.begin({ nextOffset: 1n, metadata: '' }, new Map([['counts', rows]]))
  const again = [record(1, { key: 'a', value: 'x' }), record(2, { key: 'a', value: 'x' }), record(3, { key: 'b', value: 'hold' })]
  t.throws(() => processor.process(again, 4n), { message: /SLU_EGRESS_HOLD/ })
  t.deepEqual(rowsOf(processor.process(again.slice(0, 2), 3n)), ['a=3'])
  const parked = fold()
  parked.begin({ nextOffset: 1n, metadata: '' }, new Map([['counts', rows]]))
  t.deepEqual(rowsOf(parked.process([record(2, { key: 'a', value: 'bug' })], 3n)), [])
  t.deepEqual(rowsOf(parked.process([record(1, { key: 'a', value: 'x' })], 3n)), [])
})

test('fold: a key beyond the bound holds the partition; no state is dropped and begins anew, which would replace its good row (C6, C8)', (t) => {
  const processor = fold(2)
  t.deepEqual(rowsOf(processor.process(many('aba'), 3n)), ['a=1', 'b=1', 'a=2'])
  for (const _ of [1, 2]) t.throws(() => processor.process(many('abc', 3), 6n), { message: /SLU_HANDLER_STATE_FULL.*statesMax 2/ })
  t.deepEqual(rowsOf(processor.process(many('ab', 3), 5n)), ['a=3', 'b=2'])
  t.deepEqual(processor.checkpoint(), { nextOffset: 5n, metadata: '' })
})

test('fold: more rows than states may be held: a record of a key left out holds the partition and never begins anew; what is held has all its rows (C6, C8)', (t) => {
  const processor = fold(2)
  const restore = processor.restore?.()
  for (const [at, key] of ['a', 'b', 'c', 'a'].entries()) restore?.(record(at, { topic: 'counts', key, value: String(at) }))
  processor.begin(null, new Map())
  t.throws(() => processor.process(many('abc'), 3n), { message: /SLU_HANDLER_STATE_FULL/ })
  t.deepEqual(rowsOf(processor.process(many('ab'), 2n)), ['a=4', 'b=2'])
})

test('fold: its tick runs every `everyMs`, never more often, and its emits are fenced too (C8)', (t) => {
  const processor = fold()
  processor.process([record(0, { key: 'silent', value: 'x' })], 1n)
  t.deepEqual(rowsOf(processor.onTimer?.(5000, true) as Effects), ['silent=1!'])
  t.deepEqual(rowsOf(processor.onTimer?.(5999, true) as Effects), [])
  const again = processor.onTimer?.(6000, true) as Effects
  t.deepEqual(rowsOf(again), ['silent=1!'])
  t.true(again.batches[0]?.fenced)
})

test('fold: a tick’s row of a state not folded since it was restored keeps the version of that row, so that no successor folds it again (C8)', (t) => {
  const rows = [0, 1].map((at) => record(at, { key: 'silent', value: 'x' }))
  const written = fold()
    .process([...rows, ...many('b', 2)], 3n)
    .batches.flatMap((b) => b.records.map(asRow))
  const processor = fold()
  processor.begin({ nextOffset: 0n, metadata: '' }, new Map([['counts', written]]))
  const versionAt = (ms: number) => processor.onTimer?.(ms, true).batches.flatMap((b) => b.records.map((o) => versionOf(asRow(o, 9), 0)?.offset))
  t.deepEqual(versionAt(5000), [1n])
  processor.process([record(5, { key: 'silent', value: 'x' }), ...many('b', 6)], 7n)
  t.deepEqual(versionAt(9000), [6n])
})

test('fold: a clock set back does not silence its tick', (t) => {
  const processor = fold()
  processor.process([record(0, { key: 'silent', value: 'x' })], 1n)
  t.is(rowsOf(processor.onTimer?.(3_600_000, true) as Effects).length, 1)
  t.is(rowsOf(processor.onTimer?.(10, true) as Effects).length, 1)
  t.is(rowsOf(processor.onTimer?.(1009, true) as Effects).length, 0)
})

test('fold: a copy that another function parked is skipped, its state is as it was (D5)', (t) => {
  const p = fold()
  p.begin(null, new Map())
  const effects = p.process([record(0, { key: 'a', value: 'x' }), record(1, { key: 'a', value: 'x', headers: [['sluice.redrive.for', Buffer.from('other/in')]] })], 2n)
  t.deepEqual([rowsOf(effects), effects.skipped, p.checkpoint().nextOffset], [['a=1'], 1, 2n])
})

test('fold: one that returns a promise makes dead letters that say so and leaves its state as it was (D6)', (t) => {
  const later = { ...counting(), fold: () => Promise.reject(new Error('async poison')) as never }
  const processor = createFoldProcessor<string, number>(later, context, 0, () => undefined)
  t.regex(processor.process(many('a'), 1n).deadLetters[0]?.error.message ?? '', /SLU_HANDLER_FAILED.*fold returned a promise/)
})

test('fold: as many emits as a fold or a tick makes at once are sent or parked, never the end of the process (C8, D6)', (t) => {
  const many = Array.from({ length: 300_000 }, () => ({ to: 'topic', topic: 'counts', key: null, value: null }) as const)
  const parked = Array.from({ length: 300_000 }, () => ({ to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason: '' }) as const)
  const reports: SluiceError[] = []
  const definition = defineFunction({
    ...counting(),
    fold: (state: number, value: string) => [state + 1, value === 'out' ? many : parked] as const,
    tick: { everyMs: 1000, run: (state: number) => [state, many] as const },
  })
  const processor = createFoldProcessor(definition, context, 0, (error) => reports.push(error))
  processor.begin(null, new Map())
  const { batches, deadLetters, handled } = processor.process([record(0, { key: 'a', value: 'out' }), record(1, { key: 'a', value: 'parked' })], 2n)
  t.deepEqual([batches[0]?.records.length, deadLetters.length, handled], [300_000, 300_000, 2])
  t.is(processor.onTimer?.(1000, true).batches[0]?.records.length, 300_000)
  t.deepEqual(reports, [])
})
