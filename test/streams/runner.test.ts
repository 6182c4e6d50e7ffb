import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { ConsumerEvents } from '../../schemas/log.ts'
import type { Telemetry } from '../../schemas/ports.ts'
import {
  defineFunction,
  type AnyFunction,
  type CombineFunction,
  type FoldFunction,
  type MapFunction,
  type MarkerFacts,
  type PartialRecord,
  type TaskFunction,
  type WindowFunction,
} from '../../streams/define-function.ts'
import { eavesdrop, headerOf, runnerWorld, silent, text, wrapConsumers } from '../helpers/runner-world.ts'

const upper = defineFunction<MapFunction<string>>({
  kind: 'map',
  name: 'upper',
  inputs: ['in'],
  outputs: ['out'],
  recordBytesMax: 1000,
  decode: (r) => {
    if (r.value === null || r.value[0] === 0xff) throw new SluiceError('SLU_RECORD_UNDECODABLE', '')
    return r.value.toString()
  },
  handle: (value) => {
    if (value === 'throw') throw new TypeError('bug')
    return [{ to: 'topic', topic: 'out', key: value, value: Buffer.from(value.toUpperCase()) }]
  },
})
const topics = { in: 2, out: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] } as Parameters<typeof runnerWorld>[0]
const values = (prefix: string, count: number) => Array.from({ length: count }, (_, i) => ({ topic: 'in', key: Buffer.from(`${prefix}${i}`), value: Buffer.from(`${prefix}${i}`) }))
const unique = (all: readonly string[]): number => new Set(all).size

test('runner: undecodable, oversized and hostile records reach the DLQ byte-identical, and the stream goes on (D2, D6)', async (t) => {
  const w = runnerWorld(topics)
  const bad = [null, Buffer.from([0xff, 0, 1]), Buffer.alloc(1001, 120), Buffer.from('throw')]
  w.log.append(bad.map((value, i) => ({ topic: 'in', partition: 1, key: Buffer.from([i, 0x80]), value, headers: [['h', Buffer.from([0xfe, i])] as const] })))
  w.log.append({ topic: 'in', partition: 1, key: null, value: Buffer.from('after') })
  const source = w.log.dump('in')
  const runner = w.runner(upper, 'p')
  await runner.start()
  await w.until('drained', () => runner.drained())
  t.deepEqual(w.log.dump('out').map(text), ['AFTER'])
  const dead = w.log.dump('in.dlq')
  t.is(dead.length, 4)
  for (const [i, d] of dead.entries()) {
    const s = source[i] as (typeof source)[number]
    t.deepEqual([d.key, d.value, d.partition, d.timestampMs, d.headers[0]], [s.key, s.value, 1, s.timestampMs, s.headers[0]])
    t.is(headerOf(d, '__connect.errors.offset'), String(s.offset))
  }
  t.deepEqual(
    dead.map((d) => headerOf(d, 'sluice.error.code')),
    ['SLU_RECORD_UNDECODABLE', 'SLU_RECORD_UNDECODABLE', 'SLU_RECORD_TOO_LARGE', 'SLU_HANDLER_FAILED'],
  )
  t.deepEqual([runner.stats().in, runner.stats().out, runner.stats().deadLetters], [5, 1, 4])
  t.is(w.log.committed('sluice.upper', { topic: 'in', partition: 1 })?.nextOffset, 5n)
  await runner.stop(1000)
})

test('runner: killed in the middle of work, its successor loses nothing (C1, C2)', async (t) => {
  const w = runnerWorld(topics)
  const first = w.runner(upper, 'first')
  await first.start()
  w.log.append(values('a', 300))
  w.log.delaySends(40)
  await w.until('half', () => w.log.dump('out').length > 0)
  w.log.append(values('b', 300))
  w.log.crash('first')
  const second = w.runner(upper, 'second')
  await second.start()
  await w.until('all', () => second.drained())
  t.is(unique(w.log.dump('out').map(text)), 600)
  t.deepEqual(w.log.dump('in.dlq'), [])
  await second.stop(1000)
})

test('runner: what is committed never passes a record whose effect is not acknowledged (C1)', async (t) => {
  const w = runnerWorld(topics)
  const runner = w.runner(upper, 'p')
  await runner.start()
  w.log.append(values('a', 50))
  w.log.failSends(1_000_000, 'SLU_LOG_UNREACHABLE', { topic: 'out' })
  await w.clock.advance(5000)
  t.is(w.log.committed('sluice.upper', { topic: 'in', partition: 0 }), null)
  t.false(runner.drained())
  t.is(runner.stats().deadLetters, 0)
})

test('runner: members come and go, nothing is lost, and a revoked partition is committed before it moves (C3, C4)', async (t) => {
  const w = runnerWorld(topics)
  const runners = ['a', 'b', 'c'].map((name) => w.runner(upper, name))
  w.log.delaySends(20)
  await runners[0]?.start()
  w.log.append(values('x', 200))
  await w.clock.advance(30)
  await runners[1]?.start()
  w.log.append(values('y', 200))
  await w.clock.advance(100)
  const stopping = runners[0]?.stop(1000)
  await w.clock.advance(2000)
  await stopping
  await runners[2]?.start()
  w.log.append(values('z', 200))
  await w.until('all', () => [runners[1], runners[2]].every((r) => r?.drained() === true))
  const out = w.log.dump('out').map(text)
  t.is(unique(out), 600)
  t.is(out.length, 600)
  t.deepEqual(runners[0]?.partitions(), [])
})

test('runner: an unwritable DLQ stops its partition, shows it held, and the partition goes on by itself (D3)', async (t) => {
  const w = runnerWorld(topics)
  const runner = w.runner(upper, 'p')
  await runner.start()
  w.log.failSends(20, 'SLU_LOG_FORBIDDEN', { topic: 'in.dlq' })
  w.log.append([
    { topic: 'in', partition: 0, key: null, value: Buffer.from('throw') },
    { topic: 'in', partition: 1, key: null, value: Buffer.from('fine') },
  ])
  await w.until('held', () => runner.partitions().some((p) => p.state === 'held'))
  w.log.append({ topic: 'in', partition: 0, key: null, value: Buffer.from('behind') })
  await w.clock.advance(1000)
  const held = runner.partitions().find((p) => p.partition === 0)
  t.is(held?.code, 'SLU_LOG_DLQ_UNWRITABLE')
  t.deepEqual(w.log.dump('out').map(text), ['FINE'])
  t.is(w.log.committed('sluice.upper', { topic: 'in', partition: 0 }), null)
  await w.until('drained', () => runner.drained())
  t.is(w.log.dump('in.dlq').length, 1)
  t.deepEqual(w.log.dump('out').map(text), ['FINE', 'BEHIND'])
  await runner.stop(1000)
})

test('runner: a partition over its limits is paused and resumed, never grown without bound (C5, C6)', async (t) => {
  const w = runnerWorld(topics, () => 0.99)
  const runner = w.runner(upper, 'p', { recordsInFlightMax: 20 })
  await runner.start()
  w.log.delaySends(1000)
  w.log.append(values('a', 500).map((r) => ({ ...r, partition: 0 })))
  let most = 0
  let wasPaused = false
  await w.until(
    'drained',
    () => {
      most = Math.max(most, ...runner.partitions().map((p) => p.inFlight))
      wasPaused ||= runner.partitions().some((p) => p.state === 'paused')
      return runner.drained()
    },
    600_000,
  )
  t.true(wasPaused)
  t.true(most < 40, `${most} in memory`)
  t.is(w.log.dump('out').length, 500)
  await runner.stop(1000)
})

test('runner: more members than partitions: the one left over holds nothing up (drained)', async (t) => {
  const w = runnerWorld(topics)
  const runners = ['a', 'b', 'c'].map((name) => w.runner(upper, name))
  t.false(runners[0]?.drained())
  for (const runner of runners) await runner.start()
  w.log.append(values('x', 10))
  await w.until('all', () => runners.every((r) => r.drained()))
  t.is(w.log.dump('out').length, 10)
})

test('runner: stopped while it starts, it never joins', async (t) => {
  const w = runnerWorld(topics)
  const runner = w.runner(upper, 'p')
  const starting = runner.start()
  await runner.stop(100)
  await starting
  await w.clock.advance(1000)
  t.deepEqual(w.fatal, [])
  t.deepEqual(runner.partitions(), [])
})

test('runner: a log that does not answer the last commit never holds up the exit', async (t) => {
  const w = runnerWorld(topics)
  const runner = w.runner(upper, 'p', { commitEveryMs: 60_000 })
  await runner.start()
  w.log.append(values('x', 3))
  await w.clock.advance(100)
  w.log.crash('p')
  // What counts is that the partitions are let go.
  void runner.stop(1000)
  await w.clock.advance(10_000)
  t.deepEqual(runner.partitions(), [])
})

test('runner: missing topics are named and nothing is started', async (t) => {
  const w = runnerWorld({ in: 1 })
  await t.throwsAsync(w.runner(upper, 'p').start(), { message: /SLU_LOG_TOPIC_MISSING.*out, in\.dlq/ })
})

test('runner: what a fetch brings once more is not handed over twice (C1)', async (t) => {
  const w = runnerWorld(topics)
  wrapConsumers(w, (inner) => ({
    start: (events) =>
      inner.start({
        ...events,
        records: (tp, epoch, records, readTo) => {
          events.records(tp, epoch, records.slice(0, 2), (records[1]?.offset ?? readTo - 1n) + 1n)
          events.records(tp, epoch, records.slice(0, 1), (records[0]?.offset ?? readTo - 1n) + 1n)
          events.records(tp, epoch, records, readTo)
          events.records(tp, epoch, records.slice(1), readTo)
        },
      }),
  }))
  const runner = w.runner(upper, 'p')
  await runner.start()
  w.log.append(values('x', 20))
  await w.until('all', () => runner.drained())
  t.is(w.log.dump('out').length, 20)
  t.deepEqual(w.fatal, [])
})

test('runner: the log is asked for no more records at once than may be in flight (C6)', async (t) => {
  const w = runnerWorld(topics)
  const asked: unknown[] = []
  wrapConsumers(w, (_inner, options) => {
    asked.push([options.recordsInFlightMax, options.bytesInFlightMax])
    return {}
  })
  await w.runner(upper, 'p').start()
  await w.runner(upper, 'q', { recordsInFlightMax: 7, bytesInFlightMax: 1000 }).start()
  t.deepEqual(asked, [
    [2000, 16 << 20],
    [7, 1000],
  ])
})

test('runner: a clock set back by an hour does not end the commits (C1)', async (t) => {
  const w = runnerWorld(topics)
  const now = w.clock.nowMs
  let skewMs = 0
  Object.assign(w.clock, { nowMs: () => now() + skewMs })
  const runner = w.runner(upper, 'p')
  await runner.start()
  await w.clock.advance(1000)
  skewMs = -3_600_000
  w.log.append({ topic: 'in', partition: 0, key: null, value: Buffer.from('x') })
  await w.clock.advance(1000)
  t.is(w.log.committed('sluice.upper', { topic: 'in', partition: 0 })?.nextOffset, 1n)
})

test('runner: a partition taken back while it opens and given again is opened under the new epoch, never stuck under the old (C3)', async (t) => {
  const w = runnerWorld({ ...topics, in: 1 })
  const { driver } = w.log
  let events: ConsumerEvents | undefined
  const gates: (() => void)[] = []
  Object.assign(w.log, {
    driver: (name: string) => {
      const own = driver(name)
      const admin = own.admin()
      const ranges = async (topic: string) => {
        await new Promise<void>((resolve) => gates.push(resolve))
        return admin.ranges(topic)
      }
      const consumer = { ...own.consumer({ group: 'g', topics: ['in'] }), pause: () => undefined, resume: () => undefined, endOffset: () => null }
      const start = (given: ConsumerEvents) => Promise.resolve(void (events = given))
      return { ...own, admin: () => ({ topics: (prefix: string) => admin.topics(prefix), ranges, close: () => admin.close() }), consumer: () => ({ ...consumer, start }) }
    },
  })
  await w.runner(upper, 'p').start()
  const assigned = (epoch: number) => events?.assigned([{ topic: 'in', partition: 0, epoch, committed: null }])
  const first = assigned(1)
  await events?.revoked([{ topic: 'in', partition: 0 }], false)
  const second = assigned(2)
  // The answers come in the other order.
  while (gates.length < 2) await w.clock.advance(1)
  gates[1]?.()
  await second
  gates[0]?.()
  await first
  w.log.append(values('x', 1))
  events?.records({ topic: 'in', partition: 0 }, 2, w.log.dump('in'), 1n)
  await w.until('handled', () => w.log.dump('out').length === 1)
  t.pass()
})

test('runner: a committed offset the log no longer holds holds the partition, it never jumps (C7)', async (t) => {
  const w = runnerWorld(topics)
  w.log.append(values('a', 20).map((r) => ({ ...r, partition: 0 })))
  w.log.setCommitted('sluice.upper', { topic: 'in', partition: 0 }, { nextOffset: 3n, metadata: '' })
  w.log.truncate({ topic: 'in', partition: 0 }, 10n)
  const runner = w.runner(upper, 'p')
  await runner.start()
  await w.clock.advance(2000)
  t.is(runner.partitions().find((p) => p.partition === 0)?.code, 'SLU_LOG_TRUNCATED')
  t.deepEqual(w.log.dump('out'), [])
})

test('runner: what is measured has the names of the table, lag one for each position', async (t) => {
  const seen = new Map<string, Set<string>>()
  const note: Telemetry['count'] = (name, _value, attributes) => void seen.set(name, (seen.get(name) ?? new Set()).add(String(attributes?.['kind'] ?? '')))
  const w = runnerWorld(topics, undefined, { ...silent, count: note, record: note, gauge: note })
  const runner = w.runner(upper, 'p')
  await runner.start()
  w.log.append([...values('a', 5), { topic: 'in', key: null, value: null }])
  await w.clock.advance(3000)
  t.deepEqual([...(seen.get('sluice.consumer.lag') ?? [])].sort(), ['committed', 'processing'])
  for (const name of ['messaging.process.duration', 'sluice.consumer.batch.size', 'sluice.dead_letters', 'sluice.rebalances']) t.true(seen.has(name), name)
})

const slow = (order: 'key' | 'partition' | 'unordered', calls: { value: string; answer: () => void; signal: AbortSignal }[]): TaskFunction<string> =>
  defineFunction<TaskFunction<string>>({
    kind: 'task',
    name: 'slow',
    inputs: ['in'],
    outputs: ['out'],
    order,
    concurrency: 4,
    deadlineMs: 600_000,
    decode: (r) => text(r),
    handle: (value, _record, { signal }) =>
      new Promise((resolve) => calls.push({ value, signal, answer: () => resolve([{ to: 'topic', topic: 'out', key: null, value: Buffer.from(value) }]) })),
  })

test('runner: a ten-minute task blocks neither its membership nor other partitions (T3)', async (t) => {
  const w = runnerWorld(topics)
  const calls: { value: string; answer: () => void; signal: AbortSignal }[] = []
  const runner = w.runner(slow('partition', calls), 'p')
  await runner.start()
  w.log.append({ topic: 'in', partition: 0, key: null, value: Buffer.from('long') })
  await w.until('started', () => calls.length === 1)
  for (let i = 0; i < 5; i++) {
    w.log.append({ topic: 'in', partition: 1, key: null, value: Buffer.from(`short${i}`) })
    await w.until('short', () => calls.length === i + 2)
    calls.at(-1)?.answer()
    await w.clock.advance(60_000)
  }
  t.is(w.log.dump('out').length, 5)
  t.is(w.log.committed('sluice.slow', { topic: 'in', partition: 1 })?.nextOffset, 5n)
  calls[0]?.answer()
  await w.until('drained', () => runner.drained())
  t.is(runner.stats().rebalances, 1)
  await runner.stop(1000)
})

test('runner: a full pool is shared in turns, no partition starves behind others (C5)', async (t) => {
  const w = runnerWorld({ ...topics, in: 3 })
  const calls: { value: string; answer: () => void; signal: AbortSignal }[] = []
  const runner = w.runner({ ...slow('unordered', calls), concurrency: 1 }, 'p')
  await runner.start()
  for (const partition of [0, 1, 2]) w.log.append(Array.from({ length: 10 }, () => ({ topic: 'in', partition, key: null, value: Buffer.from(String(partition)) })))
  for (let i = 0; i < 18; i++) {
    await w.until('next', () => calls.length === i + 1)
    calls.at(-1)?.answer()
  }
  for (const partition of ['0', '1', '2']) t.true(calls.filter((c) => c.value === partition).length >= 3, calls.map((c) => c.value).join(''))
})

test('runner: stop waits for work in flight within the grace and commits it; past the grace it is aborted and left to the successor (C4)', async (t) => {
  const w = runnerWorld(topics)
  const calls: { value: string; answer: () => void; signal: AbortSignal }[] = []
  const runner = w.runner(slow('key', calls), 'p')
  await runner.start()
  w.log.append(['a', 'b'].map((key) => ({ topic: 'in', partition: 0, key: Buffer.from(key), value: Buffer.from(key) })))
  await w.until('started', () => calls.length === 2)
  let isStopped = false
  const stopping = runner.stop(5000).then(() => (isStopped = true))
  calls[0]?.answer()
  await w.clock.advance(3000)
  t.false(isStopped)
  await w.clock.advance(3000)
  await stopping
  t.true(calls[1]?.signal.aborted)
  t.deepEqual(w.log.dump('out').map(text), ['a'])
  t.is(w.log.committed('sluice.slow', { topic: 'in', partition: 0 })?.nextOffset, 1n)
})

const counts = defineFunction<FoldFunction<string, number>>({
  kind: 'fold',
  name: 'counts',
  inputs: ['in'],
  outputs: ['state'],
  stateTopic: 'state',
  statesMax: 1000,
  decode: (r) => text(r),
  keyOf: (_value, r) => r.key?.toString() ?? '',
  initial: () => 0,
  fold: (state, _value, r) => [state + 1, [{ to: 'topic', topic: 'state', key: r.key, value: Buffer.from(String(state + 1)) }]],
  restore: (row) => ({ key: row.key?.toString() ?? '', merge: () => Number(row.value) }),
})
const foldTopics = { in: 2, state: [2, { cleanup: 'compact' }], 'in.dlq': 2, 'state.dlq': 2 } as Parameters<typeof runnerWorld>[0]
const keyed = (count: number, from = 0) => Array.from({ length: count }, (_, i) => ({ topic: 'in', key: Buffer.from(`k${(from + i) % 5}`), value: Buffer.from('x') }))
const finalCounts = (w: ReturnType<typeof runnerWorld>): Record<string, string> => Object.fromEntries(w.log.dump('state').map((r) => [r.key?.toString() ?? '', text(r)]))

test('runner: a fold is rebuilt after a crash and counts every record once, commit or no commit (C8)', async (t) => {
  const w = runnerWorld(foldTopics)
  const first = w.runner(counts, 'first', { commitEveryMs: 60_000 })
  await first.start()
  w.log.append(keyed(50))
  await w.until('half', () => w.log.dump('state').length >= 50)
  w.log.crash('first')
  t.is(w.log.committed('sluice.counts', { topic: 'in', partition: 0 })?.nextOffset ?? 0n, 0n)
  w.log.append(keyed(50))
  const second = w.runner(counts, 'second')
  await second.start()
  await w.until('all', () => second.drained())
  t.deepEqual(finalCounts(w), { k0: '20', k1: '20', k2: '20', k3: '20', k4: '20' })
  await second.stop(1000)
})

test('runner: a zombie fold, awake after its partition moved on, overwrites nothing (C8)', async (t) => {
  const w = runnerWorld(foldTopics)
  const zombie = w.runner(counts, 'zombie')
  await zombie.start()
  w.log.append(keyed(20))
  await w.until('first', () => w.log.dump('state').length === 20)
  w.log.zombie('zombie')
  const owner = w.runner(counts, 'owner')
  await owner.start()
  for (let i = 0; i < 10; i++) {
    w.log.append(keyed(5))
    await w.clock.advance(300)
  }
  await w.until('all', () => owner.drained())
  t.deepEqual(finalCounts(w), { k0: '14', k1: '14', k2: '14', k3: '14', k4: '14' })
  t.is(w.log.dump('state').length, 70)
  const waking = w.log.wake('zombie')
  await w.clock.advance(3000)
  await waking
  w.log.append(keyed(5))
  await w.until('after', () => zombie.drained() && owner.drained())
  t.deepEqual(finalCounts(w), { k0: '15', k1: '15', k2: '15', k3: '15', k4: '15' })
})

interface Sum {
  total: number
}

const plain = (value: unknown): Buffer => Buffer.from(JSON.stringify(value, (_key, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v)))
const read = (bytes: Buffer | null): unknown =>
  JSON.parse(bytes?.toString() ?? 'null', (_key, v: unknown) => (typeof v === 'string' && /^\d+n$/.test(v) ? BigInt(v.slice(0, -1)) : v))

const sums = defineFunction<WindowFunction<{ atMs: number; id: string }, Sum>>({
  kind: 'window',
  name: 'sums',
  inputs: ['in'],
  outputs: ['partials'],
  partialsTopic: 'partials',
  parameters: { windowMs: 1000, graceMs: 0, outOfOrdernessMs: 100, skewMs: 60_000, maxGapMs: 1000, idleMs: 2000 },
  decode: (r) => read(r.value) as { atMs: number; id: string },
  eventTimeMs: (v) => v.atMs,
  identity: (v) => v.id,
  add: (window) => void window.group('all', () => ({ total: 0 })).total++,
  encodePartial: (g) => ({ key: g.key, value: plain({ ...g, kind: 'partial', windowStartMs: g.startMs, windowEndMs: g.endMs, group: g.key, value: g.state }) }),
  encodeMarker: (m) => plain({ kind: 'marker', ...m }),
  decodeMarker: (r) => {
    const found = read(r.value) as PartialRecord<Sum>
    return found.kind === 'marker' ? (found as MarkerFacts) : null
  },
})
const totals = defineFunction<CombineFunction<Sum>>({
  kind: 'combine',
  name: 'totals',
  inputs: ['partials'],
  outputs: ['windows'],
  windowMs: 1000,
  decode: (r) => read(r.value) as PartialRecord<Sum>,
  result: (group, window, slots) => ({
    to: 'topic',
    topic: 'windows',
    key: group,
    value: plain({ startMs: window.startMs, total: slots.reduce((sum, s) => sum + s.value.total, 0) }),
  }),
})
const windowTopics = { in: 2, 'in.late': 2, 'in.dlq': 2, partials: 2, 'partials.late': 2, 'partials.dlq': 2, windows: 2 }

test('runner: windows of two stages on the log, a partition that stands empty and a member killed in between, lose and double nothing (W5, W7, W8)', async (t) => {
  const w = runnerWorld(windowTopics)
  const startMs = Math.ceil(w.clock.nowMs() / 1000) * 1000
  const put = (id: number, atMs: number): void => void w.log.append({ topic: 'in', partition: 0, key: null, value: plain({ id: String(id), atMs }) })
  const [first, combine] = [w.runner(sums, 'first'), w.runner(totals, 'combine')]
  await first.start()
  await combine.start()
  await w.clock.advance(1000)
  for (let i = 0; i < 20; i++) put(i, startMs + i * 100)
  await w.clock.advance(700)
  w.log.crash('first')
  const second = w.runner(sums, 'second')
  await second.start()
  for (let i = 20; i < 40; i++) put(i, startMs + i * 100)
  const seen = (): string[] => w.log.dump('windows').map(text)
  await w.until('all windows', () => seen().length >= 4, 30_000)
  await w.until('drained', () => second.drained() && combine.drained(), 30_000)
  t.deepEqual(
    seen().sort(),
    [0, 1, 2, 3].map((k) => JSON.stringify({ startMs: startMs + k * 1000, total: 10 })),
  )
  t.is(combine.stats().windowsClosed, 4)
  t.deepEqual([...w.log.dump('in.late'), ...w.log.dump('in.dlq'), ...w.log.dump('partials.late'), ...w.log.dump('partials.dlq')], [])
  t.deepEqual(w.fatal, [])
})

test('runner: other window parameters under the same group are refused, never mixed (W3)', async (t) => {
  const w = runnerWorld(windowTopics)
  const first = w.runner(sums, 'first')
  await first.start()
  w.log.append({ topic: 'in', partition: 0, key: null, value: plain({ id: 'a', atMs: w.clock.nowMs() }) })
  await w.until('committed', () => w.log.committed('sluice.sums', { topic: 'in', partition: 0 }) !== null)
  const stopping = first.stop(100)
  await w.clock.advance(1000)
  await stopping
  const other = w.runner(defineFunction({ ...sums, parameters: { ...sums.parameters, graceMs: 5 } }), 'other')
  await other.start()
  await w.until('fatal', () => w.fatal.length > 0)
  t.is(w.fatal[0]?.code, 'SLU_WINDOW_PARAMETERS')
})

test('runner: what keeps the member from its log is logged with its code once a state, and stands as the reason of its partitions until it is over', async (t) => {
  const lines: string[] = []
  const w = runnerWorld(topics, undefined, {
    ...silent,
    log: (severity, message, attributes) => void lines.push(`${severity} ${message} ${String(attributes?.['code'] ?? '')}`.trim()),
  })
  const events = eavesdrop(w)
  const runner = w.runner(upper, 'p')
  await runner.start()
  await w.until('drained', () => runner.drained())
  const reasons = () => runner.partitions().map((p) => p.code ?? null)
  t.deepEqual(reasons(), [null, null])
  events().troubled?.(new SluiceError('SLU_LOG_LISTENER', 'kafka-1:9093'))
  t.deepEqual(reasons(), ['SLU_LOG_LISTENER', 'SLU_LOG_LISTENER'])
  t.is(runner.trouble()?.code, 'SLU_LOG_LISTENER')
  events().troubled?.(null)
  t.deepEqual([reasons(), runner.trouble()], [[null, null], null])
  t.deepEqual(w.fatal, [])
  t.deepEqual(lines, ['error SLU_LOG_LISTENER: the listener speaks another protocol: kafka-1:9093 SLU_LOG_LISTENER', 'info upper: the log answers again'])
})

test('runner: a handler of any kind that asks for another try is given it in order, up to its tries, then parked with their number; what it waits for is told (D1, W9)', async (t) => {
  const failures = (): ((value: string) => void) => {
    const seen = new Map<string, number>()
    return (value) => {
      seen.set(value, (seen.get(value) ?? 0) + 1)
      if (value === 'hopeless' || (value === 'flaky' && (seen.get(value) as number) < 3)) throw new SluiceError('SLU_HANDLER_RETRY', `disk of ${value}`)
    }
  }
  const emit = (value: string) => [{ to: 'topic' as const, topic: 'out', key: 'k', value: Buffer.from(value) }]
  const base = { name: 'f', inputs: ['in'], outputs: ['out'], decode: text }
  const kinds: Record<string, () => AnyFunction> = {
    map: () => {
      const act = failures()
      return defineFunction<MapFunction<string>>({ ...base, kind: 'map', handle: (value) => (act(value), emit(value)) })
    },
    'transactional map': () => {
      const act = failures()
      return defineFunction<MapFunction<string>>({ ...base, kind: 'map', delivery: 'transactional', handle: (value) => (act(value), emit(value)) })
    },
    'map that parks by key': () => {
      const act = failures()
      return defineFunction<MapFunction<string>>({ ...base, kind: 'map', park: 'key', handle: (value) => (act(value), emit(value)) })
    },
    task: () => {
      const act = failures()
      return defineFunction<TaskFunction<string>>({
        ...base,
        kind: 'task',
        order: 'partition',
        concurrency: 1,
        deadlineMs: 1000,
        handle: async (value) => (act(value), emit(value)),
      })
    },
    fold: () => {
      const act = failures()
      return defineFunction<FoldFunction<string, number>>({
        ...base,
        kind: 'fold',
        stateTopic: 'out',
        statesMax: 10,
        keyOf: () => 'k',
        initial: () => 0,
        fold: (state, value) => (act(value), [state + 1, emit(`${value}${state + 1}`)]),
        restore: () => null,
      })
    },
  }
  for (const [kind, define] of Object.entries(kinds)) {
    const w = runnerWorld({ in: 1, out: [1, { cleanup: kind === 'fold' ? 'compact' : 'delete' }], 'in.dlq': [1, { timestampType: 'CreateTime' }], 'out.dlq': 1 })
    w.log.append(['a', 'flaky', 'hopeless', 'b', 'hopeless'].map((value, i) => ({ topic: 'in', partition: 0, key: Buffer.from(`k${i}`), value: Buffer.from(value) })))
    const runner = w.runner(define(), 'p')
    await runner.start()
    await w.until(`${kind}: the hopeless one is tried again`, () => runner.partitions()[0]?.reason?.includes('offset 2 failed') === true)
    const [row] = runner.partitions()
    t.deepEqual([row?.code, row?.state], ['SLU_HANDLER_RETRY', 'running'], kind)
    t.regex(row?.reason ?? '', /disk of hopeless: offset 2 failed [12] of 3 tries, the first \d+ ms ago/, kind)
    await w.until(`${kind}: drained`, () => runner.drained())
    t.deepEqual(w.log.dump('out').map(text), kind === 'fold' ? ['a1', 'flaky2', 'b3'] : ['a', 'flaky', 'b'], kind)
    t.deepEqual(
      w.log.dump('in.dlq').map((r) => [headerOf(r, 'sluice.error.code'), headerOf(r, 'sluice.attempts'), headerOf(r, '__connect.errors.stage')]),
      [
        ['SLU_HANDLER_RETRY', '3', 'TASK_PUT'],
        ['SLU_HANDLER_RETRY', '3', 'TASK_PUT'],
      ],
      kind,
    )
    t.is(runner.partitions()[0]?.reason, undefined, kind)
    await runner.stop(100)
    t.deepEqual(w.fatal, [])
  }
})

test('runner: a partition that cannot be read is held with its code, once in the log, while the others go on; read again it is well (B6, D6, W9)', async (t) => {
  const lines: string[] = []
  const gauges = new Map<string, number>()
  const w = runnerWorld(topics, undefined, {
    ...silent,
    log: (severity, message, attributes) => void lines.push(`${severity} ${message} ${String(attributes?.['code'] ?? '')}`.trim()),
    gauge: (name, value, attributes) => void gauges.set(`${name} ${String(attributes?.['reason'] ?? '')}`.trim(), value),
  })
  const events = eavesdrop(w)
  const runner = w.runner(upper, 'p')
  await runner.start()
  await w.until('drained', () => runner.drained())
  events().stalled?.({ topic: 'in', partition: 1 }, new SluiceError('SLU_LOG_CODEC', 'in/1 at offset 7, lz4'))
  w.log.append({ topic: 'in', partition: 0, key: null, value: Buffer.from('a') })
  await w.until('the other partition', () => runner.stats().out === 1)
  await w.until('measured', () => gauges.get('sluice.partition.held') === 1)
  t.is(gauges.get('sluice.partition.blocked SLU_LOG_CODEC'), 1)
  const shown = () => runner.partitions().map((p) => [p.partition, p.state, p.code ?? null])
  t.deepEqual(shown(), [
    [0, 'running', null],
    [1, 'held', 'SLU_LOG_CODEC'],
  ])
  t.false(runner.drained())
  events().stalled?.({ topic: 'in', partition: 1 }, null)
  t.deepEqual(shown(), [
    [0, 'running', null],
    [1, 'running', null],
  ])
  await w.until('drained', () => runner.drained())
  t.deepEqual(lines, ['error SLU_LOG_CODEC: a batch of records is compressed by a codec that is not here: in/1 at offset 7, lz4 SLU_LOG_CODEC', 'info upper: in/1 is read again'])
  t.deepEqual(w.fatal, [])
})
