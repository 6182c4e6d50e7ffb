import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { CHUNK_RECORDS_MAX } from '../../streams/chunks.ts'
import { createPartitionLoop } from '../../streams/partition-loop.ts'
import { NO_EFFECTS, type Effects, type PartitionProcessor } from '../../streams/processor.ts'
import { createRetries } from '../../streams/retries.ts'
import { committedAt, partitionWorld, settle, valueOf, type PartitionWorld } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

const out = (text: string) => ({ topic: 'out', key: null, value: Buffer.from(text) })

/** Echoes records in two batches per call; `'hold'` holds while `isHolding`, `'crash'` throws. */
function echo(state: { isHolding?: boolean; timers?: boolean[] } = {}): PartitionProcessor & { calls: number[] } {
  let nextOffset = 0n
  const calls: number[] = []
  return {
    calls,
    needs: [],
    begin: () => ({ nextOffset: 'start', effects: NO_EFFECTS }),
    process: (records, readTo): Effects => {
      calls.push(records.length)
      for (const r of records) {
        if (valueOf(r) === 'hold' && state.isHolding === true) throw new SluiceError('SLU_EGRESS_HOLD', 'r')
        if (valueOf(r) === 'crash') throw new TypeError('defect')
      }
      nextOffset = readTo
      const texts = records.map(valueOf)
      return {
        ...NO_EFFECTS,
        batches: [
          { fenced: false, records: texts.map((x) => out(`1${x}`)) },
          { fenced: false, records: texts.map((x) => out(`2${x}`)) },
        ],
        deadLetters: records.filter((r) => valueOf(r) === 'bad').map((r) => ({ record: r, error: new SluiceError('SLU_RECORD_REFUSED', ''), stage: 'handle' as const })),
        late: records.filter((r) => valueOf(r) === 'late'),
        handled: records.length,
      }
    },
    checkpoint: () => ({ nextOffset, metadata: 'm' }),
    onTimer: (_now, atEnd) => {
      state.timers?.push(atEnd)
      return NO_EFFECTS
    },
  }
}

function loopOf(w: PartitionWorld, processor: PartitionProcessor, effects = NO_EFFECTS, end: () => bigint | null = () => null) {
  return createPartitionLoop({
    environment: w.environment,
    topic: 'in',
    partition: 0,
    processor,
    committed: committedAt(0n),
    first: { nextOffset: 0n, effects },
    sink: w.sink,
    fenced: null,
    abort: w.abort,
    endOffset: end,
    transactional: null,
    parking: null,
    retries: createRetries(5, () => 0),
    aligned: null,
  })
}
const records = (...values: string[]) => values.map((value, i) => record(i, { value }))

test('partition loop: each batch is acknowledged before the next, and the first effects before any record (W7)', async (t) => {
  const w = partitionWorld()
  const gates: (() => void)[] = []
  w.refuse = () => new Promise<void>((resolve) => gates.push(resolve))
  const loop = loopOf(w, echo(), { ...NO_EFFECTS, batches: [{ fenced: false, records: [out('first')] }] })
  loop.take(records('a', 'b'), 2n)
  for (const expected of [['first'], ['1a', '1b'], ['2a', '2b']]) {
    await settle()
    t.is(gates.length, 1)
    t.is(loop.uncommitted(), null)
    gates.pop()?.()
    await settle()
    t.deepEqual(w.sent.splice(0).map(valueOf), expected)
  }
  t.deepEqual(loop.uncommitted(), { nextOffset: 2n, metadata: 'm' })
})

test('partition loop: late records are acknowledged before the batches, so that no marker calls read what is written nowhere (W2, W7)', async (t) => {
  const w = partitionWorld()
  w.refuse = (r) => (r[0]?.topic === 'in.late' ? new SluiceError('SLU_LOG_UNREACHABLE', '') : null)
  loopOf(w, echo()).take(records('late'), 1n)
  await settle()
  t.deepEqual(w.sent, [])
  w.refuse = () => null
  await w.clock.advance(3000)
  t.deepEqual(
    w.sent.map((r) => r.topic),
    ['in.late', 'out', 'out'],
  )
})

test('partition loop: dead letters are acknowledged before the batches, so that no state row says done of a record that is written nowhere (C8, D2)', async (t) => {
  const w = partitionWorld()
  w.refuse = (r) => (r[0]?.topic === 'in.dlq' ? new SluiceError('SLU_LOG_UNREACHABLE', '') : null)
  loopOf(w, echo()).take(records('bad'), 1n)
  await settle()
  t.deepEqual(w.sent, [])
  w.refuse = () => null
  await w.clock.advance(3000)
  t.deepEqual(
    w.sent.map((r) => r.topic),
    ['in.dlq', 'out', 'out'],
  )
})

test('partition loop: nothing is committable before late records and dead letters are acknowledged (C1, D2)', async (t) => {
  const w = partitionWorld()
  w.refuse = (r) => (r[0]?.topic === 'in.dlq' ? new SluiceError('SLU_LOG_UNREACHABLE', '') : null)
  const loop = loopOf(w, echo())
  loop.take(records('late', 'bad'), 2n)
  await settle()
  t.is(w.stats.late, 1)
  t.is(loop.uncommitted(), null)
  t.is(loop.status().code, 'SLU_LOG_DLQ_UNWRITABLE')
  loop.take([record(2, { value: 'behind' })], 3n)
  await w.clock.advance(3000)
  t.false(w.sent.some((r) => valueOf(r).endsWith('behind')))
  w.refuse = () => null
  await w.clock.advance(3000)
  t.deepEqual(loop.uncommitted(), { nextOffset: 3n, metadata: 'm' })
  t.is(w.stats.deadLetters, 1)
})

test('partition loop: a hold keeps the records and asks again until it is gone; nothing behind goes first', async (t) => {
  const w = partitionWorld()
  const state = { isHolding: true }
  const loop = loopOf(w, echo(state))
  loop.take(records('a', 'hold'), 2n)
  await w.clock.advance(5000)
  t.is(loop.status().code, 'SLU_EGRESS_HOLD')
  t.deepEqual(w.sent, [])
  state.isHolding = false
  await w.clock.advance(5000)
  t.false(loop.status().isHeld)
  t.deepEqual(loop.uncommitted()?.nextOffset, 2n)
})

test('partition loop: a defect of the processor stops the process and commits nothing past it', async (t) => {
  const w = partitionWorld()
  const loop = loopOf(w, echo())
  loop.take(records('a', 'crash'), 2n)
  await settle()
  t.is(w.fatal[0]?.code, 'SLU_INTERNAL')
  t.true(loop.status().isHeld)
  t.is(loop.uncommitted(), null)
})

test('partition loop: stopping intake finishes the chunk in hand and starts no other (C4)', async (t) => {
  const w = partitionWorld()
  const gates: (() => void)[] = []
  w.refuse = () => new Promise<void>((resolve) => gates.push(resolve))
  const loop = loopOf(w, echo())
  loop.take(records('a'), 1n)
  await settle()
  loop.take([record(1, { value: 'b' })], 2n)
  loop.stopIntake()
  let isSettled = false
  void loop.settled().then(() => (isSettled = true))
  await settle()
  t.false(isSettled)
  while (gates.length > 0) {
    gates.pop()?.()
    await settle()
  }
  t.true(isSettled)
  t.deepEqual(w.sent.map(valueOf), ['1a', '2a'])
  t.is(loop.uncommitted()?.nextOffset, 1n)
})

test('partition loop: after close nothing more is sent (C3)', async (t) => {
  const w = partitionWorld()
  w.refuse = () => new SluiceError('SLU_LOG_UNREACHABLE', '')
  const loop = loopOf(w, echo())
  loop.take(records('a'), 1n)
  await settle()
  await loop.close()
  w.refuse = () => null
  await w.clock.advance(60_000)
  t.deepEqual(w.sent, [])
  t.is(loop.uncommitted(), null)
})

test('partition loop: large deliveries are cut, so that one call never holds the event loop', async (t) => {
  const w = partitionWorld()
  const processor = echo()
  const loop = loopOf(w, processor)
  loop.take(
    Array.from({ length: CHUNK_RECORDS_MAX * 2 + 1 }, (_, i) => record(i, { value: 'x' })),
    1000n,
  )
  await settle()
  await settle()
  t.deepEqual(processor.calls, [CHUNK_RECORDS_MAX, CHUNK_RECORDS_MAX, 1])
  t.is(loop.uncommitted()?.nextOffset, 1000n)
  t.deepEqual(loop.load(), { records: 0, bytes: 0, tracked: 0 })
})

test('partition loop: the timer says `at end` only when the position is the end and nothing is queued (W8)', async (t) => {
  const w = partitionWorld()
  const timers: boolean[] = []
  let end: bigint | null = null
  const loop = loopOf(w, echo({ timers }), NO_EFFECTS, () => end)
  for (const next of [null, 1n, 0n]) {
    end = next
    loop.onTimer(0, 0)
    await settle()
  }
  t.deepEqual(timers, [false, false, true])
})

test('partition loop: a chunk is one span linked to at most 32 producers, and what it emits carries the span', async (t) => {
  const w = partitionWorld()
  const loop = loopOf(w, echo())
  loop.take(
    Array.from({ length: 40 }, (_, i) => record(i, { value: 'x', headers: [['traceparent', Buffer.from(`00-${i}`)]] })),
    40n,
  )
  await settle()
  t.is(w.spans.length, 1)
  t.is(w.spans[0]?.links?.length, 32)
  t.deepEqual(w.sent[0]?.headers, [['traceparent', Buffer.from('00-span1')]])
  t.true(w.measured.some((m) => m.name === 'messaging.process.duration'))
})

test('partition loop: a tick that the log forbids is left out, and the partition goes on and says so; once permitted it says so no more (W8)', async (t) => {
  const w = partitionWorld()
  const tick = { topic: 'in', partition: 0, key: null, value: null }
  const loop = loopOf(w, { ...echo(), onTimer: () => ({ ...NO_EFFECTS, tick }) }, NO_EFFECTS, () => 0n)
  w.refuse = (r) => (r[0]?.topic === 'in' ? new SluiceError('SLU_LOG_FORBIDDEN', 'in') : null)
  loop.onTimer(w.clock.nowMs(), 0)
  await settle()
  t.like(loop.status(), { isHeld: false, isIdle: true, code: 'SLU_LOG_FORBIDDEN' })
  t.regex(loop.status().reason ?? '', /no idle closing/)
  loop.take(records('a'), 1n)
  await settle()
  t.is(loop.uncommitted()?.nextOffset, 1n, 'what comes is handled and committable')
  w.refuse = () => null
  loop.onTimer(w.clock.nowMs(), 0)
  await settle()
  t.is(loop.status().reason, undefined)
})
