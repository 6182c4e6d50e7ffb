import test from 'ava'
import { partitionLines, ps } from '../../cli/ps.ts'
import { partitionRows, type PartitionRow } from '../../cli/site-status.ts'
import type { Output } from '../../cli/output.ts'
import { metricNames } from '../../schemas/telemetry-names.ts'
import type { Attributes } from '../../schemas/ports.ts'
import { defineFunction, type AnyFunction, type MapFunction, type TaskFunction } from '../../streams/define-function.ts'
import { runnerWorld, silent, text } from '../helpers/runner-world.ts'

test('ps: a partition that stands still says which and why, with its lags; the others of the function run on (W9)', async (t) => {
  const w = runnerWorld({ in: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] })
  const broken = defineFunction<MapFunction<null>>({
    kind: 'map',
    name: 'broken',
    inputs: ['in'],
    outputs: [],
    decode: (r) => {
      if (r.value?.toString() === 'poison') throw new TypeError('x')
      return null
    },
    handle: () => [],
  })
  w.log.failSends(1e9, 'SLU_LOG_UNREACHABLE', { topic: 'in.dlq' })
  w.log.append(
    [0, 1].flatMap((partition) => Array.from({ length: 3 }, (_, i) => ({ topic: 'in', partition, key: null, value: Buffer.from(partition === 0 && i === 1 ? 'poison' : 'fine') }))),
  )
  const runner = w.runner(broken, 'p')
  await runner.start()
  const rows = (): PartitionRow[] => partitionRows([{ name: 'broken', runner }], w.clock.nowMs())
  await w.until('held', () => rows().some((r) => r.state === 'held'))
  await w.until('the other one goes on', () => rows().some((r) => r.partition === 1 && r.committedLag === 0n))
  const held = rows().find((r) => r.partition === 0)
  t.like(held, { state: 'held', code: 'SLU_LOG_DLQ_UNWRITABLE', processingLag: 3n, inFlight: 3 })
  const [, first, why] = partitionLines(rows())
  t.regex(first ?? '', /^broken +in\/0 +held/, 'what stands still comes first')
  t.regex(why ?? '', /SLU_LOG_DLQ_UNWRITABLE/)
  let isStopped = false
  const stopping = runner.stop(100).then(() => (isStopped = true))
  await w.until('stopped', () => isStopped)
  await stopping
})

test('ps: where no process answers it says so, and does not hang', async (t) => {
  const output: Output = { isJson: true, line: () => undefined, json: () => undefined, note: () => undefined, error: () => undefined }
  await t.throwsAsync(ps({ siteFile: 'site.yaml', output, environment: {} }, [], { url: ['http://127.0.0.1:1'] }), { message: /SLU_ENV_NOT_RUNNING.*127.0.0.1:1\/status/ })
})

/** A function on two input partitions, with what `sluice ps` and the metrics say of it. */
function watched(definition: AnyFunction) {
  const blocked = new Map<string, number>()
  const gauge = (name: string, value: number, attributes?: Attributes): void => {
    if (name === metricNames.partitionBlocked) blocked.set(`${attributes?.['messaging.destination.partition.id']} ${attributes?.['reason']}`, value)
  }
  const w = runnerWorld({ in: 2, out: 2, side: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] }, undefined, { ...silent, gauge })
  const runner = w.runner(definition, 'p')
  const rowOf = (partition: number) => partitionRows([{ name: definition.name, runner }], w.clock.nowMs()).find((r) => r.partition === partition)
  const put = (partition: number, ...values: string[]) => w.log.append(values.map((value) => ({ topic: 'in', partition, key: Buffer.from(value), value: Buffer.from(value) })))
  const stop = async (): Promise<void> => {
    let isStopped = false
    const stopping = runner.stop(100).then(() => (isStopped = true))
    await w.until('stopped', () => isStopped)
    await stopping
  }
  /** Reasons that the metrics show now, `<partition> <reason>`. */
  const shown = (): string[] => [...blocked].flatMap(([what, value]) => (value === 1 ? [what] : []))
  return { w, runner, rowOf, put, stop, shown }
}
const emitTo = (value: string, partition: number) => [{ to: 'topic' as const, topic: partition === 0 ? 'out' : 'side', key: null, value: Buffer.from(value) }]
const handlers: readonly AnyFunction[] = [
  defineFunction<MapFunction<string>>({
    kind: 'map',
    name: 'm',
    inputs: ['in'],
    outputs: ['out', 'side'],
    decode: (r) => {
      if (text(r) === 'poison') throw new TypeError('x')
      return text(r)
    },
    handle: (value, r) => emitTo(value, r.partition),
  }),
  defineFunction<TaskFunction<string>>({
    kind: 'task',
    name: 't',
    inputs: ['in'],
    outputs: ['out', 'side'],
    order: 'partition',
    concurrency: 4,
    deadlineMs: 1000,
    decode: text,
    handle: async (value, r) => {
      if (value === 'poison') throw new TypeError('x')
      return emitTo(value, r.partition)
    },
  }),
]

for (const definition of handlers) {
  test(`B6 ${definition.kind}: a poison record that no DLQ takes blocks its own partition, which says so by name; the other one goes on (D3)`, async (t) => {
    const { w, runner, rowOf, put, stop, shown } = watched(definition)
    await runner.start()
    w.log.failSends(1e9, 'SLU_LOG_FORBIDDEN', { topic: 'in.dlq' })
    put(0, 'poison', 'behind')
    await w.until('held', () => rowOf(0)?.code === 'SLU_LOG_DLQ_UNWRITABLE')
    put(1, 'a', 'b', 'c')
    await w.until('the other one', () => w.log.dump('side').length === 3 && rowOf(1)?.committedLag === 0n)
    t.is(rowOf(0)?.state, 'held')
    t.is(w.log.committed(`sluice.${definition.name}`, { topic: 'in', partition: 0 }), null)
    t.is(rowOf(1)?.reason, null)
    await w.until('shown', () => shown().join() === '0 SLU_LOG_DLQ_UNWRITABLE')
    t.deepEqual(w.log.dump('out'), [])
    await stop()
    t.deepEqual(shown(), [], 'what was given up is blocked by nothing here')
  })

  test(`B6 ${definition.kind}: a sink that does not answer blocks the partition that writes to it, which says so; nothing is parked, no try is spent, the other one goes on (C5)`, async (t) => {
    const { w, runner, rowOf, put, stop, shown } = watched(definition)
    await runner.start()
    w.log.failSends(40, 'SLU_LOG_UNREACHABLE', { topic: 'out' })
    put(0, 'a', 'b')
    await w.until('waits', () => rowOf(0)?.code === 'SLU_LOG_UNREACHABLE')
    put(1, 'c', 'd')
    await w.until('the other one', () => w.log.dump('side').length === 2 && rowOf(1)?.committedLag === 0n)
    t.is(rowOf(1)?.reason, null)
    t.is(w.log.committed(`sluice.${definition.name}`, { topic: 'in', partition: 0 }), null)
    await w.until('shown', () => shown().join() === '0 SLU_LOG_UNREACHABLE')
    await w.until('it is back', () => w.log.dump('out').length === 2)
    await w.until('no longer shown', () => shown().length === 0 && rowOf(0)?.reason === null)
    t.deepEqual(w.log.dump('in.dlq'), [])
    await stop()
  })
}

/** Every effect takes 4 s; when each began. */
function slowTask(concurrency: number) {
  const began: string[] = []
  const slow = defineFunction<TaskFunction<string>>({
    kind: 'task',
    name: 't',
    inputs: ['in'],
    outputs: ['out', 'side'],
    order: 'key',
    concurrency,
    deadlineMs: 10_000,
    decode: text,
    handle: (value, r) => {
      began.push(value)
      return new Promise((resolve) => void world.w.clock.setTimer(4000, () => resolve(emitTo(value, r.partition))))
    },
  })
  const world = watched(slow)
  return { ...world, began }
}
const many = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

test('B6 task: a pool filled by one partition keeps no other from beginning at once; what waits beyond that says why, and nothing is parked (C5)', async (t) => {
  const { w, runner, rowOf, put, stop, shown, began } = slowTask(2)
  await runner.start()
  put(0, ...many('a', 20))
  await w.until('full', () => rowOf(0)?.reason?.startsWith('every place') === true)
  put(1, 'b', 'c')
  await w.until('the other one begins', () => began.includes('b'), 200)
  t.deepEqual(began, ['a0', 'b'])
  await w.until('and waits for more', () => rowOf(1)?.reason?.startsWith('every place') === true)
  await w.until(
    'shown',
    () =>
      shown()
        .toSorted((a, b) => (a < b ? -1 : 1))
        .join() === '0 places,1 places',
    1500,
  )
  await w.until('the other one', () => w.log.dump('side').length === 2, 10_000)
  t.true(w.log.dump('out').length < 10, 'it did not wait for the backlog')
  await w.until('all', () => w.log.dump('out').length === 20, 100_000)
  await w.until('no longer shown', () => shown().length === 0)
  t.deepEqual([w.log.dump('in.dlq'), runner.stats().retries], [[], 0])
  await stop()
})

test('B6 task: effects whose writes no log takes hold their places as long as that lasts, and the other partition goes on beside them (C5)', async (t) => {
  const { w, runner, put, stop } = slowTask(4)
  await runner.start()
  w.log.failSends(1e9, 'SLU_LOG_UNREACHABLE', { topic: 'out' })
  put(0, ...many('a', 20))
  await w.clock.advance(30_000)
  put(1, ...many('b', 5))
  await w.until('the other one', () => w.log.dump('side').length === 5, 25_000)
  t.deepEqual([w.log.dump('out'), w.log.dump('in.dlq')], [[], []])
  await stop()
})

test('ps: commits that fail in a way that may pass hold nothing: the partition works on, says why its offset stands, and commits when they succeed (C3)', async (t) => {
  const { w, runner, rowOf, put, stop, shown } = watched(handlers[0] as AnyFunction)
  await runner.start()
  w.log.failCommits(20, 'SLU_LOG_FAILED')
  put(0, 'a')
  await w.until('shown', () => shown().join() === '0 SLU_LOG_FAILED')
  t.like(rowOf(0), { state: 'running', code: 'SLU_LOG_FAILED' })
  t.regex(rowOf(0)?.reason ?? '', /^its commits fail: SLU_LOG_FAILED/)
  put(0, 'b')
  await w.until('works on', () => w.log.dump('out').length === 2)
  await w.until('committed', () => rowOf(0)?.committedLag === 0n)
  await w.until('no longer shown', () => shown().length === 0 && rowOf(0)?.reason === null)
  t.is(w.log.dump('out').length, 2)
  await stop()
})

test('ps: a reason that quotes a record is shown, never obeyed by the terminal', (t) => {
  const row: PartitionRow = {
    function: 'f',
    topic: 'in',
    partition: 0,
    state: 'held',
    processingLag: 1n,
    committedLag: 1n,
    watermarkLagMs: null,
    inFlight: 1,
    code: 'C',
    reason: '\u001b[2J\nf',
  }
  t.is(partitionLines([row]).at(-1), String.raw`  C  \x1b[2J\x0af`)
})
