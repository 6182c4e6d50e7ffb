/** How long a runner waits when it lets go, how much it holds, and what it says of how far it is: to the record and the millisecond. */
import test from 'ava'
import { partitionRows } from '../../cli/site-status.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogAdmin, LogConsumer, LogTail, TailOptions } from '../../schemas/log.ts'
import type { Telemetry } from '../../schemas/ports.ts'
import { defineFunction, type MapFunction, type TaskFunction, type WindowFunction } from '../../streams/define-function.ts'
import { eavesdrop, runnerWorld, silent, text, wrapConsumers } from '../helpers/runner-world.ts'

const topics = { in: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] } as Parameters<typeof runnerWorld>[0]
const first = { topic: 'in', partition: 0 }
const SESSION_MS = 10_000

/** A task whose calls are answered by the test; a value that `isShort` is answered at once. */
function byHand(isShort: (value: string) => boolean = () => false) {
  const waiting: (() => void)[] = []
  const definition = defineFunction<TaskFunction<string>>({
    kind: 'task',
    name: 'by-hand',
    inputs: ['in'],
    outputs: [],
    order: 'unordered',
    concurrency: 1000,
    deadlineMs: 600_000,
    decode: (r) => text(r),
    handle: (value) => (isShort(value) ? Promise.resolve([]) : new Promise((resolve) => waiting.push(() => resolve([])))),
  })
  return { definition, answer: (count: number) => waiting.splice(0, count).forEach((one) => one()) }
}
const values = (count: number, partition = 0, bytes = 1) =>
  Array.from({ length: count }, (_, i) => ({ topic: 'in', partition, key: null, value: Buffer.from(`v${i}`.padEnd(bytes)) }))

test('runner bounds: work that hangs holds a revocation up for a fifth of the session, not less and not more (C4)', async (t) => {
  const w = runnerWorld(topics)
  const events = eavesdrop(w)
  const runner = w.runner(byHand().definition, 'p', { sessionMs: SESSION_MS })
  await runner.start()
  w.log.append(values(1))
  await w.until('begun', () => runner.partitions().some((p) => p.inFlight === 1))
  let isOver = false
  void events()
    .revoked([first], false)
    .then(() => (isOver = true))
  await w.clock.advance(0.2 * SESSION_MS - 1)
  t.false(isOver)
  await w.clock.advance(1)
  t.true(isOver)
})

test('runner bounds: a commit that is never answered holds a revocation up for three seconds, no longer (C4)', async (t) => {
  const w = runnerWorld(topics)
  const commits: unknown[] = []
  wrapConsumers(w, () => ({ commit: (entries) => new Promise(() => commits.push(entries)) }))
  const events = eavesdrop(w)
  const runner = w.runner(byHand(() => true).definition, 'p', { sessionMs: SESSION_MS, commitEveryMs: 600_000 })
  await runner.start()
  w.log.append(values(1))
  await w.until('handled', () => runner.stats().in === 1 && runner.partitions().every((p) => p.inFlight === 0))
  let isOver = false
  void events()
    .revoked([first], false)
    .then(() => (isOver = true))
  await w.clock.advance(2999)
  t.is(commits.length, 1)
  t.false(isOver)
  await w.clock.advance(1)
  t.true(isOver)
})

test('runner bounds: what is done behind one that hangs is held in bounds too, and read on when that is over (C6)', async (t) => {
  const w = runnerWorld(topics)
  const task = byHand((value) => value !== 'hangs')
  const runner = w.runner(task.definition, 'p', { recordsInFlightMax: 10 })
  await runner.start()
  w.log.append({ ...first, key: null, value: Buffer.from('hangs') })
  for (let i = 0; i < 200; i++) {
    w.log.append(values(5))
    await w.clock.advance(20)
  }
  const [row] = runner.partitions()
  t.like(row, { state: 'paused', inFlight: 1 })
  const taken = runner.stats().in
  t.true(taken >= 500 && taken < 520, `${taken} of 1001 taken: 50 for each that may be in flight, and what one fetch brings`)
  task.answer(1)
  await w.until('all', () => runner.drained())
  t.is(runner.stats().in, 1001)
})

test('runner bounds: bytes in flight are those of the member, shared by its partitions (C6)', async (t) => {
  const w = runnerWorld(topics)
  const runner = w.runner(byHand().definition, 'p', { bytesInFlightMax: 20_000 })
  await runner.start()
  for (let i = 0; i < 40; i++) {
    w.log.append([0, 1].flatMap((partition) => values(1, partition, 1000)))
    await w.clock.advance(20)
  }
  const inFlight = runner.partitions().map((p) => p.inFlight)
  for (const count of inFlight) t.true(count >= 8 && count <= 10, `${inFlight.join(' and ')} of 1,000 bytes each`)
})

test('runner bounds: a partition that was paused goes on when half of its limit is free, not with each record (C6)', async (t) => {
  const w = runnerWorld(topics)
  const told: string[] = []
  wrapConsumers(w, (inner): Partial<LogConsumer> => ({ pause: (tps) => (told.push('pause'), inner.pause(tps)), resume: (tps) => (told.push('resume'), inner.resume(tps)) }))
  const task = byHand()
  const runner = w.runner(task.definition, 'p', { recordsInFlightMax: 10 })
  await runner.start()
  w.log.append(values(10))
  await w.until('taken', () => runner.stats().in === 10)
  t.deepEqual(told, ['pause'])
  task.answer(4)
  await w.clock.advance(1000)
  t.deepEqual(told, ['pause'])
  task.answer(1)
  await w.clock.advance(1000)
  t.deepEqual(told, ['pause', 'resume'])
})

const sums = defineFunction<WindowFunction<{ atMs: number; id: string }, { total: number }>>({
  kind: 'window',
  name: 'sums',
  inputs: ['in'],
  outputs: ['partials'],
  partialsTopic: 'partials',
  parameters: { windowMs: 1000, graceMs: 0, outOfOrdernessMs: 100, skewMs: 60_000, maxGapMs: 0, idleMs: 600_000 },
  decode: (r) => JSON.parse(text(r)) as { atMs: number; id: string },
  eventTimeMs: (v) => v.atMs,
  identity: (v) => v.id,
  add: (window) => void window.group('all', () => ({ total: 0 })).total++,
  encodePartial: (g) => ({ key: g.key, value: Buffer.from('partial') }),
  encodeMarker: () => Buffer.from('marker'),
  decodeMarker: () => null,
})

test('runner bounds: the three lags of a window function with one window open, as metrics and in `sluice ps` (W9)', async (t) => {
  const gauges = new Map<string, number>()
  const gauge: Telemetry['gauge'] = (name, value, attributes) => void gauges.set([name, attributes?.['kind']].filter(Boolean).join(' '), value)
  const w = runnerWorld({ in: 1, 'in.late': 1, 'in.dlq': 1, partials: 1 }, undefined, { ...silent, gauge })
  const runner = w.runner(sums, 'p')
  await runner.start()
  const startMs = Math.ceil(w.clock.nowMs() / 1000) * 1000
  // Five of a window that closes, three of one that stays open: it is to be read again from its first record.
  const put = (id: number, atMs: number): void => void w.log.append({ ...first, key: null, value: Buffer.from(JSON.stringify({ id: String(id), atMs })) })
  for (let i = 0; i < 5; i++) put(i, startMs + i)
  for (let i = 5; i < 8; i++) put(i, startMs + 1100 + i)
  await w.until('committed', () => w.log.committed('sluice.sums', first)?.nextOffset === 5n)
  await w.clock.advance(startMs + 10_000 - w.clock.nowMs())
  const watermarkLagMs = 10_000 - (1107 - 100)
  t.is(gauges.get('sluice.consumer.lag processing'), 0)
  t.is(gauges.get('sluice.consumer.lag committed'), 3)
  const measuredAgoMs = watermarkLagMs - (gauges.get('sluice.watermark.delay') ?? NaN) * 1000
  t.true(measuredAgoMs >= 0 && measuredAgoMs < 1300, `measured ${measuredAgoMs} ms ago`)
  t.like(partitionRows([{ name: 'sums', runner }], w.clock.nowMs())[0], { processingLag: 0n, committedLag: 3n, watermarkLagMs })
})

test('runner bounds: a partition that stands is behind by what it has not read, whatever is committed (W9)', async (t) => {
  const gauges = new Map<string, number>()
  const gauge: Telemetry['gauge'] = (name, value, attributes) => void gauges.set(`${name} ${attributes?.['kind']} ${attributes?.['messaging.destination.partition.id']}`, value)
  const w = runnerWorld(topics, undefined, { ...silent, gauge })
  const runner = w.runner(byHand().definition, 'p', { recordsInFlightMax: 10 })
  await runner.start()
  w.log.append(values(10))
  await w.until('paused', () => runner.partitions().some((p) => p.state === 'paused'))
  w.log.append(values(7))
  await w.clock.advance(2000)
  t.is(gauges.get('sluice.consumer.lag processing 0'), 7)
  const [row] = partitionRows([{ name: 'by-hand', runner }], w.clock.nowMs())
  t.like(row, { processingLag: 7n, committedLag: null, watermarkLagMs: null, inFlight: 10, state: 'paused' })
})

test('runner bounds: a partition that cannot be opened says so and keeps no other from going on; given up, what it read is closed (B6, C4)', async (t) => {
  const closed: string[] = []
  const w = runnerWorld({ in: 2, out: 1, 'in.dlq': [2, { timestampType: 'CreateTime' }] })
  const driver = w.log.driver.bind(w.log)
  const waiting = (at: string): LogTail => ({
    caughtUp: new Promise(() => undefined),
    close: () => Promise.resolve(void closed.push(at)),
    [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => undefined) }),
  })
  // As a DLQ whose first partition has no leader.
  Object.assign(w.log, {
    driver: (name: string) => {
      const own = driver(name)
      const reader = own.reader()
      const open = (options: TailOptions) => (options.partitions.includes(0 as never) ? Promise.resolve(waiting(options.topic)) : reader.open(options))
      return { ...own, reader: () => ({ ...reader, open }) }
    },
  })
  const copy = defineFunction<MapFunction<string>>({
    kind: 'map',
    name: 'copy',
    inputs: ['in'],
    outputs: ['out'],
    park: 'key',
    decode: (r) => text(r),
    handle: (value) => [{ to: 'topic', topic: 'out', key: null, value: Buffer.from(value) }],
  })
  const runner = w.runner(copy, 'p')
  void runner.start()
  w.log.append([...values(1), ...values(2, 1)].map((r, i) => ({ ...r, key: Buffer.from(`k${i}`) })))
  await w.until('the other one', () => w.log.dump('out').length === 2)
  const rows = partitionRows([{ name: 'copy', runner }], w.clock.nowMs())
  t.like(rows[0], { partition: 0, state: 'running', code: null, reason: 'being opened: what it goes on from is read from the log' })
  t.like(rows[1], { partition: 1, state: 'running', reason: null, processingLag: 0n })
  t.false(runner.drained())
  t.deepEqual(closed, [])
  const stopping = runner.stop(100)
  await w.clock.advance(1000)
  await stopping
  t.deepEqual(closed, ['in.dlq'])
})

test('runner bounds: what a partition cannot take in ends it as a defect, and nothing is committed past it (C1)', async (t) => {
  const w = runnerWorld(topics)
  let isInOrder = true
  wrapConsumers(w, (inner) => ({
    start: (events) => inner.start({ ...events, records: (tp, epoch, records, readTo) => events.records(tp, epoch, isInOrder ? records : records.toReversed(), readTo) }),
  }))
  const runner = w.runner(byHand(() => true).definition, 'p')
  await runner.start()
  w.log.append(values(2))
  await w.until('handled', () => runner.drained())
  isInOrder = false
  w.log.append(values(2))
  await w.until('met', () => w.fatal.length > 0)
  t.is(w.fatal[0]?.code, 'SLU_INTERNAL')
  t.like(runner.partitions()[0], { state: 'held', code: 'SLU_INTERNAL' })
  await w.clock.advance(5000)
  t.is(w.log.committed('sluice.by-hand', first)?.nextOffset, 2n)
})

test('runner bounds: where the log cannot say yet where partitions begin, those that need it wait and say so, those that do not go on (B6)', async (t) => {
  const w = runnerWorld(topics)
  let refusals = 3
  const driver = w.log.driver.bind(w.log)
  Object.assign(w.log, {
    driver: (name: string) => {
      const own = driver(name)
      const admin = own.admin()
      const ranges: LogAdmin['ranges'] = (topic) => (refusals-- > 0 ? Promise.reject(new SluiceError('SLU_LOG_NOT_READY', `${topic}/1 has no leader`)) : admin.ranges(topic))
      return { ...own, admin: () => ({ ...admin, topics: admin.topics.bind(admin), ranges }) }
    },
  })
  w.log.append([...values(1), ...values(1, 1)])
  w.log.setCommitted('sluice.by-hand', first, { nextOffset: 0n, metadata: '' })
  const runner = w.runner(byHand(() => true).definition, 'p')
  await runner.start()
  await w.clock.advance(1)
  t.is(runner.stats().in, 1)
  t.regex(runner.partitions()[1]?.reason ?? '', /^being opened: .*SLU_LOG_NOT_READY.*in\/1 has no leader/)
  await w.until('all', () => runner.drained())
  t.is(runner.stats().in, 2)
  t.is(runner.stats().rebalances, 1)
})
