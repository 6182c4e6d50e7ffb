import fc from 'fast-check'
import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, LAMBDA_DEFAULTS, type LambdaContext, type LambdaFunction } from '../../streams/define-function.ts'
import type { LambdaKafkaEvent, LambdaKafkaRecord } from '../../streams/lambda-event.ts'
import { createLambdaPartition } from '../../streams/lambda.ts'
import { createPlaces } from '../../streams/places.ts'
import { partitionWorld } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'
import { headerOf, runnerWorld, text } from '../helpers/runner-world.ts'

const TOPICS: Parameters<typeof runnerWorld>[0] = { in: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] }
const textOf = (r: LambdaKafkaRecord): string => Buffer.from(r.value ?? '', 'base64').toString()
const recordsIn = (event: LambdaKafkaEvent): LambdaKafkaRecord[] => Object.values(event.records).flat()
const failed = (r: LambdaKafkaRecord) => ({ itemIdentifier: { partition: `${r.topic}-${r.partition}`, offset: r.offset } })

function lambda(handler: LambdaFunction['handler'], more: Partial<LambdaFunction> = {}): LambdaFunction {
  return defineFunction<LambdaFunction>({ kind: 'lambda', name: 'l', inputs: ['in'], outputs: [], ...LAMBDA_DEFAULTS, retriesMax: 2, handler, ...more })
}

/** Batches a handler is given, in order; `act` answers. */
async function ran(values: readonly string[], act: (texts: string[], event: LambdaKafkaEvent, context: LambdaContext) => unknown, more: Partial<LambdaFunction> = {}) {
  const w = runnerWorld(TOPICS)
  w.log.append(values.map((value) => ({ topic: 'in', partition: 0, key: null, value: Buffer.from(value) })))
  const batches: string[][] = []
  const definition = lambda(async (event, context) => {
    const texts = recordsIn(event).map(textOf)
    batches.push(texts)
    return act(texts, event, context)
  }, more)
  const runner = w.runner(definition, 'p')
  await runner.start()
  await w.until('drained', () => runner.drained(), 300_000)
  const committed = w.log.committed('sluice.l', { topic: 'in', partition: 0 })?.nextOffset
  await runner.stop(100)
  return { batches, dead: w.log.dump('in.dlq'), committed, stats: runner.stats(), w }
}

test('lambda: records come in batches of one partition, at most batchSize, in order', async (t) => {
  const { batches, committed } = await ran(['a', 'b', 'c', 'd', 'e'], () => undefined, { batchSize: 2 })
  t.deepEqual(batches, [['a', 'b'], ['c', 'd'], ['e']])
  t.is(committed, 5n)
})

test('lambda: a batch waits for its window to fill, never longer', async (t) => {
  const w = runnerWorld(TOPICS)
  const batches: number[] = []
  const runner = w.runner(
    lambda((event) => void batches.push(recordsIn(event).length), { batchWindowMs: 2000 }),
    'p',
  )
  await runner.start()
  const send = () => w.log.append({ topic: 'in', partition: 0, key: null, value: Buffer.from('x') })
  send()
  await w.clock.advance(1000)
  send()
  await w.clock.advance(800)
  t.deepEqual(batches, [])
  await w.clock.advance(400)
  t.deepEqual(batches, [2])
  await runner.stop(100)
})

test('lambda: a clock set back makes no batch wait longer than its window', async (t) => {
  const w = runnerWorld(TOPICS)
  const now = w.clock.nowMs
  let skewMs = 0
  Object.assign(w.clock, { nowMs: () => now() + skewMs })
  const batches: number[] = []
  const runner = w.runner(
    lambda((event) => void batches.push(recordsIn(event).length), { batchWindowMs: 2000 }),
    'p',
  )
  await runner.start()
  w.log.append({ topic: 'in', partition: 0, key: null, value: Buffer.from('x') })
  await w.clock.advance(1000)
  skewMs = -3_600_000
  await w.clock.advance(1500)
  t.deepEqual(batches, [1])
  await runner.stop(100)
})

test('lambda: batchItemFailures: what stands before the first failure is done, the rest is tried again in order', async (t) => {
  let isSick = true
  const { batches, dead } = await ran(['a', 'b', 'c', 'd'], (_texts, event) => {
    const sick = recordsIn(event).find((r) => textOf(r) === 'c')
    if (sick === undefined || !isSick) return { batchItemFailures: [] }
    isSick = false
    return { batchItemFailures: [failed(sick)] }
  })
  t.deepEqual(batches, [
    ['a', 'b', 'c', 'd'],
    ['c', 'd'],
  ])
  t.deepEqual(dead, [])
})

test('lambda: a handler that throws has its batch halved until the poison record stands alone; it alone goes to the DLQ, with its tries (D2, D6)', async (t) => {
  const { batches, dead, committed } = await ran(['a', 'b', 'c', 'd'], (texts) => {
    if (texts.includes('c')) throw new Error('poison')
  })
  t.deepEqual(batches, [['a', 'b', 'c', 'd'], ['a', 'b'], ['c', 'd'], ['c'], ['c'], ['c'], ['d']])
  t.deepEqual(
    dead.map((r) => [r.value?.toString(), headerOf(r, 'sluice.error.code'), headerOf(r, 'sluice.attempts')]),
    [['c', 'SLU_HANDLER_FAILED', '3']],
  )
  t.is(committed, 4n)
})

test('lambda: without halving the whole batch is tried again and goes to the DLQ as a whole, nothing of it lost', async (t) => {
  const { batches, dead } = await ran(
    ['a', 'b', 'c'],
    (texts) => {
      if (texts.includes('b')) throw new Error('poison')
    },
    { bisectOnError: false, batchSize: 2 },
  )
  t.deepEqual(batches, [['a', 'b'], ['a', 'b'], ['a', 'b'], ['c']])
  t.deepEqual(
    dead.map((r) => r.value?.toString()),
    ['a', 'b'],
  )
})

test('lambda: an answer that names nothing of the batch is a failure of the batch, as on Lambda', async (t) => {
  const { dead } = await ran(['a'], () => ({ batchItemFailures: [{ itemIdentifier: { partition: 'in-0', offset: 99 } }] }))
  t.is(dead.length, 1)
})

test('lambda: an invocation over its time is a failure; the poll goes on meanwhile (T3)', async (t) => {
  const { dead, batches } = await ran(['a', 'b'], (texts) => (texts.includes('a') ? new Promise(() => undefined) : undefined), { timeoutMs: 1000 })
  t.is(batches.at(-1)?.[0], 'b')
  t.deepEqual(
    dead.map((r) => headerOf(r, 'sluice.error.code')),
    ['SLU_HANDLER_TIMEOUT'],
  )
})

test('lambda: the context is one that handlers use: remaining time, a request id that names batch and try', async (t) => {
  const seen: LambdaContext[] = []
  await ran(['a', 'b'], (_texts, _event, context) => {
    seen.push(context)
    if (seen.length === 1) throw new Error('once')
  })
  t.is(seen[0]?.functionName, 'l')
  t.regex(seen[0]?.awsRequestId ?? '', /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
  t.is(new Set(seen.map((c) => c.awsRequestId)).size, seen.length)
  t.true((seen[0]?.getRemainingTimeInMillis() ?? -1) >= 0)
})

test('lambda: killed in the middle of a batch, its successor is given the batch again and loses nothing (C1)', async (t) => {
  const w = runnerWorld(TOPICS)
  w.log.append(Array.from({ length: 10 }, (_, i) => ({ topic: 'in', partition: 0, key: null, value: Buffer.from(String(i)) })))
  const first = w.runner(
    lambda(() => new Promise(() => undefined), { batchSize: 5 }),
    'first',
  )
  await first.start()
  await w.clock.advance(1000)
  w.log.crash('first')
  const seen: string[] = []
  const second = w.runner(
    lambda((event) => void seen.push(...recordsIn(event).map(textOf)), { batchSize: 5 }),
    'second',
  )
  await second.start()
  await w.until('drained', () => second.drained(), 300_000)
  t.deepEqual(
    seen,
    Array.from({ length: 10 }, (_, i) => String(i)),
  )
  await second.stop(100)
})

test('lambda: for any mixture of sick records, each ends as handled or as a dead letter, in order, and no healthy one is parked', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.boolean(), { minLength: 1, maxLength: 30 }), fc.boolean(), fc.integer({ min: 1, max: 8 }), async (sickness, isReporting, batchSize) => {
      const done: string[] = []
      const values = sickness.map((isSick, i) => `${isSick ? 'sick' : 'ok'}${i}`)
      const { dead, committed } = await ran(
        values,
        (texts, event) => {
          const at = texts.findIndex((x) => x.startsWith('sick'))
          if (at < 0) done.push(...texts)
          else if (isReporting) {
            done.push(...texts.slice(0, at))
            return { batchItemFailures: [failed(recordsIn(event)[at] as LambdaKafkaRecord)] }
          } else throw new Error('sick')
          return undefined
        },
        { batchSize, retriesMax: 1 },
      )
      t.deepEqual(
        dead.map((r) => r.value?.toString()),
        values.filter((v) => v.startsWith('sick')),
      )
      t.deepEqual(
        done,
        values.filter((v) => v.startsWith('ok')),
      )
      t.is(committed, BigInt(values.length))
    }),
    { numRuns: 25 },
  )
})

test('lambda: settings out of bounds and callback style are refused when defined, with the field named', (t) => {
  for (const [more, field] of [
    [{ batchSize: 0 }, 'batchSize'],
    [{ batchSize: 10_001 }, 'batchSize'],
    [{ batchWindowMs: 300_001 }, 'batchWindowMs'],
    [{ retriesMax: -1 }, 'retriesMax'],
    [{ handler: ((_e: unknown, _c: unknown, _callback: unknown) => undefined) as unknown as LambdaFunction['handler'] }, 'callback'],
  ] as const)
    t.throws(() => lambda(() => undefined, more), { message: new RegExp(`SLU_HANDLER_INVALID.*${field}`) })
})

test('lambda: a copy that another function parked is skipped, never in an event (D5)', async (t) => {
  const w = runnerWorld(TOPICS)
  const forOther = [['sluice.redrive.for', Buffer.from('other/in')] as const]
  w.log.append(['a', 'copy', 'b'].map((value) => ({ topic: 'in', partition: 0, key: null, value: Buffer.from(value), ...(value === 'copy' ? { headers: forOther } : {}) })))
  const seen: string[] = []
  const runner = w.runner(
    lambda((event) => void seen.push(...recordsIn(event).map(textOf))),
    'p',
  )
  await runner.start()
  await w.until('drained', () => runner.drained())
  t.deepEqual([seen, runner.stats().skipped], [['a', 'b'], 1])
  await runner.stop(100)
})

test('lambda: while a record is tried again, the partition says which, why, how often and for how long; once it is parked it says nothing (D1, W9)', async (t) => {
  const w = runnerWorld(TOPICS)
  w.log.append(['a', 'poison', 'b'].map((value) => ({ topic: 'in', partition: 0, key: null, value: Buffer.from(value) })))
  const runner = w.runner(
    lambda((event) => {
      if (recordsIn(event).map(textOf).includes('poison')) throw new SluiceError('SLU_HANDLER_RETRY', 'no disk')
    }),
    'p',
  )
  await runner.start()
  const first = () => runner.partitions().find(({ partition }) => partition === 0)
  await w.until('told', () => first()?.reason !== undefined)
  t.deepEqual([first()?.code, first()?.state], ['SLU_HANDLER_RETRY', 'running'])
  t.regex(first()?.reason ?? '', /no disk: offset 1 failed 1 of 3 tries, the first \d+ ms ago/)
  await w.until('drained', () => runner.drained())
  t.is(first()?.reason, undefined)
  t.deepEqual(
    w.log.dump('in.dlq').map((r) => [text(r), headerOf(r, 'sluice.error.code'), headerOf(r, 'sluice.attempts')]),
    [['poison', 'SLU_HANDLER_RETRY', '3']],
  )
  await runner.stop(100)
})

test('lambda: a delivery of any length is taken whole (C1)', async (t) => {
  const w = partitionWorld()
  let seen = 0
  const definition = lambda((event) => void (seen += recordsIn(event).length), { batchSize: 10_000, batchWindowMs: 1 })
  const places = createPlaces(1, () => partition.pump())
  const partition = createLambdaPartition({
    definition,
    environment: w.environment,
    topic: 'in',
    partition: 0,
    committed: null,
    start: 0n,
    sink: w.sink,
    abort: w.abort,
    places,
    hash: (name) => name,
  })
  const count = 200_000
  const one = record(0, { value: '' })
  partition.take(
    Array.from({ length: count }, (_, i) => ({ ...one, offset: BigInt(i) })),
    BigInt(count),
  )
  for (let i = 0; i < 50; i++) await w.clock.advance(10)
  t.is(seen, count)
  t.is(partition.uncommitted()?.nextOffset, BigInt(count))
})
