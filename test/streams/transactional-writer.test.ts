import test from 'ava'
import { SluiceError, type ErrorCode } from '../../schemas/errors.ts'
import type { Committed, OutRecord, TransactionOffsets } from '../../schemas/log.ts'
import { seededRandom } from '../../infra/endpoints/simulator/seeded-random.ts'
import { defineFunction, type AnyFunction, type FoldFunction, type MapFunction, type TaskFunction } from '../../streams/define-function.ts'
import { createTransactionalWriter } from '../../streams/transactional-writer.ts'
import { headerOf, runnerWorld, text } from '../helpers/runner-world.ts'

const one: OutRecord = { topic: 'out', key: null, value: null }
const at = (nextOffset: bigint): Committed => ({ nextOffset, metadata: '' })

/** A log with one name, one committed offset, and a script of what the next transactions answer. */
function world() {
  const seen: string[] = []
  const answers: { readonly code: ErrorCode; readonly isLanded: boolean }[] = []
  const state = { holder: 0, committed: null as Committed | null, isOurs: true }
  const abort = new AbortController()
  const writer = createTransactionalWriter({
    driver: {
      fencedProducer: () => {
        const mine = ++state.holder
        seen.push('open')
        return Promise.resolve({
          transaction: (records: readonly OutRecord[], offsets?: TransactionOffsets) => {
            if (mine !== state.holder) return Promise.reject(new SluiceError('SLU_LOG_FENCED', ''))
            const answer = answers.shift()
            if (answer === undefined || answer.isLanded) {
              seen.push(`write ${records.length} to ${offsets?.entries[0]?.nextOffset ?? '-'}`)
              if (offsets !== undefined) state.committed = { nextOffset: offsets.entries[0]?.nextOffset as bigint, metadata: '' }
            }
            return answer === undefined ? Promise.resolve([]) : Promise.reject(new SluiceError(answer.code, ''))
          },
          close: () => Promise.resolve(),
        })
      },
    },
    name: 'n',
    group: 'g',
    at: { topic: 'in', partition: 0 },
    committed: () => {
      seen.push(`look ${state.committed?.nextOffset ?? '-'}`)
      return Promise.resolve(state.committed)
    },
    prove: (standing) => {
      seen.push(`prove ${standing?.nextOffset ?? '-'}`)
      return state.isOurs ? Promise.resolve() : Promise.reject(new SluiceError('SLU_LOG_STALE_EPOCH', ''))
    },
    signal: abort.signal,
  })
  return { seen, answers, state, abort, writer }
}

test('transactional writer: it looks at the committed offset behind the fence, never before it, and proves before it writes (C3, C8)', async (t) => {
  const w = world()
  w.state.committed = at(4n)
  t.deepEqual(await w.writer.open(), at(4n))
  await w.writer.write([one], at(5n))
  await w.writer.write([one, one], at(7n))
  t.deepEqual(w.seen, ['open', 'look 4', 'prove 4', 'write 1 to 5', 'write 2 to 7'])
})

test('transactional writer: a transaction that landed although its answer was lost is not written again (C1)', async (t) => {
  const w = world()
  await w.writer.write([one], at(1n))
  w.answers.push({ code: 'SLU_LOG_UNREACHABLE', isLanded: true })
  await t.throwsAsync(w.writer.write([one, one], at(3n)), { message: /SLU_LOG_UNREACHABLE/ })
  await w.writer.write([one, one], at(3n))
  t.deepEqual(w.seen, ['open', 'look -', 'prove -', 'write 1 to 1', 'write 2 to 3', 'open', 'look 3', 'prove 3'])
})

test('transactional writer: one that did not land is written by the same call made again, and the proof never moves the offset', async (t) => {
  const w = world()
  await w.writer.write([one], at(1n))
  w.answers.push({ code: 'SLU_LOG_UNREACHABLE', isLanded: false })
  await t.throwsAsync(w.writer.write([one, one], at(3n)))
  await w.writer.write([one, one], at(3n))
  t.deepEqual(w.seen.slice(3), ['write 1 to 1', 'open', 'look 1', 'prove 1', 'write 2 to 3'])
})

test('transactional writer: a record too large is told at once and costs no new producer', async (t) => {
  const w = world()
  w.answers.push({ code: 'SLU_LOG_RECORD_TOO_LARGE', isLanded: false })
  await t.throwsAsync(w.writer.write([one], at(1n)), { message: /SLU_LOG_RECORD_TOO_LARGE/ })
  await w.writer.write([one], at(1n))
  t.is(w.seen.filter((s) => s === 'open').length, 1)
})

test('transactional writer: a zombie is fenced, opens again, is not proven and writes nothing (C3)', async (t) => {
  const w = world()
  await w.writer.write([one], at(1n))
  w.state.holder++
  w.state.isOurs = false
  await t.throwsAsync(w.writer.write([one], at(2n)), { message: /SLU_LOG_FENCED/ })
  await t.throwsAsync(w.writer.write([one], at(2n)), { message: /SLU_LOG_STALE_EPOCH/ })
  w.abort.abort()
  await t.throwsAsync(w.writer.write([one], at(2n)), { message: /SLU_LOG_STALE_EPOCH/ })
  t.is(w.seen.filter((s) => s.startsWith('write')).length, 1)
})

// Whole runners on the in-memory log.

const parse = (r: { readonly value: Buffer | null }): string => {
  const value = r.value?.toString() ?? ''
  if (value.startsWith('bad')) throw new SluiceError('SLU_RECORD_UNDECODABLE', value)
  return value
}
const emit = (value: string) => [{ to: 'topic' as const, topic: 'out', key: value, value: Buffer.from(value) }]
const kinds: Readonly<Record<string, AnyFunction>> = {
  map: defineFunction<MapFunction<string>>({ kind: 'map', name: 'm', inputs: ['in'], outputs: ['out'], delivery: 'transactional', decode: parse, handle: emit }),
  task: defineFunction<TaskFunction<string>>({
    kind: 'task',
    name: 't',
    inputs: ['in'],
    outputs: ['out'],
    order: 'partition',
    concurrency: 4,
    deadlineMs: 1000,
    delivery: 'transactional',
    decode: parse,
    handle: (value) => Promise.resolve(emit(value)),
  }),
  fold: defineFunction<FoldFunction<string, number>>({
    kind: 'fold',
    name: 'f',
    inputs: ['in'],
    outputs: ['out', 'state'],
    delivery: 'transactional',
    decode: parse,
    keyOf: (_value, r) => r.key?.toString() ?? '',
    initial: () => 0,
    fold: (count, value, r) => [count + 1, [...emit(value), { to: 'topic', topic: 'state', key: r.key, value: Buffer.from(String(count + 1)), partition: r.partition }]],
    stateTopic: 'state',
    restore: (row, partition) => (row.partition === partition ? { key: row.key?.toString() ?? '', merge: () => Number(text(row)) } : null),
    statesMax: 100,
  }),
}
const TOPICS: Parameters<typeof runnerWorld>[0] = {
  in: 2,
  out: 2,
  state: [2, { cleanup: 'compact' }],
  'in.dlq': [2, { timestampType: 'CreateTime' }],
  'state.dlq': 2,
}

for (const [kind, definition] of Object.entries(kinds))
  test(`transactional ${kind}: members crash, sleep and lose answers at random; every output and dead letter is on the log exactly once (C1, C3)`, async (t) => {
    for (let seed = 1; seed <= 40; seed++) {
      const random = seededRandom(seed)
      const w = runnerWorld(TOPICS, random)
      w.log.delaySends(20)
      let member = 0
      const start = async () => {
        const name = `p${member++}`
        const runner = w.runner(definition, name, {}, () => Math.floor(random() * 80))
        await runner.start()
        return { name, runner }
      }
      let owner = await start()
      const sent: string[] = []
      for (let round = 0; round < 12; round++) {
        for (let i = 0; i < 5; i++) {
          const value = `${random() < 0.2 ? 'bad' : 'ok'}${sent.length}`
          w.log.append({ topic: 'in', partition: sent.length % 2, key: Buffer.from(`k${sent.length % 3}`), value: Buffer.from(value) })
          sent.push(value)
        }
        if (random() < 0.4) w.log.failSends(1, random() < 0.5 ? 'SLU_LOG_UNREACHABLE' : 'SLU_LOG_FAILED', { landed: random() < 0.6 })
        await w.clock.advance(Math.floor(random() * 120))
        if (random() < 0.3) {
          const old = owner.name
          if (random() < 0.5) {
            w.log.crash(old)
            owner = await start()
          } else {
            w.log.zombie(old)
            owner = await start()
            await w.clock.advance(Math.floor(random() * 200))
            const waking = w.log.wake(old)
            await w.clock.advance(200)
            await waking
            w.log.crash(old)
          }
        }
      }
      const isCommitted = (partition: number): boolean =>
        w.log.committed(`sluice.${definition.name}`, { topic: 'in', partition })?.nextOffset === BigInt(sent.filter((_, i) => i % 2 === partition).length)
      await w.until(`seed ${seed}: all committed`, () => isCommitted(0) && isCommitted(1))
      await w.clock.advance(2000)
      const out = w.log.dump('out').map(text)
      t.deepEqual(out.toSorted(), sent.filter((v) => v.startsWith('ok')).toSorted(), `seed ${seed}: outputs`)
      t.deepEqual(w.log.dump('in.dlq').map(text).toSorted(), sent.filter((v) => v.startsWith('bad')).toSorted(), `seed ${seed}: dead letters`)
      if (kind === 'fold')
        for (const key of ['k0', 'k1', 'k2'])
          for (const partition of [0, 1]) {
            const rows = w.log.dump('state').filter((r) => r.partition === partition && r.key?.toString() === key)
            const expected = sent.filter((v, i) => v.startsWith('ok') && i % 2 === partition && `k${i % 3}` === key).length
            t.is(Number(text(rows.at(-1) ?? { ...one, value: Buffer.from('0') })), expected, `seed ${seed}: count of ${key}`)
          }
      t.deepEqual(w.fatal, [])
      const stopping = owner.runner.stop(100)
      await w.clock.advance(200)
      await stopping
    }
  })

test('transactional map: an output too large parks its record alone, with the tries it had, and each record keeps its own offset (D2, D6)', async (t) => {
  const w = runnerWorld({ ...TOPICS, out: [2, { maxMessageBytes: 2000 }], 'in.dlq': [2, { timestampType: 'CreateTime' }] })
  const definition = defineFunction<MapFunction<string>>({
    ...(kinds['map'] as MapFunction<string>),
    handle: (value) => [{ to: 'topic', topic: 'out', key: value, value: Buffer.alloc(value === 'ok1' ? 5000 : 10, value), partition: 0 }],
  })
  w.log.append(['ok0', 'ok1', 'ok2', 'bad3', 'ok4'].map((value) => ({ topic: 'in', partition: 0, key: null, value: Buffer.from(value) })))
  const runner = w.runner(definition, 'p')
  await runner.start()
  await w.until('drained', () => runner.drained())
  t.deepEqual(
    w.log.dump('out').map((r) => r.key?.toString()),
    ['ok0', 'ok2', 'ok4'],
  )
  t.deepEqual(
    w.log.dump('in.dlq').map((r) => [text(r), headerOf(r, 'sluice.error.code')]),
    [
      ['ok1', 'SLU_LOG_RECORD_TOO_LARGE'],
      ['bad3', 'SLU_RECORD_UNDECODABLE'],
    ],
  )
  t.deepEqual([runner.stats().out, runner.stats().deadLetters], [3, 2])
  t.is(w.log.committed('sluice.m', { topic: 'in', partition: 0 })?.nextOffset, 5n)
  await runner.stop(100)
})

test('transactional: offsets behind the last record that left something move by themselves, so that a drained partition is committed to its end (C1)', async (t) => {
  for (const kind of ['map', 'task']) {
    const w = runnerWorld(TOPICS)
    const definition = kinds[kind] as AnyFunction
    w.log.append([
      { topic: 'in', partition: 0, key: null, value: Buffer.from('ok') },
      { topic: 'in', partition: 0, key: null, value: null, headers: [['sluice.tick', Buffer.from('1')]] },
    ])
    const runner = w.runner(definition, 'p')
    await runner.start()
    await w.until('committed', () => w.log.committed(`sluice.${definition.name}`, { topic: 'in', partition: 0 })?.nextOffset === 2n)
    t.deepEqual(w.log.dump('out').map(text), ['ok'])
    await w.until('shown', () => runner.partitions().find((p) => p.partition === 0)?.committed === 2n)
    await runner.stop(100)
  }
})
