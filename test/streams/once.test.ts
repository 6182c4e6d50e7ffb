import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { Appended, Committed, LogReader, LogRecord, OutRecord, TailOptions } from '../../schemas/log.ts'
import { onceMetadata, resultsFromOf } from '../../streams/answers.ts'
import { defineFunction, type Emit, type TaskContext, type TaskFunction } from '../../streams/define-function.ts'
import { createOncePartition } from '../../streams/once.ts'
import { createPlaces } from '../../streams/places.ts'
import { createTaskPartition } from '../../streams/task.ts'
import { codecs, partitionWorld, settle, valueOf } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

const NOW = 1_700_000_000_000

/** One results partition with its fence. */
function resultsLog() {
  const log = {
    results: [] as LogRecord[],
    order: [] as string[],
    fence: 0,
    start: 0n,
    /** Asked before each transaction: an error refuses it; `'lost-answer'` writes it and reports a failure. */
    script: (): Error | 'lost-answer' | null => null,
  }
  const append = (r: OutRecord): Appended => {
    const offset = BigInt(log.results.length)
    log.results.push({ topic: r.topic, partition: r.partition ?? -1, offset, timestampMs: NOW, appendMs: NOW, key: r.key, value: r.value, headers: r.headers ?? [] })
    return { topic: r.topic, partition: r.partition ?? -1, offset }
  }
  const driver = {
    fencedProducer: (name: string) => {
      const mine = ++log.fence
      log.order.push(`open ${name}`)
      return Promise.resolve({
        transaction: async (records: readonly OutRecord[]): Promise<Appended[]> => {
          await Promise.resolve()
          const answer = log.script()
          if (answer instanceof Error) throw answer
          if (mine !== log.fence) throw new SluiceError('SLU_LOG_FENCED', name)
          const appended = records.map(append)
          if (answer === 'lost-answer') throw new SluiceError('SLU_LOG_UNREACHABLE', 'answer lost')
          return appended
        },
        close: () => Promise.resolve(),
      })
    },
  }
  const reader: LogReader = {
    open: (options: TailOptions) => {
      const from = options.from instanceof Map ? (options.from.get(2) ?? 0n) : 0n
      log.order.push(`read ${options.topic} ${String(options.partitions)} from ${from} committed ${options.committedOnly} untilEnd ${options.untilEnd}`)
      if (options.from !== 'start' && from < log.start) return Promise.reject(new SluiceError('SLU_LOG_TRUNCATED', `${from}`))
      const records = log.results.slice(Number(from))
      const batch = { topic: options.topic, partition: 2, records, readTo: BigInt(log.results.length) }
      return Promise.resolve({
        caughtUp: Promise.resolve(),
        close: () => Promise.resolve(),
        async *[Symbol.asyncIterator]() {
          yield batch
        },
      })
    },
    close: () => Promise.resolve(),
  }
  return { log, driver, reader, append, steal: () => log.fence++ }
}

interface Request {
  readonly id: string
  readonly body: string
  readonly createdMs: number
}

function setup(r = resultsLog(), committed: Committed | null = null) {
  const w = partitionWorld()
  const calls: { request: Request; context: TaskContext; answer: (text?: string) => void; emit: (emits: readonly Emit[]) => void; fail: (e: unknown) => void }[] = []
  const definition = defineFunction<TaskFunction<Request>>({
    kind: 'task',
    name: 'route',
    inputs: ['in'],
    outputs: ['results', 'reply'],
    order: 'unordered',
    concurrency: 10,
    deadlineMs: 60_000,
    decode: (x) => JSON.parse(valueOf(x)) as Request,
    handle: (request, _record, context) =>
      new Promise((resolve, reject) => {
        const result = (text: string): Emit => ({ to: 'topic', topic: 'results', key: request.id, value: Buffer.from(text) })
        calls.push({ request, context, answer: (text = `${request.id}:${request.body}`) => resolve([result(text)]), emit: resolve, fail: reject })
      }),
    once: { resultsTopic: 'results', dedupeMs: 10_000, skewMs: 1000, id: (x) => x.id, createdMs: (x) => x.createdMs, digest: (x) => x.body },
  })
  const rules = definition.once
  if (rules === undefined) throw new Error('unreachable')
  const once = createOncePartition({
    environment: w.environment,
    driver: r.driver,
    reader: r.reader,
    producerName: 'route.in.2',
    resultsTopic: 'results',
    resultsBrokerTopic: 'results',
    partition: 2,
    dedupeMs: rules.dedupeMs,
    skewMs: rules.skewMs,
    sink: w.sink,
    signal: w.abort.signal,
    committed: () => partition?.lastCommitted() ?? committed,
  })
  const partition: ReturnType<typeof createTaskPartition> = createTaskPartition({
    definition,
    context: { site: 's', codecs, nowMs: () => w.clock.nowMs() },
    environment: w.environment,
    topic: 'in',
    partition: 2,
    committed,
    start: committed?.nextOffset ?? 0n,
    sink: w.sink,
    once,
    transactional: null,
    parking: null,
    abort: w.abort,
    places: createPlaces(10, () => partition.pump()),
    ready: Promise.resolve(),
  })
  const request = (offset: number, id: string, body = 'A', more: Partial<Request> & { key?: string } = {}): LogRecord => {
    const { key = id, ...fields } = more
    return record(offset, { partition: 2, key, appendMs: NOW, value: JSON.stringify({ id, body, createdMs: NOW, ...fields }) })
  }
  const take = (...records: LogRecord[]): void => partition.take(records, (records.at(-1)?.offset ?? 0n) + 1n)
  const answered = (): string[] => r.log.results.map(valueOf)
  const deadCodes = (): (string | undefined)[] => w.sent.filter((x) => x.topic === 'in.dlq').map((x) => x.headers?.find(([n]) => n === 'sluice.error.code')?.[1].toString())
  return { w, r, calls, partition, once, request, take, answered, deadCodes }
}

test('once: fenced producer first, then the results from resultsFrom to the end, then work; never in another order (R1)', async (t) => {
  const r = resultsLog()
  for (const id of ['p', 'q']) r.append({ topic: 'results', partition: 2, key: Buffer.from(id), value: Buffer.from(id) })
  const s = setup(r, { nextOffset: 0n, metadata: onceMetadata(1n) })
  s.take(s.request(0, 'a'))
  t.is(s.calls.length, 0)
  await settle()
  t.deepEqual(r.log.order, ['open route.in.2', 'read results 2 from 1 committed true untilEnd true'])
  t.is(s.calls.length, 1)
  t.true(s.once.answers().has('q'))
  t.false(s.once.answers().has('p'))
})

test('once: the result goes to the request’s partition with its digest, and resultsFrom is committed with the offset (R1, C2)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a'))
  await settle()
  s.calls[0]?.answer()
  await settle()
  const [result] = s.r.log.results
  t.is(result?.partition, 2)
  t.is(result?.key?.toString(), 'a')
  t.is(result?.headers.find(([n]) => n === 'sluice.request.digest')?.[1].toString(), 'A')
  t.is(s.partition.uncommitted()?.nextOffset, 1n)
  t.is(resultsFromOf(s.partition.uncommitted()?.metadata ?? ''), 0n)
})

test('once: a duplicate waits for the one in flight and is then answered by nothing more (R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a'), s.request(1, 'a'))
  await settle()
  t.is(s.calls.length, 1)
  s.calls[0]?.answer()
  await settle()
  t.is(s.calls.length, 1)
  t.deepEqual(s.answered(), ['a:A'])
  t.is(s.partition.uncommitted()?.nextOffset, 2n)
  s.take(s.request(2, 'a'))
  await settle()
  t.deepEqual(s.answered(), ['a:A'])
})

test('once: an id reused with another body is a dead letter SLU_ROUTE_ID_REUSED, never a second answer (R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a', 'A'), s.request(1, 'a', 'B'))
  await settle()
  s.calls[0]?.answer()
  await settle()
  t.deepEqual(s.answered(), ['a:A'])
  t.deepEqual(s.deadCodes(), ['SLU_ROUTE_ID_REUSED'])
  t.is(s.partition.uncommitted()?.nextOffset, 2n)
})

test('once: answered but not committed before a crash, the successor reads the answer back and writes none (R1)', async (t) => {
  const first = setup()
  first.take(first.request(0, 'a'))
  await settle()
  first.calls[0]?.answer()
  await settle()
  const second = setup(first.r)
  second.take(second.request(0, 'a'), second.request(1, 'a', 'B'))
  await settle()
  t.is(second.calls.length, 0)
  t.deepEqual(second.answered(), ['a:A'])
  t.deepEqual(second.deadCodes(), ['SLU_ROUTE_ID_REUSED'])
})

test('once: a zombie that finishes late is fenced, reads the new owner’s answer and writes none (R1)', async (t) => {
  const zombie = setup()
  zombie.take(zombie.request(0, 'a'))
  await settle()
  const owner = setup(zombie.r)
  owner.take(owner.request(0, 'a'))
  await settle()
  owner.calls[0]?.answer('owner')
  await settle()
  zombie.calls[0]?.answer('zombie')
  await zombie.w.clock.advance(5000)
  t.deepEqual(owner.answered(), ['owner'])
})

test('once: fenced but still assigned it starts again at (1), and every request is answered once (R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a'), s.request(1, 'b'))
  await settle()
  s.r.steal()
  s.calls[0]?.answer()
  s.calls[1]?.answer()
  await s.w.clock.advance(5000)
  t.deepEqual(s.answered().sort(), ['a:A', 'b:A'])
  t.deepEqual(
    s.r.log.order.map((x) => x.split(' ')[0]),
    ['open', 'read', 'open', 'read'],
  )
  t.is(s.partition.uncommitted()?.nextOffset, 2n)
})

test('once: a transaction whose answer was lost is looked up before it is written again, never written twice (R1)', async (t) => {
  const s = setup()
  let isLost = false
  s.r.log.script = () => {
    if (isLost) return null
    isLost = true
    return 'lost-answer'
  }
  s.take(s.request(0, 'a'))
  await settle()
  s.calls[0]?.answer()
  await s.w.clock.advance(5000)
  t.deepEqual(s.answered(), ['a:A'])
  t.is(s.partition.uncommitted()?.nextOffset, 1n)
})

test('once: a null value cancels the one in flight, so that its handler answers; answered or unknown, it does nothing (R1)', async (t) => {
  const s = setup()
  s.take(record(0, { partition: 2, key: 'unknown', value: null }), s.request(1, 'a'), s.request(2, 'a'), record(3, { partition: 2, key: 'a', value: null }))
  await settle()
  t.like(s.calls[0]?.context.signal.reason, { code: 'SLU_ROUTE_CANCELLED' })
  s.calls[0]?.answer('cancelled')
  await settle()
  s.take(record(4, { partition: 2, key: 'a', value: null }))
  await settle()
  t.deepEqual(s.answered(), ['cancelled'])
  t.is(s.partition.uncommitted()?.nextOffset, 5n)
  t.deepEqual(s.deadCodes(), [])
})

test('once: a cancel met before the request could start still reaches its handler (R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a'), record(1, { partition: 2, key: 'a', value: null }))
  t.is(s.calls.length, 0)
  await settle()
  t.like(s.calls[0]?.context.signal.reason, { code: 'SLU_ROUTE_CANCELLED' })
})

test('once: too old, from the future, or under another key is a dead letter and never executed (R1)', async (t) => {
  const s = setup()
  s.take(
    s.request(0, 'old', 'A', { createdMs: NOW - 10_001 }),
    s.request(1, 'future', 'A', { createdMs: NOW + 1001 }),
    s.request(2, 'nan', 'A', { createdMs: 'x' as never }),
    s.request(3, 'other', 'A', { key: 'affinity' }),
    s.request(4, 'edge', 'A', { createdMs: NOW - 10_000 }),
  )
  await settle()
  t.deepEqual(s.deadCodes(), ['SLU_ROUTE_STALE', 'SLU_ROUTE_STALE', 'SLU_ROUTE_STALE', 'SLU_ROUTE_KEY_MISMATCH'])
  t.deepEqual(
    s.calls.map((c) => c.request.id),
    ['edge'],
  )
})

test('once: resultsFrom below the results’ first offset holds the partition, nothing is executed (R1)', async (t) => {
  const r = resultsLog()
  r.log.start = 5n
  const s = setup(r, { nextOffset: 0n, metadata: onceMetadata(1n) })
  s.take(s.request(0, 'a'))
  await s.w.clock.advance(5000)
  t.is(s.partition.status().code, 'SLU_LOG_TRUNCATED')
  t.is(s.calls.length, 0)
})

test('once: metadata that was lost means reading the results from their start (R1, C2)', async (t) => {
  const r = resultsLog()
  r.append({ topic: 'results', partition: 2, key: Buffer.from('a'), value: Buffer.from('earlier') })
  const s = setup(r, { nextOffset: 0n, metadata: '' })
  s.take(s.request(0, 'a'))
  await settle()
  t.is(s.calls.length, 0)
  t.deepEqual(s.answered(), ['earlier'])
})

test('once: an answer too large for the log is a dead letter, never a transaction that aborts for ever; the others are written (R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a'), s.request(1, 'b'))
  await settle()
  let inTransaction = 0
  s.r.log.script = () => (++inTransaction <= 2 ? new SluiceError('SLU_LOG_RECORD_TOO_LARGE', '') : null)
  s.calls[0]?.answer()
  s.calls[1]?.answer()
  await s.w.clock.advance(5000)
  t.is(s.answered().length + s.deadCodes().length, 2)
  t.is(s.partition.uncommitted()?.nextOffset, 2n)
})

test('once: a copy to a reply topic goes in the same transaction; no result or two are the handler’s failure (R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a'), s.request(1, 'b'), s.request(2, 'c'))
  await settle()
  const emit = (topic: string): Emit => ({ to: 'topic', topic, key: 'k', value: Buffer.from(topic) })
  s.calls[0]?.emit([emit('reply'), emit('results')])
  s.calls[1]?.emit([])
  s.calls[2]?.emit([emit('results'), emit('results')])
  await settle()
  t.deepEqual(s.answered(), ['reply', 'results'])
  t.is(s.r.log.results[1]?.key?.toString(), 'a')
  t.deepEqual(s.deadCodes(), ['SLU_HANDLER_FAILED', 'SLU_HANDLER_FAILED'])
})

test('once: an idle partition lets resultsFrom follow the results, so retention never overtakes it (R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a'))
  await settle()
  s.calls[0]?.answer()
  await settle()
  const first = s.partition.uncommitted() as Committed
  s.partition.committed(first)
  t.is(s.partition.uncommitted(), null)
  s.partition.onTimer(NOW, 5000)
  s.partition.idleSince?.(6000)
  t.is(s.partition.uncommitted(), null, 'answered a second ago')
  s.partition.onTimer(NOW, 1_000_000)
  s.partition.idleSince?.(1_000_000)
  t.is(resultsFromOf(s.partition.uncommitted()?.metadata ?? ''), 1n)
  t.is(s.partition.uncommitted()?.nextOffset, 1n)
})

test('once: a clock an hour ahead forgets no answer within the horizon: idleness goes by the log’s time and by timers (R1)', async (t) => {
  const s = setup()
  await s.w.clock.advance(3_600_000)
  s.take(s.request(0, 'a'))
  await settle()
  s.calls[0]?.answer()
  await settle()
  s.partition.committed(s.partition.uncommitted() as Committed)
  s.partition.onTimer(s.w.clock.nowMs(), 5000)
  s.partition.idleSince?.(6000)
  t.is(s.partition.uncommitted(), null)
})

test('once: a partition that stands empty since it was taken over goes by the results it read back (R1)', async (t) => {
  const r = resultsLog()
  r.append({ topic: 'results', partition: 2, key: Buffer.from('old'), value: Buffer.from('x') })
  const s = setup(r, { nextOffset: 7n, metadata: onceMetadata(0n) })
  await settle()
  s.partition.onTimer(NOW, 1000)
  s.partition.idleSince?.(1000)
  t.is(resultsFromOf(s.partition.uncommitted()?.metadata ?? onceMetadata(0n)), 0n)
  s.partition.idleSince?.(1_000_000)
  t.is(resultsFromOf(s.partition.uncommitted()?.metadata ?? ''), 1n)
})

test('once: the next try of a request is decoded anew, its handler may have written into what it had (D1, R1)', async (t) => {
  const s = setup()
  s.take(s.request(0, 'a', 'asked'))
  await settle()
  Object.assign(s.calls[0]?.request ?? {}, { body: 'changed' })
  s.calls[0]?.fail(new SluiceError('SLU_LOG_UNREACHABLE', ''))
  await settle()
  await s.w.clock.advance(2000)
  t.is(s.calls.length, 2)
  t.is(s.calls[1]?.request.body, 'asked')
})
