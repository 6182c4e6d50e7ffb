import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { OutRecord } from '../../schemas/log.ts'
import { defineFunction, type LambdaContext, type MapFunction, type TaskFunction } from '../../streams/define-function.ts'
import { lambdaEvent } from '../../streams/lambda-event.ts'
import { toLambda, type ToLambdaPorts } from '../../streams/to-lambda.ts'
import { createVirtualClock } from '../fakes/virtual-clock.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { settle } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

const context = { getRemainingTimeInMillis: () => 1000 } as LambdaContext
const upper = defineFunction<MapFunction<string>>({
  kind: 'map',
  name: 'upper',
  inputs: ['in'],
  outputs: ['out'],
  decode: (r) => {
    if (r.value === null) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'no value')
    return r.value.toString()
  },
  handle: (text) => [
    { to: 'topic', topic: 'out', key: text, value: Buffer.from(text.toUpperCase()) },
    ...(text === 'half' ? [{ to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason: 'the other half' } as const] : []),
  ],
})

function world(more: Partial<ToLambdaPorts> = {}) {
  const sent: OutRecord[] = []
  const failures: unknown[] = []
  const ports: ToLambdaPorts = {
    site: 's',
    codecs: testCodecs(),
    nowMs: () => 0,
    send: (records) => {
      sent.push(...records)
      return Promise.resolve()
    },
    onFailure: (_record, error) => void failures.push(error),
    ...more,
  }
  return { sent, failures, ports }
}
const eventOf = (...values: (string | null)[]) =>
  lambdaEvent(
    values.map((value, i) => record(i, { value, headers: [['traceparent', Buffer.from('00-a')]] })),
    '',
  )

test('to lambda: a map function answers an event with what it emits, keys, values and trace kept', async (t) => {
  const w = world({ topicPrefix: 'p.' })
  t.deepEqual(await toLambda(upper, w.ports)(eventOf('a', 'b'), context), { batchItemFailures: [] })
  t.deepEqual(
    w.sent.map((r) => [r.topic, r.key?.toString(), r.value?.toString(), r.headers?.[0]?.[0]]),
    [
      ['p.out', 'a', 'A', 'traceparent'],
      ['p.out', 'b', 'B', 'traceparent'],
    ],
  )
})

test('to lambda: the first failure of a partition is listed, what follows it is left for the next try, other partitions go on', async (t) => {
  const w = world()
  const event = { ...eventOf('a', null, 'c'), records: { ...eventOf('a', null, 'c').records, ...lambdaEvent([record(7, { partition: 1, value: 'z' })], '').records } }
  t.deepEqual(await toLambda(upper, w.ports)(event, context), { batchItemFailures: [{ itemIdentifier: { partition: 'in-0', offset: 1 } }] })
  t.deepEqual(
    w.sent.map((r) => r.value?.toString()),
    ['A', 'Z'],
  )
  t.is((w.failures[0] as SluiceError).code, 'SLU_RECORD_UNDECODABLE')
})

test('to lambda: what cannot be sent is a failure of the record, never a success', async (t) => {
  const w = world({ send: () => Promise.reject(new SluiceError('SLU_LOG_UNREACHABLE', '')) })
  t.is((await toLambda(upper, w.ports)(eventOf('a'), context)).batchItemFailures.length, 1)
})

test('to lambda: a dead letter beside emits needs somewhere to go; without it the record fails and nothing of it is sent (N2)', async (t) => {
  const without = world()
  t.is((await toLambda(upper, without.ports)(eventOf('half'), context)).batchItemFailures.length, 1)
  t.deepEqual(without.sent, [])
  const parked: string[] = []
  const having = world({ deadLetter: (_r, error) => (parked.push(error.code), Promise.resolve()) })
  t.deepEqual(await toLambda(upper, having.ports)(eventOf('half'), context), { batchItemFailures: [] })
  t.deepEqual(parked, ['SLU_TELEMETRY_PART'])
})

type Handle = TaskFunction<null>['handle']
const task = (handle: Handle, deadlineMs = 100): TaskFunction<null> =>
  defineFunction<TaskFunction<null>>({ kind: 'task', name: 'effect', inputs: ['in'], outputs: [], order: 'key', concurrency: 1, deadlineMs, decode: () => null, handle })
/** Time moves when told to. */
function clocked() {
  const clock = createVirtualClock()
  return { clock, ...world({ nowMs: () => clock.nowMs(), setTimer: (ms, run) => clock.setTimer(ms, run) }) }
}

test('to lambda: a task is awaited and given its deadline and idempotency key (T1)', async (t) => {
  const w = clocked()
  const startMs = w.clock.nowMs()
  const seen: unknown[] = []
  const effect: Handle = (_value, _record, { idempotencyKey, deadlineMs, attempt, signal }) => {
    seen.push([idempotencyKey, deadlineMs - startMs, attempt, signal.aborted])
    return Promise.resolve([])
  }
  await toLambda(task(effect), w.ports)(eventOf('a'), context)
  await toLambda(task(effect, 5000), w.ports)(eventOf('a'), context)
  t.deepEqual(seen, [
    ['in/0/0', 100, 1, false],
    ['in/0/0', 500, 1, false],
  ])
})

test('to lambda: past its deadline a task’s signal is aborted; one that ignores it is given up while the invocation can still answer (T1)', async (t) => {
  const w = clocked()
  const aborted: unknown[] = []
  const deaf: Handle = (_value, { offset }, { signal }) => {
    if (offset === 0n) return Promise.resolve([])
    signal.addEventListener('abort', () => aborted.push((signal.reason as SluiceError).code))
    return new Promise(() => undefined)
  }
  const answer = toLambda(task(deaf), w.ports)(eventOf('a', 'b', 'c'), context)
  await settle()
  await w.clock.advance(99)
  t.deepEqual(aborted, [])
  await w.clock.advance(1)
  t.deepEqual(aborted, ['SLU_HANDLER_TIMEOUT'])
  await w.clock.advance(250)
  t.deepEqual(await answer, { batchItemFailures: [{ itemIdentifier: { partition: 'in-0', offset: 1 } }] })
  t.is((w.failures[0] as SluiceError).code, 'SLU_HANDLER_TIMEOUT')
})

test('to lambda: what the invocation has no time left for is not begun, and an aborted task that answers is done (T1)', async (t) => {
  const w = clocked()
  let begun = 0
  const obedient: Handle = (_value, _record, { signal }) => {
    begun++
    return new Promise((resolve) => signal.addEventListener('abort', () => resolve([])))
  }
  const answer = toLambda(task(obedient), w.ports)(eventOf('a', 'b'), { ...context, getRemainingTimeInMillis: () => 600 })
  await settle()
  await w.clock.advance(100)
  t.deepEqual(await answer, { batchItemFailures: [{ itemIdentifier: { partition: 'in-0', offset: 1 } }] })
  t.is(begun, 1)
})

test('to lambda: what rests on fencing is refused by name, as is a task without time', (t) => {
  const w = clocked()
  t.throws(() => toLambda({ ...upper, delivery: 'transactional' }, w.ports), { message: /SLU_HANDLER_INVALID.*upper: delivery: transactional/ })
  t.throws(() => toLambda({ ...upper, park: 'key' }, w.ports), { message: /SLU_HANDLER_INVALID.*upper: park: key/ })
  t.throws(
    () =>
      toLambda(
        task(() => Promise.resolve([])),
        world().ports,
      ),
    { message: /SLU_HANDLER_INVALID.*effect.*setTimer/ },
  )
  t.notThrows(() => toLambda({ ...upper, delivery: 'at-least-once' }, world().ports))
})

test('to lambda: kinds with state and once are refused by name, an event of something else too', async (t) => {
  const w = world()
  t.throws(() => toLambda({ ...upper, kind: 'window' } as unknown as MapFunction<string>, w.ports), { message: /SLU_HANDLER_INVALID.*upper/ })
  t.throws(() => toLambda({ ...upper, kind: 'task', once: {} } as unknown as TaskFunction<string>, w.ports), { message: /once/ })
  await t.throwsAsync(toLambda(upper, w.ports)({ Records: [] }, context), { message: /SLU_RECORD_UNDECODABLE/ })
})

test('to lambda: a copy that another function parked is done with, never handled (D5)', async (t) => {
  const w = world()
  const event = lambdaEvent([record(0, { value: 'a', headers: [['sluice.redrive.for', Buffer.from('other/in')]] })], '')
  t.deepEqual(await toLambda(upper, w.ports)(event, context), { batchItemFailures: [] })
  t.deepEqual(w.sent, [])
})
