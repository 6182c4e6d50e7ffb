/** The twin's hooks: what they break, and that they break nothing else. Ordinary behaviour is the conformance suite's part. */
import test from 'ava'
import type { SluiceError } from '../../schemas/errors.ts'
import type { Assignment, ConsumerEvents, LogConsumer, LogRecord } from '../../schemas/log.ts'
import { createMemoryLog } from './memory-log.ts'
import { createVirtualClock, settled } from './virtual-clock.ts'

interface Seen {
  readonly events: ConsumerEvents
  readonly records: LogRecord[]
  readonly assigned: Assignment[]
  readonly revoked: boolean[]
}

function seen(): Seen {
  const all: Omit<Seen, 'events'> = { records: [], assigned: [], revoked: [] }
  return {
    ...all,
    events: {
      assigned: async (assignments) => {
        all.assigned.push(...assignments)
        return assignments.map((a) => ({ ...a, nextOffset: a.committed?.nextOffset ?? 'start' }))
      },
      revoked: async (_partitions, lost) => void all.revoked.push(lost),
      records: (_at, _epoch, records) => void all.records.push(...records),
      held: () => {},
      failed: () => {},
    },
  }
}

async function commitAll(consumer: LogConsumer, member: Seen): Promise<void> {
  const last = member.assigned.at(-1) as Assignment
  await consumer.commit([{ topic: last.topic, partition: last.partition, epoch: last.epoch, nextOffset: 1n, metadata: 'm' }])
}

const at = { topic: 'a', partition: 0 }
const value = (n: number) => ({ topic: 'a', key: null, value: Buffer.from(String(n)) })

test('memory log: a crashed process is never told anything, and its successor takes over from the commit', async (t) => {
  const log = createMemoryLog({ clock: createVirtualClock() })
  log.create('a', 1)
  log.append([value(0), value(1)])
  const [first, second] = [seen(), seen()]
  const consumer = log.driver('one').consumer({ group: 'g', topics: ['a'] })
  await consumer.start(first.events)
  await settled()
  await commitAll(consumer, first)
  log.crash('one')
  await log
    .driver('two')
    .consumer({ group: 'g', topics: ['a'] })
    .start(second.events)
  log.append(value(2))
  await settled()
  t.deepEqual(first.revoked, [])
  t.is(first.records.length, 2)
  t.deepEqual(second.assigned[0]?.committed, { nextOffset: 1n, metadata: 'm' })
  t.deepEqual(
    second.records.map((r) => r.offset),
    [1n, 2n],
  )
})

test('memory log: a zombie goes on reading but its commits are refused until it is told and joins again (C3)', async (t) => {
  const log = createMemoryLog({ clock: createVirtualClock() })
  log.create('a', 1)
  const [first, second] = [seen(), seen()]
  const consumer = log.driver('one').consumer({ group: 'g', topics: ['a'] })
  await consumer.start(first.events)
  await settled()
  log.zombie('one')
  await log
    .driver('two')
    .consumer({ group: 'g', topics: ['a'] })
    .start(second.events)
  await settled()
  log.append(value(0))
  await settled()
  t.deepEqual([first.records.length, second.records.length], [1, 1])
  const error = await t.throwsAsync(commitAll(consumer, first))
  t.is((error as SluiceError).code, 'SLU_LOG_STALE_EPOCH')
  await log.wake('one')
  t.deepEqual(first.revoked, [true])
})

test('memory log: failed sends reject with the code asked for, landed or not, and the next one works', async (t) => {
  const log = createMemoryLog({ clock: createVirtualClock() })
  log.create('a', 1)
  const producer = log.driver().producer()
  log.failSends(1, 'SLU_LOG_UNREACHABLE')
  log.failSends(1, 'SLU_LOG_UNREACHABLE', { landed: true })
  for (const _ of [0, 1]) t.is(((await t.throwsAsync(producer.send([value(1)]))) as SluiceError).code, 'SLU_LOG_UNREACHABLE')
  t.is(log.dump('a').length, 1)
  await producer.send([value(2)])
  t.is(log.dump('a').length, 2)
})

test('memory log: delayed sends wait for the clock and keep their order; append time is the clock’s', async (t) => {
  const clock = createVirtualClock(1000)
  const log = createMemoryLog({ clock })
  log.create('a', 1)
  log.delaySends(50)
  const producer = log.driver().producer()
  const sent = [producer.send([value(0)]), producer.send([value(1)])]
  await clock.advance(60)
  t.is(log.dump('a').length, 1)
  await clock.advance(40)
  await Promise.all(sent)
  t.deepEqual(
    log.dump('a').map((r) => [String(r.value), r.appendMs]),
    [
      ['0', 1050],
      ['1', 1100],
    ],
  )
})

test('memory log: the same seed delivers the same batches, and a truncated offset is held, never jumped over (C7)', async (t) => {
  const run = async (): Promise<number[]> => {
    let state = 7
    const log = createMemoryLog({ clock: createVirtualClock(), random: () => (state = (state * 16807) % 2147483647) / 2147483647 })
    log.create('a', 1)
    log.append(Array.from({ length: 40 }, (_, n) => value(n)))
    const sizes: number[] = []
    const member = seen()
    await log
      .driver()
      .consumer({ group: 'g', topics: ['a'] })
      .start({ ...member.events, records: (_at, _epoch, records) => void sizes.push(records.length) })
    await settled()
    return sizes
  }
  const sizes = await run()
  t.deepEqual(await run(), sizes)
  t.is(
    sizes.reduce((a, b) => a + b, 0),
    40,
  )
  t.true(sizes.length > 8)
  const log = createMemoryLog({ clock: createVirtualClock() })
  log.create('a', 1)
  log.append([value(0), value(1), value(2)])
  log.setCommitted('g', at, { nextOffset: 1n, metadata: '' })
  log.truncate(at, 2n)
  const member = seen()
  const held: string[] = []
  await log
    .driver()
    .consumer({ group: 'g', topics: ['a'] })
    .start({ ...member.events, held: (_at, error) => void held.push((error as SluiceError).code) })
  await settled()
  t.deepEqual([held, member.records], [['SLU_LOG_TRUNCATED'], []])
})
