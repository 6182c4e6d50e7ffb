import test from 'ava'
import { redrive } from '../../cli/dlq.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { FencedProducer, LogReader, LogRecord, OutRecord } from '../../schemas/log.ts'
import type { Random } from '../../schemas/ports.ts'
import { seededRandom } from '../../infra/endpoints/simulator/seeded-random.ts'
import { defineFunction, type AnyFunction, type MapFunction, type TaskFunction } from '../../streams/define-function.ts'
import { createParking, dlqFromOf } from '../../streams/parking.ts'
import { tickRecord } from '../../streams/tick.ts'
import { partitionWorld } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'
import { headerOf, runnerWorld, text, type RunnerWorld } from '../helpers/runner-world.ts'

const TOPICS: Parameters<typeof runnerWorld>[0] = { in: 2, out: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] }
const ALL = { matches: () => true, limit: Infinity }

/** Handlers that fail on the values that are sick; `undecodable` ones cannot even be decoded. */
function functionsOf(sick: ReadonlySet<string>, more: { readonly parkedRecordsMax?: number } = {}): Readonly<Record<string, AnyFunction>> {
  const decode = (r: LogRecord): string => {
    if (sick.has(text(r)) && text(r).endsWith('u')) throw new SluiceError('SLU_RECORD_UNDECODABLE', text(r))
    return text(r)
  }
  const emits = (value: string, r: LogRecord) => {
    if (sick.has(value)) throw new SluiceError('SLU_RECORD_REFUSED', value)
    return [{ to: 'topic' as const, topic: 'out', key: r.key, value: Buffer.from(value), partition: r.partition }]
  }
  const common = { inputs: ['in'], outputs: ['out'], park: 'key', decode, ...more } as const
  const task = { ...common, kind: 'task', concurrency: 4, deadlineMs: 1000, handle: (value: string, r: LogRecord) => Promise.resolve().then(() => emits(value, r)) } as const
  return {
    map: defineFunction<MapFunction<string>>({ ...common, kind: 'map', name: 'm', handle: emits }),
    task: defineFunction<TaskFunction<string>>({ ...task, name: 't', order: 'key' }),
    'task in partition order': defineFunction<TaskFunction<string>>({ ...task, name: 'p', order: 'partition' }),
  }
}

const put = (w: RunnerWorld, key: string | null, ...values: string[]) =>
  w.log.append(values.map((value) => ({ topic: 'in', partition: 0, key: key === null ? null : Buffer.from(key), value: Buffer.from(value) })))
const codes = (w: RunnerWorld) =>
  w.log
    .dump('in.dlq')
    .filter((r) => r.value !== null)
    .map((r) => `${text(r)} ${headerOf(r, 'sluice.error.code')?.replace('SLU_RECORD_', '')}`)
const out = (w: RunnerWorld) => w.log.dump('out').map(text)

for (const kind of Object.keys(functionsOf(new Set())))
  test(`parking ${kind}: a poison record diverts the later records of its key in order, other keys go on, and a redrive restores order (D4)`, async (t) => {
    const sick = new Set(['a1', 'c1u'])
    const definition = functionsOf(sick)[kind] as AnyFunction
    const w = runnerWorld(TOPICS)
    const runner = w.runner(definition, 'p')
    await runner.start()
    put(w, 'a', 'a0', 'a1', 'a2')
    put(w, 'b', 'b0', 'b1')
    put(w, 'c', 'c0', 'c1u', 'c2')
    put(w, null, 'n0')
    put(w, 'a', 'a3')
    await w.until('drained', () => runner.drained())
    t.deepEqual(out(w).toSorted(), ['a0', 'b0', 'b1', 'c0', 'n0'])
    t.deepEqual(
      codes(w).filter((c) => c.startsWith('a')),
      ['a1 REFUSED', 'a2 KEY_PARKED', 'a3 KEY_PARKED'],
    )
    t.deepEqual(
      codes(w).filter((c) => c.startsWith('c')),
      ['c1u UNDECODABLE', 'c2 KEY_PARKED'],
    )
    t.deepEqual(
      w.log
        .dump('in.dlq')
        .map((r) => [text(r), headerOf(r, 'sluice.attempts')])
        .toSorted(([a = ''], [b = '']) => (a < b ? -1 : 1)),
      [
        ['a1', '1'],
        ['a2', '0'],
        ['a3', '0'],
        ['c1u', '1'],
        ['c2', '0'],
      ],
    )
    sick.clear()
    // One that is asked for alone waits behind those before it.
    t.is(await redrive(w.log.driver('operator'), 'in.dlq', { matches: (l) => text(l.record) === 'a3', limit: 1 }), 1)
    await w.until('drained', () => runner.drained())
    t.false(out(w).includes('a3'))
    t.is(await redrive(w.log.driver('operator'), 'in.dlq', ALL), 5)
    put(w, 'a', 'a4')
    await w.until('drained', () => runner.drained())
    while ((await redrive(w.log.driver('operator'), 'in.dlq', ALL)) > 0) await w.until('drained', () => runner.drained())
    put(w, 'a', 'a5')
    await w.until('drained', () => runner.drained())
    t.deepEqual(
      out(w).filter((v) => v.startsWith('a')),
      ['a0', 'a1', 'a2', 'a3', 'a4', 'a5'],
    )
    t.deepEqual(
      out(w).filter((v) => v.startsWith('c')),
      ['c0', 'c1u', 'c2'],
    )
    t.deepEqual(w.fatal, [])
    await runner.stop(100)
  })

test('parking: tries are counted over redrives; what was only diverted adds none (D1)', async (t) => {
  const sick = new Set(['a0'])
  const w = runnerWorld(TOPICS)
  const failing = defineFunction<TaskFunction<string>>({
    ...(functionsOf(sick)['task'] as TaskFunction<string>),
    handle: (value) => (sick.has(value) ? Promise.reject(new SluiceError('SLU_HANDLER_TIMEOUT', value)) : Promise.resolve([])),
  })
  const runner = w.runner(failing, 'p')
  await runner.start()
  put(w, 'a', 'a0', 'a1')
  await w.until('drained', () => runner.drained())
  await redrive(w.log.driver('operator'), 'in.dlq', ALL)
  await w.until('drained', () => runner.drained())
  t.deepEqual(
    w.log
      .dump('in.dlq')
      .filter((r) => r.value !== null)
      .map((r) => [text(r), headerOf(r, 'sluice.attempts')]),
    [
      ['a0', '3'],
      ['a1', '0'],
      ['a0', '6'],
      ['a1', '0'],
    ],
  )
  await runner.stop(100)
})

for (const kind of ['map', 'task'])
  test(`parking ${kind}: an output too large parks its record, and what stands behind it in the same delivery is not sent (D4, D6)`, async (t) => {
    const w = runnerWorld({ ...TOPICS, out: [2, { maxMessageBytes: 100 }] })
    put(w, 'a', 'a0', 'x'.repeat(101), 'a2')
    put(w, 'b', 'b0')
    const runner = w.runner(functionsOf(new Set())[kind] as AnyFunction, 'p')
    await runner.start()
    await w.until('drained', () => runner.drained())
    t.deepEqual(out(w).toSorted(), ['a0', 'b0'])
    t.deepEqual(
      w.log.dump('in.dlq').map((r) => headerOf(r, 'sluice.error.code')),
      ['SLU_LOG_RECORD_TOO_LARGE', 'SLU_RECORD_KEY_PARKED'],
    )
    await runner.stop(100)
  })

for (const kind of ['map', 'task'])
  test(`parking ${kind}: a successor that reads the DLQ back knows what is parked, also without commit metadata (D4, C2)`, async (t) => {
    for (const hasMetadata of [true, false]) {
      const sick = new Set(['a0'])
      const w = runnerWorld(TOPICS)
      const definition = functionsOf(sick)[kind] as AnyFunction
      const first = w.runner(definition, 'first')
      await first.start()
      put(w, 'a', 'a0', 'a1')
      await w.until('drained', () => first.drained())
      const at = { topic: 'in', partition: 0 }
      const group = `sluice.${definition.name}`
      t.is(dlqFromOf(w.log.committed(group, at)?.metadata ?? ''), 0n)
      if (!hasMetadata) w.log.setCommitted(group, at, { nextOffset: 2n, metadata: '' })
      w.log.crash('first')
      sick.clear()
      const second = w.runner(definition, 'second')
      await second.start()
      put(w, 'a', 'a2')
      await w.until('drained', () => second.drained())
      t.deepEqual(out(w), [])
      await redrive(w.log.driver('operator'), 'in.dlq', ALL)
      await w.until('drained', () => second.drained())
      put(w, 'a', 'a3')
      await w.until('drained', () => second.drained())
      t.deepEqual(out(w), ['a0', 'a1', 'a2', 'a3'])
      t.true((dlqFromOf(w.log.committed(group, at)?.metadata ?? '') ?? 0n) > 0n, 'nothing of the DLQ is needed any more')
      await second.stop(100)
    }
  })

for (const kind of ['map', 'task'])
  test(`parking ${kind}: whoever dies before it has read the DLQ leaves no dead letters of an earlier life of the topic to its successor (D4, C2)`, async (t) => {
    const w = runnerWorld(TOPICS)
    const definition = functionsOf(new Set())[kind] as AnyFunction
    const facts = {
      '__connect.errors.topic': 'in',
      '__connect.errors.partition': '0',
      '__connect.errors.offset': '0',
      '__connect.errors.connector.name': definition.name,
      'sluice.park.order': '0',
    }
    const headers = Object.entries(facts).map(([name, value]) => [name, Buffer.from(value)] as const)
    w.log.append([{ topic: 'in.dlq', partition: 0, key: Buffer.from('a'), value: Buffer.from('of an earlier life'), headers }])
    w.log.append([tickRecord('in', 0, 1000) as OutRecord])
    const first = w.runner(definition, 'first', {}, () => 10_000)
    await first.start()
    await w.clock.advance(1000)
    t.false(first.drained(), 'a partition that has not read its DLQ has not come to rest')
    w.log.crash('first')
    const second = w.runner(definition, 'second')
    await second.start()
    put(w, 'a', 'a1')
    await w.until('drained', () => second.drained())
    t.deepEqual(out(w), ['a1'])
    await second.stop(100)
  })

for (const kind of ['map', 'task'])
  test(`parking ${kind}: from where the DLQ must be read is kept by an owner that finds nothing new there (C2)`, async (t) => {
    const sick = new Set(['a0'])
    const w = runnerWorld(TOPICS)
    const definition = functionsOf(sick)[kind] as AnyFunction
    const dlqFrom = () => dlqFromOf(w.log.committed(`sluice.${definition.name}`, { topic: 'in', partition: 0 })?.metadata ?? '') ?? 0n
    const first = w.runner(definition, 'first')
    await first.start()
    put(w, 'a', 'a0')
    await w.until('drained', () => first.drained())
    sick.clear()
    await redrive(w.log.driver('operator'), 'in.dlq', ALL)
    await w.until('drained', () => first.drained())
    await first.stop(100)
    for (const name of ['second', 'third']) {
      const before = dlqFrom()
      const next = w.runner(definition, name)
      await next.start()
      put(w, 'b', name)
      await w.until('drained', () => next.drained())
      t.true(dlqFrom() >= before && before > 0n, `${name}: ${before}, ${dlqFrom()}`)
      await next.stop(100)
    }
  })

test('parking: where a transaction of unknown outcome is looked for in vain, the search begins anew and nothing it may find is passed over (D4)', async (t) => {
  const w = partitionWorld()
  const stored: LogRecord[] = []
  const isCut: boolean[] = [false, true, false]
  const begun: string[] = []
  const closing = Promise.withResolvers<void>()
  const reader: LogReader = {
    open: ({ from }) => {
      const start = from instanceof Map ? Number(from.get(0)) : 0
      begun.push(String(start))
      const mustFail = isCut.shift() === true
      return Promise.resolve({
        caughtUp: Promise.resolve(),
        close: () => (mustFail ? closing.promise : Promise.resolve()),
        async *[Symbol.asyncIterator]() {
          await Promise.resolve()
          for (const record of stored.slice(start)) {
            yield { topic: 'in.dlq', partition: 0, records: [record], readTo: record.offset + 1n }
            if (mustFail) throw new SluiceError('SLU_LOG_UNREACHABLE', '')
          }
        },
      })
    },
    close: () => Promise.resolve(),
  }
  const transaction: FencedProducer['transaction'] = (records) => {
    const written = records.map((r, i) => record(stored.length + i, { ...r, topic: 'in.dlq', headers: r.headers ?? [] }))
    stored.push(...written)
    if (begun.length === 1 && stored.length === 2) return Promise.reject(new SluiceError('SLU_LOG_UNREACHABLE', ''))
    return Promise.resolve(written.map(({ topic, partition, offset }) => ({ topic, partition, offset })))
  }
  const parking = createParking({
    environment: w.environment,
    driver: { fencedProducer: () => Promise.resolve({ transaction, close: () => Promise.resolve() }) },
    reader,
    producer: w.producer,
    producerName: 'f.0',
    brokerTopic: 'in',
    partition: 0,
    parkedRecordsMax: 10,
    sink: w.sink,
    prove: () => Promise.resolve(),
    hash: (of) => of,
    signal: w.abort.signal,
  })
  await parking.open(0n, '')
  const poison = [0, 1].map((offset) => record(offset, { key: 'a', value: `a${offset}` }))
  const writes = poison.map((one) => {
    const parked = { record: one, error: new SluiceError('SLU_RECORD_REFUSED', ''), stage: 'handle' as const }
    parking.park(parked)
    return parking.write({ kind: 'parked', parked, attempts: 1 })
  })
  await w.clock.advance(200)
  t.is(dlqFromOf(parking.metadata(0n)), 0n, 'what it may have written is needed, whoever comes next')
  closing.resolve()
  await w.clock.advance(5000)
  await Promise.all(writes)
  t.deepEqual(stored.map(text), ['a0', 'a1'])
  t.deepEqual(begun, ['0', '0', '0'])
})

for (const kind of ['map', 'task'])
  test(`parking ${kind}: at the bound a record waits under its name and nothing loses its order; it goes on by itself (D4, C6)`, async (t) => {
    const sick = new Set(['a0', 'b0'])
    const w = runnerWorld(TOPICS)
    const runner = w.runner(functionsOf(sick, { parkedRecordsMax: 2 })[kind] as AnyFunction, 'p')
    await runner.start()
    put(w, 'a', 'a0', 'a1')
    await w.until('drained', () => runner.drained())
    put(w, 'b', 'b0', 'b1')
    await w.until('held', () => runner.partitions().some((p) => p.code === 'SLU_RECORD_PARKED_FULL'))
    await w.clock.advance(2000)
    t.deepEqual(codes(w), ['a0 REFUSED', 'a1 KEY_PARKED'])
    sick.delete('b0')
    await w.until('drained', () => runner.drained())
    t.deepEqual(out(w), ['b0', 'b1'])
    t.deepEqual(
      runner.partitions().map((p) => p.state),
      ['running', 'running'],
    )
    await runner.stop(100)
  })

test('parking map: what a held delivery had parked before it was held is taken back and decided anew (D4)', async (t) => {
  const sick = new Set(['a0', 'b0'])
  const w = runnerWorld(TOPICS)
  const runner = w.runner(functionsOf(sick, { parkedRecordsMax: 2 })['map'] as AnyFunction, 'p')
  await runner.start()
  put(w, 'a', 'a0')
  await w.until('drained', () => runner.drained())
  put(w, 'b', 'b0', 'b1')
  await w.until('held', () => runner.partitions().some((p) => p.code === 'SLU_RECORD_PARKED_FULL'))
  sick.delete('b0')
  await w.until('drained', () => runner.drained())
  t.deepEqual([out(w), codes(w)], [['b0', 'b1'], ['a0 REFUSED']])
  await runner.stop(100)
})

test('parking: an unwritable DLQ holds the partition by name; what waited is written once, in order (D3, D4)', async (t) => {
  const w = runnerWorld(TOPICS)
  const runner = w.runner(functionsOf(new Set(['a0']))['task'] as AnyFunction, 'p')
  await runner.start()
  w.log.failSends(20, 'SLU_LOG_FORBIDDEN', { topic: 'in.dlq' })
  put(w, 'a', 'a0', 'a1', 'a2')
  await w.until('held', () => runner.partitions().some((p) => p.code === 'SLU_LOG_DLQ_UNWRITABLE'))
  t.is(w.log.committed('sluice.t', { topic: 'in', partition: 0 })?.nextOffset ?? 0n, 0n)
  await w.until('drained', () => runner.drained())
  t.deepEqual(codes(w), ['a0 REFUSED', 'a1 KEY_PARKED', 'a2 KEY_PARKED'])
  await runner.stop(100)
})

async function chaos(kind: string, seed: number, random: Random): Promise<string[]> {
  const sick = new Set<string>()
  const definition = functionsOf(sick)[kind] as AnyFunction
  const w = runnerWorld(TOPICS, random)
  w.log.delaySends(10)
  let member = 0
  const start = async () => {
    const name = `p${member++}`
    const runner = w.runner(definition, name, {}, () => Math.floor(random() * 60))
    await runner.start()
    return { name, runner }
  }
  let owner = await start()
  const sent = new Map<string, string[]>()
  for (let round = 0; round < 14; round++) {
    for (let i = 0; i < 6; i++) {
      const key = `k${Math.floor(random() * 3)}`
      const values = sent.get(key) ?? []
      const value = `${key}-${values.length}${random() < 0.3 ? 'u' : ''}`
      sent.set(key, [...values, value])
      if (random() < 0.2) sick.add(value)
      put(w, key, value)
    }
    if (random() < 0.3) for (const value of sick) if (random() < 0.5) sick.delete(value)
    if (random() < 0.3) w.log.failSends(1, random() < 0.5 ? 'SLU_LOG_UNREACHABLE' : 'SLU_LOG_FAILED', { landed: random() < 0.6 })
    await w.clock.advance(Math.floor(random() * 150))
    if (random() < 0.4) {
      const choice = random() < 0.7 ? ALL : { matches: () => random() < 0.5, limit: Infinity }
      const redriving = redrive(w.log.driver(`operator${round}`), 'in.dlq', choice).catch((error: unknown) => error)
      await w.clock.advance(100)
      await redriving
    }
    if (random() < 0.35) {
      const old = owner.name
      const isZombie = random() < 0.5
      if (isZombie) w.log.zombie(old)
      else w.log.crash(old)
      owner = await start()
      if (isZombie) {
        await w.clock.advance(Math.floor(random() * 200))
        const waking = w.log.wake(old)
        await w.clock.advance(200)
        await waking
        w.log.crash(old)
      }
    }
  }
  sick.clear()
  const all = [...sent.values()].flat()
  const isThere = (): boolean => new Set(out(w)).size === all.length
  for (let round = 0; round < 30 && !isThere(); round++) {
    await w.clock.advance(1500)
    const redriving = redrive(w.log.driver(`last${round}`), 'in.dlq', ALL).catch((error: unknown) => error)
    await w.clock.advance(1500)
    await redriving
  }
  const problems: string[] = []
  const at = out(w)
  if (!isThere()) problems.push(`lost ${all.filter((v) => !at.includes(v)).join(' ')}`)
  for (const [key, values] of sent) {
    const firsts = [...new Set(at.filter((v) => v.startsWith(`${key}-`)))]
    if (firsts.join(' ') !== values.join(' ')) problems.push(`order of ${key}: ${firsts.join(' ')}`)
  }
  const letters = w.log
    .dump('in.dlq')
    .filter((r) => r.value !== null)
    .map((r) => headerOf(r, '__connect.errors.offset'))
  if (new Set(letters).size !== letters.length) problems.push('a record stands twice in the DLQ')
  for (const error of w.fatal) problems.push(error.message)
  const stopping = owner.runner.stop(100)
  await w.clock.advance(500)
  await stopping
  return problems.map((p) => `seed ${seed}: ${p}`)
}

for (const kind of Object.keys(functionsOf(new Set())))
  test(`parking ${kind}: whoever crashes, sleeps or redrives when, nothing is lost, no key is handled out of order, and no record stands twice in the DLQ (D4)`, async (t) => {
    for (let seed = 1; seed <= 60; seed++) t.deepEqual(await chaos(kind, seed, seededRandom(seed)), [])
  })
