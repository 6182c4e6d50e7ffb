import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, type Emit, type TaskContext, type TaskFunction } from '../../streams/define-function.ts'
import { createPlaces, type Places } from '../../streams/places.ts'
import { createTaskPartition } from '../../streams/task.ts'
import { codecs, partitionWorld, settle, valueOf, type PartitionWorld } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

/** A handler whose calls are ended by the test. */
function stage(more: Partial<TaskFunction<string>> = {}) {
  const calls: { value: string; context: TaskContext; answer: (emits?: readonly Emit[]) => void; fail: (e: unknown) => void }[] = []
  const definition = defineFunction<TaskFunction<string>>({
    kind: 'task',
    name: 'f',
    inputs: ['in'],
    outputs: ['out'],
    order: 'key',
    concurrency: 3,
    deadlineMs: 5000,
    decode: (r) => {
      if (valueOf(r) === 'bad') throw new SluiceError('SLU_RECORD_UNDECODABLE', '')
      return valueOf(r)
    },
    handle: (value, _record, context) =>
      new Promise((resolve, reject) => {
        calls.push({ value, context, answer: (emits = [{ to: 'topic', topic: 'out', key: null, value: Buffer.from(value) }]) => resolve(emits), fail: reject })
      }),
    ...more,
  })
  const values = (): string[] => calls.map((c) => c.value)
  return { calls, definition, values }
}

function open(w: PartitionWorld, definition: TaskFunction<string>, placesMax = 10, shared?: Places) {
  const places = shared ?? createPlaces(placesMax, () => partition.pump())
  const context = { site: 's', codecs, nowMs: () => w.clock.nowMs() }
  const partition = createTaskPartition({
    definition,
    context,
    environment: w.environment,
    topic: 'in',
    partition: 0,
    committed: null,
    start: 0n,
    sink: w.sink,
    once: null,
    transactional: null,
    parking: null,
    abort: w.abort,
    places,
    ready: definition.ready?.() ?? Promise.resolve(),
  })
  return partition
}
const take = (partition: ReturnType<typeof open>, keys: readonly string[], from = 0): void =>
  partition.take(
    keys.map((key, i) => record(from + i, { key, value: `${key}${from + i}` })),
    BigInt(from + keys.length),
  )

test('task: records finish in any order, what may be committed never passes the slowest (C1, T2)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  const partition = open(w, s.definition)
  take(partition, ['a', 'b', 'c', 'd'])
  await settle()
  t.deepEqual(s.values(), ['a0', 'b1', 'c2'])
  s.calls[1]?.answer()
  s.calls[2]?.answer()
  await settle()
  t.deepEqual(s.values(), ['a0', 'b1', 'c2', 'd3'])
  t.is(partition.uncommitted(), null)
  s.calls[0]?.answer()
  await settle()
  t.deepEqual(partition.uncommitted(), { nextOffset: 3n, metadata: '' })
  t.deepEqual(w.sent.map(valueOf), ['b1', 'c2', 'a0'])
})

test('task: nothing is committable before what it emitted is acknowledged (C1)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  w.refuse = () => new SluiceError('SLU_LOG_UNREACHABLE', '')
  const partition = open(w, s.definition)
  take(partition, ['a'])
  await settle()
  s.calls[0]?.answer()
  await w.clock.advance(2000)
  t.is(partition.uncommitted(), null)
  w.refuse = () => null
  await w.clock.advance(2000)
  t.is(partition.uncommitted()?.nextOffset, 1n)
  t.is(s.calls.length, 1)
})

test('task: two records of a key are never in flight together, other keys run beside them (T2)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  take(open(w, s.definition), ['a', 'a', 'b'])
  await settle()
  t.deepEqual(s.values(), ['a0', 'b2'])
  s.calls[0]?.answer()
  await settle()
  t.deepEqual(s.values(), ['a0', 'b2', 'a1'])
})

test('task: it is given signal, deadline, try and a key that is the same in every try (T1)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  take(open(w, s.definition), ['a'])
  await settle()
  const [first] = s.calls
  t.is(first?.context.deadlineMs, w.clock.nowMs() + 5000)
  t.is(first?.context.attempt, 1)
  first?.fail(new SluiceError('SLU_HANDLER_TIMEOUT', ''))
  await w.clock.advance(1000)
  t.is(s.calls[1]?.context.attempt, 2)
  t.is(s.calls[1]?.context.idempotencyKey, 'in/0/0')
  t.is(first?.context.idempotencyKey, 'in/0/0')
})

test('task: a failed try is repeated before the later ones of its key while other keys go on; used up, it is parked with its tries (D1, D2)', async (t) => {
  const [w, s] = [partitionWorld(), stage({ concurrency: 1 })]
  const partition = open(w, s.definition, 1)
  take(partition, ['a', 'a', 'b'])
  await settle()
  s.calls[0]?.fail(new SluiceError('SLU_HANDLER_TIMEOUT', ''))
  await settle()
  t.deepEqual(s.values(), ['a0', 'b2'])
  s.calls[1]?.answer()
  for (const _ of [1, 2]) {
    await w.clock.advance(2000)
    s.calls.at(-1)?.fail(new SluiceError('SLU_HANDLER_TIMEOUT', ''))
  }
  await settle()
  t.deepEqual(s.values(), ['a0', 'b2', 'a0', 'a0', 'a1'])
  const dead = w.sent.find((r) => r.topic === 'in.dlq')
  t.is(dead?.headers?.find(([n]) => n === 'sluice.attempts')?.[1].toString(), '3')
  t.is(dead?.headers?.find(([n]) => n === 'sluice.error.code')?.[1].toString(), 'SLU_HANDLER_TIMEOUT')
})

test('task: an output too large is parked with all tries of its record, not as if it were the first (D1)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  w.refuse = (records) => (records.some((r) => r.topic === 'out') ? new SluiceError('SLU_LOG_RECORD_TOO_LARGE', '') : null)
  take(open(w, s.definition), ['a'])
  await settle()
  s.calls[0]?.fail(new SluiceError('SLU_LOG_UNREACHABLE', ''))
  await w.clock.advance(1000)
  s.calls[1]?.answer()
  await w.clock.advance(1000)
  t.deepEqual(
    w.sent.map((r) => [r.topic, r.headers?.find(([name]) => name === 'sluice.attempts')?.[1].toString()]),
    [['in.dlq', '2']],
  )
})

test('task: a full pool only makes records wait; no try is spent, nothing is parked (C5)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  const partition = open(w, s.definition, 1)
  take(partition, ['a', 'b', 'c'])
  await w.clock.advance(600)
  t.is(s.calls.length, 1)
  t.is(partition.load().records, 3)
  for (const i of [0, 1, 2]) {
    s.calls[i]?.answer()
    await settle()
  }
  t.deepEqual(
    s.calls.map((c) => c.context.attempt),
    [1, 1, 1],
  )
  t.is(w.stats.retries, 0)
  t.is(w.stats.deadLetters, 0)
})

test('task: past its deadline it is aborted; one that ignores the abort is given up and never holds its place for ever', async (t) => {
  const [w, s] = [partitionWorld(), stage({ concurrency: 1 })]
  take(open(w, s.definition, 1), ['a', 'b'])
  await w.clock.advance(5000)
  t.true(s.calls[0]?.context.signal.aborted)
  t.like(s.calls[0]?.context.signal.reason, { code: 'SLU_HANDLER_TIMEOUT' })
  t.is(s.calls.length, 1)
  await w.clock.advance(1000)
  t.deepEqual(s.values(), ['a0', 'b1'])
  s.calls[0]?.answer()
  await settle()
  t.deepEqual(w.sent, [])
})

test('task: an aborted handler may still answer by itself, and that answer counts', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  const partition = open(w, s.definition)
  take(partition, ['a'])
  await w.clock.advance(5000)
  s.calls[0]?.answer()
  await settle()
  t.deepEqual(w.sent.map(valueOf), ['a0'])
  t.is(partition.uncommitted()?.nextOffset, 1n)
})

test('task: a handler that throws, answers nonsense or emits elsewhere is a dead letter, and the stream goes on (D6)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  const partition = open(w, s.definition)
  partition.take(
    ['bad', 'x', 'y', 'z'].map((value, i) => record(i, { key: String(i), value })),
    4n,
  )
  await settle()
  s.calls[0]?.fail(new TypeError('bug'))
  s.calls[1]?.answer('nonsense' as never)
  s.calls[2]?.answer([{ to: 'topic', topic: 'secret', key: null, value: null }])
  await settle()
  const codes = w.sent.map((r) => r.headers?.find(([n]) => n === 'sluice.error.code')?.[1].toString())
  t.deepEqual(codes, ['SLU_RECORD_UNDECODABLE', 'SLU_HANDLER_FAILED', 'SLU_HANDLER_FAILED', 'SLU_HANDLER_FAILED'])
  t.is(partition.uncommitted()?.nextOffset, 4n)
})

test('task: while the DLQ cannot be written nothing new starts, and it goes on by itself (D3)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  w.refuse = (r) => (r[0]?.topic === 'in.dlq' ? new SluiceError('SLU_LOG_UNREACHABLE', '') : null)
  const partition = open(w, s.definition)
  take(partition, ['a'])
  await settle()
  s.calls[0]?.fail(new TypeError('bug'))
  await settle()
  take(partition, ['b'], 1)
  await w.clock.advance(5000)
  t.is(s.calls.length, 1)
  t.is(partition.status().code, 'SLU_LOG_DLQ_UNWRITABLE')
  w.refuse = () => null
  await w.clock.advance(5000)
  t.deepEqual(s.values(), ['a0', 'b1'])
  t.is(partition.uncommitted()?.nextOffset, 1n)
})

test('task: a hold is never counted as a try and never parked; a fatal error stops the process and commits nothing', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  const partition = open(w, s.definition)
  take(partition, ['a'])
  for (let i = 0; i < 6; i++) {
    await w.clock.advance(1000)
    s.calls.at(-1)?.fail(new SluiceError('SLU_EGRESS_HOLD', ''))
    await settle()
  }
  t.is(partition.status().code, 'SLU_EGRESS_HOLD')
  t.is(w.stats.deadLetters, 0)
  await w.clock.advance(1000)
  s.calls.at(-1)?.fail(new SluiceError('SLU_LEDGER_UNWRITABLE', ''))
  await settle()
  t.is(w.fatal[0]?.code, 'SLU_LEDGER_UNWRITABLE')
  t.is(partition.uncommitted(), null)
})

for (const [end, act] of [
  ['parked', (s: ReturnType<typeof stage>) => s.calls.at(-1)?.fail(new SluiceError('SLU_RECORD_REFUSED', ''))],
  ['answered', (s: ReturnType<typeof stage>) => s.calls.at(-1)?.answer()],
  ['to be tried again', (s: ReturnType<typeof stage>) => s.calls.at(-1)?.fail(new SluiceError('SLU_LOG_UNREACHABLE', ''))],
] as const)
  test(`task: a hold is over once the record that it held is ${end}; the partition never shows what holds nothing any more (B6, W9)`, async (t) => {
    const [w, s] = [partitionWorld(), stage()]
    const partition = open(w, s.definition)
    take(partition, ['a'])
    await settle()
    s.calls.at(-1)?.fail(new SluiceError('SLU_EGRESS_HOLD', ''))
    await settle()
    t.true(partition.status().isHeld)
    await w.clock.advance(1000)
    act(s)
    await settle()
    await settle()
    t.false(partition.status().isHeld)
    t.not(partition.status().code, 'SLU_EGRESS_HOLD')
  })

test('task: a hold stays while another record is held, whatever becomes of the first', async (t) => {
  const [w, s] = [partitionWorld(), stage({ concurrency: 2 })]
  const partition = open(w, s.definition)
  take(partition, ['a', 'b'])
  await settle()
  s.calls[0]?.fail(new SluiceError('SLU_EGRESS_HOLD', 'first'))
  s.calls[1]?.fail(new SluiceError('SLU_EGRESS_HOLD', 'second'))
  await settle()
  await w.clock.advance(1000)
  t.is(s.calls.length, 4)
  const again = s.calls.slice(2)
  again[0]?.answer()
  await settle()
  t.is(partition.status().code, 'SLU_EGRESS_HOLD')
  again[1]?.answer()
  await settle()
  t.false(partition.status().isHeld)
})

test('task: the tries that a hold took are not missing afterwards (C5, D1)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  take(open(w, s.definition), ['a'])
  const codes = ['SLU_EGRESS_HOLD', 'SLU_EGRESS_HOLD', 'SLU_LOG_UNREACHABLE', 'SLU_LOG_UNREACHABLE'] as const
  for (const code of codes) {
    await w.clock.advance(1000)
    s.calls.at(-1)?.fail(new SluiceError(code, ''))
    await settle()
  }
  await w.clock.advance(1000)
  t.is(s.calls.length, 5)
  s.calls.at(-1)?.answer()
  await settle()
  t.deepEqual(
    w.sent.map((r) => r.topic),
    ['out'],
  )
})

test('task: revoked, it waits for what is in flight and starts nothing (C4); closed, handlers are aborted and write nothing (C3)', async (t) => {
  const [w, s] = [partitionWorld(), stage({ concurrency: 2 })]
  const partition = open(w, s.definition)
  take(partition, ['a', 'b', 'c'])
  await settle()
  partition.stopIntake()
  let isSettled = false
  void partition.settled().then(() => (isSettled = true))
  s.calls[0]?.answer()
  await settle()
  t.false(isSettled)
  t.is(partition.uncommitted()?.nextOffset, 1n)
  await partition.close()
  await w.clock.advance(10)
  t.true(isSettled)
  t.like(s.calls[1]?.context.signal.reason, { code: 'SLU_LOG_STALE_EPOCH' })
  s.calls[1]?.answer()
  await settle()
  t.deepEqual(w.sent.map(valueOf), ['a0'])
  t.deepEqual(s.values(), ['a0', 'b1'])
})

test('task: no record is handed out before the function is ready (R10)', async (t) => {
  const w = partitionWorld()
  let ready = (): void => undefined
  const s = stage({ ready: () => new Promise<void>((resolve) => (ready = resolve)) })
  take(open(w, s.definition), ['a'])
  await w.clock.advance(600)
  t.is(s.calls.length, 0)
  ready()
  await settle()
  t.is(s.calls.length, 1)
})

test('task: one trace runs from the producer through the handler to what it emits', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  open(w, s.definition).take([record(0, { key: 'a', value: 'x', headers: [['traceparent', Buffer.from('00-producer')]] })], 1n)
  await settle()
  t.deepEqual(w.spans[0]?.parent, { traceparent: '00-producer' })
  t.is(w.spans[0]?.kind, 'consumer')
  t.deepEqual(s.calls[0]?.context.carrier, { traceparent: '00-span1' })
  s.calls[0]?.answer()
  await settle()
  t.deepEqual(w.sent[0]?.headers, [['traceparent', Buffer.from('00-span1')]])
})

test('task: a tick is skipped, never handed out (W8)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  const partition = open(w, s.definition)
  partition.take([record(0, { headers: [['sluice.tick', Buffer.alloc(0)]] })], 1n)
  await settle()
  t.is(s.calls.length, 0)
  t.is(partition.uncommitted()?.nextOffset, 1n)
})

test('task: a copy that another function parked is skipped, never handed out (D5)', async (t) => {
  const [w, s] = [partitionWorld(), stage()]
  const partition = open(w, s.definition)
  partition.take([record(0, { key: 'a', value: 'a', headers: [['sluice.redrive.for', Buffer.from('other/in')]] })], 1n)
  await settle()
  t.is(s.calls.length, 0)
  t.is(partition.uncommitted()?.nextOffset, 1n)
})

test('task: what a try wrote into its record, the next try and the dead letter do not see (D1, D2)', async (t) => {
  const w = partitionWorld()
  const seen: string[] = []
  const definition: TaskFunction<Buffer> = {
    ...(stage().definition as unknown as TaskFunction<Buffer>),
    decode: (r) => r.value as Buffer,
    handle: (value, r) => {
      seen.push(`${value.toString()} ${String(r.value)} ${String(r.key)}`)
      value.fill('!')
      r.value?.fill('?')
      r.key?.fill('?')
      return Promise.reject(new SluiceError('SLU_LOG_UNREACHABLE', ''))
    },
  }
  const partition = open(w, definition as unknown as TaskFunction<string>)
  take(partition, ['a'])
  await settle()
  for (const _ of [1, 2, 3, 4]) await w.clock.advance(2000)
  await settle()
  t.is(seen.length, w.environment.retry.attemptsMax)
  t.deepEqual(new Set(seen), new Set(['a0 a0 a']))
  t.deepEqual([w.sent[0]?.value, w.sent[0]?.key], [Buffer.from('a0'), Buffer.from('a')])
})

for (const order of ['partition', 'key', 'unordered'] as const)
  test(`task: what cannot be decoded is parked at once and holds neither key nor place, in order ${order}, while the DLQ is slow (B6, D6)`, async (t) => {
    const [w, s] = [partitionWorld(), stage({ order, concurrency: 2 })]
    let answered = (): void => undefined
    const slow = new Promise<void>((resolve) => (answered = resolve))
    const asked: unknown[] = []
    w.refuse = (records) => {
      if (records[0]?.topic !== 'in.dlq') return null
      asked.push(records[0].value)
      return slow
    }
    const partition = open(w, s.definition, 2)
    partition.take(
      ['bad', 'bad', 'bad', 'bad', 'good'].map((value, i) => record(i, { key: 'k', value })),
      5n,
    )
    await settle()
    t.is(asked.length, 4)
    t.deepEqual(s.values(), ['good'])
    s.calls[0]?.answer()
    await settle()
    t.is(partition.uncommitted(), null)
    answered()
    await settle()
    t.deepEqual(partition.uncommitted(), { nextOffset: 5n, metadata: '' })
    t.is(w.stats.deadLetters, 4)
  })

test('task: handlers that answer at once give the thread back every thousand records, and all are handled (T3)', async (t) => {
  const w = partitionWorld()
  const handled: string[] = []
  const { definition } = stage({
    handle: (value) => {
      handled.push(value)
      return Promise.resolve([])
    },
  })
  const partition = open(w, definition)
  const keys = Array.from({ length: 2500 }, (_, i) => `k${i % 7}-`)
  take(partition, keys)
  await settle()
  const begun: number[] = [handled.length]
  // Of another: its turn comes between.
  w.clock.setTimer(0, () => begun.push(handled.length))
  await w.clock.advance(0)
  begun.push(handled.length)
  t.deepEqual(begun, [1000, 2000, 2500])
  t.deepEqual(partition.uncommitted(), { nextOffset: 2500n, metadata: '' })
  t.is(partition.load().records, 0)
})

test('task: a partition that gave the thread back with work left waits for its fair share, and no other takes it (B6)', async (t) => {
  const [quick, slow] = [partitionWorld(), partitionWorld()]
  const hanging = stage({ concurrency: 100 })
  const { definition } = stage({ concurrency: 100, handle: () => Promise.resolve([]) })
  const opened: ReturnType<typeof open>[] = []
  const places = createPlaces(8, () => opened.forEach((partition) => partition.pump()))
  opened.push(open(quick, definition, 8, places), open(slow, hanging.definition, 8, places))
  const keys = (n: number): string[] => Array.from({ length: n }, (_, i) => `k${i}-`)
  await settle()
  take(opened[0] as ReturnType<typeof open>, keys(3000))
  for (let i = 0; i < 20; i++) await Promise.resolve()
  take(opened[1] as ReturnType<typeof open>, keys(50))
  await settle()
  t.true((opened[0]?.load().records ?? 0) > 0)
  t.true(hanging.calls.length <= 4, `${hanging.calls.length} of 8 places`)
  await quick.clock.advance(0)
  t.is(opened[0]?.load().records, 0)
})

test('task: a handler that returns no promise is parked with what it must return, never with a call of ours that failed (D6)', async (t) => {
  const w = partitionWorld()
  const sync = (value: string): unknown => {
    if (value === 'list') return []
    if (value === 'nothing') return undefined
    // oxlint-disable-next-line unicorn/no-thenable -- as good as a promise
    return { then: (resolve: (emits: readonly Emit[]) => void) => resolve([{ to: 'topic', topic: 'out', key: null, value: Buffer.from('sent') }]) }
  }
  const partition = open(w, stage({ handle: sync as TaskFunction<string>['handle'] }).definition)
  partition.take(
    ['list', 'nothing', 'thenable'].map((value, i) => record(i, { key: value, value })),
    3n,
  )
  await settle()
  const messages = w.sent.flatMap(({ headers }) => headers?.find(([name]) => name.endsWith('exception.message'))?.[1].toString() ?? [])
  t.deepEqual(
    messages.map((message) => message.replace(/^.*may not: /, '')),
    ['a list', 'undefined'].map((what) => `f: handle returned ${what}, but handle of a task must return a promise; make it async`),
  )
  t.true(w.sent.map(valueOf).includes('sent'))
  t.deepEqual(partition.uncommitted(), { nextOffset: 3n, metadata: '' })
})
