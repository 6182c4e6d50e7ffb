import fc from 'fast-check'
import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { createAlignment, PATIENCE_MS, type AlignedPartition } from '../../streams/alignment.ts'
import { defineFunction, type MapFunction } from '../../streams/define-function.ts'
import { runnerWorld } from '../helpers/runner-world.ts'

type Head = ReturnType<AlignedPartition['head']>

function members(heads: Head[], leadMs = 10) {
  let nowMs = 0
  const pumped: number[] = []
  const alignment = createAlignment(leadMs, () => nowMs)
  const leave = heads.map((_, i) => alignment.join({ head: () => heads[i] as Head, pump: () => void pumped.push(i) }))
  return { alignment, leave, pumped, heads, pass: (ms: number) => void (nowMs += ms) }
}

test('alignment: only what is within the lead of the oldest record may go on, and only that is told', (t) => {
  const m = members([100, 110, 111])
  t.deepEqual(
    [100, 110, 111].map((head) => m.alignment.mayRun(head)),
    [true, true, false],
  )
  m.alignment.changed()
  t.deepEqual(m.pumped, [0, 1])
  m.heads[0] = 'end'
  t.true(m.alignment.mayRun(111))
})

test('alignment: a partition with more in its log is waited for, never for longer than the patience', (t) => {
  const m = members(['behind', 50])
  t.false(m.alignment.mayRun(50))
  m.pass(PATIENCE_MS - 1)
  t.false(m.alignment.mayRun(50))
  m.pass(1)
  t.true(m.alignment.mayRun(50))
  // It hands over again: patience begins anew.
  m.heads[0] = 40
  t.true(m.alignment.mayRun(50))
  m.heads[0] = 'behind'
  t.false(m.alignment.mayRun(50))
})

test('alignment: a clock set back makes nobody wait longer than the patience', (t) => {
  const m = members(['behind', 50])
  m.pass(3_600_000)
  t.false(m.alignment.mayRun(50))
  m.pass(-3_600_000)
  t.true(m.alignment.mayRun(50))
})

test('alignment: who leaves holds nobody back', (t) => {
  const m = members([1, 50])
  t.false(m.alignment.mayRun(50))
  m.leave[0]?.()
  t.true(m.alignment.mayRun(50))
})

const WITHIN_MS = 200
const merge = (alignWithinMs?: number): MapFunction<number> =>
  defineFunction<MapFunction<number>>({
    kind: 'map',
    name: 'merge',
    inputs: ['a', 'b'],
    outputs: ['out'],
    decode: (r) => {
      if (r.value?.[0] === 0xff) throw new SluiceError('SLU_EGRESS_HOLD', 'held for ever')
      return r.timestampMs
    },
    handle: (value) => [{ to: 'topic', topic: 'out', key: null, value: Buffer.from(String(value)) }],
    ...(alignWithinMs === undefined ? {} : { alignWithinMs }),
  })

const CREATED = { timestampType: 'CreateTime' } as const
const TOPICS: Parameters<typeof runnerWorld>[0] = { a: [2, CREATED], b: [1, CREATED], out: 1, 'a.dlq': 2, 'b.dlq': 1 }
const START_MS = 1_700_000_000_000 - 3_600_000

/** `counts[i]` records, evenly over an hour, in partition i of a (0, 1) and b (2). Returns how far behind the newest before it a record came at worst. */
async function catchUp(counts: readonly number[], alignWithinMs?: number): Promise<{ behindMs: number; out: number }> {
  const w = runnerWorld(TOPICS)
  for (const [i, count] of counts.entries())
    w.log.append(
      Array.from({ length: count }, (_, n) => ({
        topic: i === 2 ? 'b' : 'a',
        partition: i % 2,
        key: null,
        value: Buffer.from('x'),
        timestampMs: START_MS + Math.floor((n * 3_000_000) / count),
      })),
    )
  const runner = w.runner(merge(alignWithinMs), 'p', { recordsInFlightMax: 100 })
  await runner.start()
  await w.until('drained', () => runner.drained(), 600_000)
  await runner.stop(100)
  let newestMs = 0
  let behindMs = 0
  const out = w.log.dump('out').map((r) => Number(r.value))
  for (const ms of out) {
    behindMs = Math.max(behindMs, newestMs - ms)
    newestMs = Math.max(newestMs, ms)
  }
  return { behindMs, out: out.length }
}

test('alignment: a catch-up over partitions of different length never lets one run ahead of the others', async (t) => {
  const uneven = [2000, 300, 20]
  const free = await catchUp(uneven)
  t.true(free.behindMs > 60_000, `without it the paces mix: ${free.behindMs} ms`)
  const aligned = await catchUp(uneven, WITHIN_MS)
  t.is(aligned.out, 2320)
  t.true(aligned.behindMs <= WITHIN_MS, `${aligned.behindMs} ms`)
})

test('alignment: for any lengths every record comes out, none further behind than promised', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 3, maxLength: 3 }), async (counts) => {
      const { out, behindMs } = await catchUp(counts, WITHIN_MS)
      return out === counts.reduce((a, b) => a + b, 0) && behindMs <= WITHIN_MS
    }),
    { numRuns: 15 },
  )
  t.pass()
})

test('alignment: a held partition never stops the others for good (D3)', async (t) => {
  const w = runnerWorld(TOPICS)
  w.log.append({ topic: 'a', partition: 0, key: null, value: Buffer.from([0xff]), timestampMs: START_MS })
  w.log.append(Array.from({ length: 50 }, (_, n) => ({ topic: 'b', key: null, value: Buffer.from('x'), timestampMs: START_MS + n * 60_000 })))
  const runner = w.runner(merge(WITHIN_MS), 'p')
  await runner.start()
  await w.until('the others went on', () => w.log.dump('out').length === 50, 4 * PATIENCE_MS)
  t.is(runner.partitions().find((p) => p.topic === 'a' && p.partition === 0)?.state, 'held')
  let isStopped = false
  const stopping = runner.stop(100).then(() => (isStopped = true))
  await w.until('stopped', () => isStopped)
  await stopping
})

test('alignment: wrong clocks stop nothing: records of next year and of last year pass beside those of now', async (t) => {
  const w = runnerWorld(TOPICS)
  const year = 365 * 86_400_000
  const runner = w.runner(merge(WITHIN_MS), 'p')
  await runner.start()
  for (let i = 0; i < 20; i++) {
    const nowMs = w.clock.nowMs()
    for (const [topic, timestampMs] of [
      ['a', nowMs + year],
      ['a', nowMs - year],
      ['b', nowMs],
    ] as const)
      w.log.append({ topic, partition: 0, key: null, value: Buffer.from('x'), timestampMs })
    await w.clock.advance(500)
  }
  await w.until('all', () => w.log.dump('out').length === 60, 2000)
  await runner.stop(100)
  t.pass()
})
