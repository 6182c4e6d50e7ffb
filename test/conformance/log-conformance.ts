/**
 * What every LogDriver must do (runtime.md §1–2): one suite for the embedded log, the in-memory twin and Kafka.
 *
 * Owns: the checks of C2, C3, C4, C6, C7, C8 and of the fencing R1 rests on. Names of topics, groups and holders are new in each
 * test, so that a broker shared with others can be used; waits are bounded conditions, never sleeps. The file is long because it is
 * one list of independent checks.
 */
import type { ExecutionContext, TestFn } from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogDriver, LogTail, OutRecord, TailBatch, TailOptions } from '../../schemas/log.ts'
import { partitionOf } from '../../infra/log/partitioner.ts'
import { committedRecords, readTopic } from '../helpers/read-topic.ts'
import { until } from '../helpers/until.ts'
import type { Member } from './member.ts'
import { join } from './member.ts'

export interface ConformanceLog {
  /** A driver as another process would have; an embedded log may answer with the same one. */
  driver(): LogDriver
  /** Makes a topic with records of at most 1,000,000 bytes. */
  topic(name: string, partitions: number, timestampType: 'CreateTime' | 'LogAppendTime'): Promise<void>
  /** Drops records below the offset, as retention does. */
  truncate(topic: string, partition: number, startOffset: bigint): Promise<void>
  cleanup(): Promise<void>
}

const BOUND_MS = 30_000
const MAX_MESSAGE_BYTES = 1_000_000

interface Bench {
  readonly log: ConformanceLog
  readonly driver: LogDriver
  readonly topic: string
  readonly group: string
  send(...records: Partial<OutRecord>[]): Promise<bigint[]>
}

const text = (value: string): Buffer => Buffer.from(value)
const codeOf = (error: unknown): string => (error instanceof SluiceError ? error.code : String(error))
const numbered = (count: number, from = 0): { value: Buffer }[] => Array.from({ length: count }, (_, n) => ({ value: text(String(from + n)) }))
const names = (count: number, from = 0): string[] => Array.from({ length: count }, (_, n) => String(from + n))

async function rejection(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'resolved',
    (error: unknown) => codeOf(error),
  )
}

/** Reads on in the background; what came is in `batches`. */
function follow(tail: LogTail): { batches: TailBatch[]; values(): string[]; ended: Promise<string> } {
  const batches: TailBatch[] = []
  const run = async (): Promise<void> => {
    for await (const batch of tail) batches.push(batch)
  }
  return { batches, values: () => batches.flatMap((batch) => batch.records.map((record) => String(record.value))), ended: rejection(run()) }
}

const wait = (condition: () => boolean | Promise<boolean>, what: string): Promise<void> => until(condition, BOUND_MS, what)

/** Every test of the suite, on logs from `make`. */
export function logConformance(test: TestFn, name: string, make: () => Promise<ConformanceLog>): void {
  let serial = 0
  const unique = `${process.pid.toString(36)}${Date.now().toString(36)}`
  const check = (
    title: string,
    partitions: number,
    run: (t: ExecutionContext, bench: Bench) => Promise<void>,
    timestampType: 'CreateTime' | 'LogAppendTime' = 'LogAppendTime',
  ): void => {
    test(`${name}: ${title}`, async (t) => {
      t.timeout(120_000)
      const log = await make()
      try {
        // Taken once: other tests count on while this one waits, and two must never share a group.
        const id = `${unique}.${++serial}`
        const topic = `conformance.${id}`
        await log.topic(topic, partitions, timestampType)
        const driver = log.driver()
        const producer = driver.producer()
        const send: Bench['send'] = async (...records) => {
          const appended = await producer.send(records.map((record) => ({ topic, partition: 0, key: null, value: null, ...record })))
          return appended.map((a) => a.offset)
        }
        await run(t, { log, driver, topic, group: `group.${id}`, send })
      } finally {
        await log.cleanup()
      }
    })
  }
  appendChecks(check)
  readerChecks(check)
  groupChecks(check)
  commitChecks(check)
  flowChecks(check)
  fenceChecks(check)
  offsetChecks(check)
  adminChecks(check)
}

type Check = (title: string, partitions: number, run: (t: ExecutionContext, bench: Bench) => Promise<void>, timestampType?: 'CreateTime' | 'LogAppendTime') => void

function appendChecks(check: Check): void {
  check('append: keys, values, headers and their order come back byte by byte; null and empty are not confused', 1, async (t, { driver, topic, send }) => {
    const binary = Buffer.from(Array.from({ length: 256 }, (_, n) => n))
    const headers = ['b', '10', '2', 'b', '', 'ü'].map((header, n) => [header, n === 0 ? Buffer.alloc(0) : Buffer.from([n, 0xff])] as const)
    const sent = [
      { key: text('k'), value: binary, headers },
      { key: binary, value: Buffer.alloc(0) },
      { key: text('k'), value: null },
      { key: null, value: text('no key') },
      { key: Buffer.alloc(0), value: text('empty key') },
    ]
    t.deepEqual(await send(...sent), [0n, 1n, 2n, 3n, 4n])
    const records = await readTopic(driver, topic)
    t.deepEqual(
      records.map(({ key, value }) => [key, value]),
      sent.map(({ key, value }) => [key, value]),
    )
    t.deepEqual(records[0]?.headers, headers)
    t.deepEqual(records[1]?.headers, [])
  })

  check('append: order is kept within a partition, however many sends are under way', 1, async (t, { driver, topic, send }) => {
    await Promise.all(Array.from({ length: 30 }, (_, n) => send(...numbered(20, n * 20))))
    t.deepEqual(
      (await readTopic(driver, topic)).map((record) => String(record.value)),
      names(600),
    )
  })

  check('append: a key goes where Kafka’s default partitioner puts it, never elsewhere', 7, async (t, { driver, topic }) => {
    const keys = ['a', 'gpu-17', 'ü', '', 'x'.repeat(31)].map(text)
    const appended = await driver.producer().send(keys.map((key) => ({ topic, key, value: null })))
    t.deepEqual(
      appended.map((a) => a.partition),
      keys.map((key) => partitionOf(key, 7)),
    )
    const [keyless] = await driver.producer().send([{ topic, key: null, value: text('v') }])
    t.true((keyless?.partition ?? -1) >= 0 && (keyless?.partition ?? 7) < 7)
  })

  check('append: with LogAppendTime the producer’s time is ignored and appendMs is set (W1)', 1, async (t, { driver, topic, send }) => {
    await send({ value: text('v'), timestampMs: 1000 })
    const [record] = await readTopic(driver, topic)
    t.is(record?.appendMs, record?.timestampMs ?? null)
    t.true((record?.timestampMs ?? 0) > 1_000_000)
  })

  check(
    'append: with CreateTime the producer’s time is kept and appendMs is null',
    1,
    async (t, { driver, topic, send }) => {
      const timestampMs = Date.now() - 5000
      await send({ value: text('v'), timestampMs })
      const [record] = await readTopic(driver, topic)
      t.deepEqual([record?.timestampMs, record?.appendMs], [timestampMs, null])
    },
    'CreateTime',
  )

  check('append: a missing topic and a record that is too large are named errors; the next send works', 1, async (t, { driver, topic, send }) => {
    const producer = driver.producer()
    t.is(await rejection(producer.send([{ topic: `${topic}.absent`, key: null, value: null }])), 'SLU_LOG_TOPIC_MISSING')
    t.is(await rejection(send({ value: Buffer.alloc(MAX_MESSAGE_BYTES + 10_000) })), 'SLU_LOG_RECORD_TOO_LARGE')
    await send({ value: text('small') })
    t.deepEqual(
      (await readTopic(driver, topic)).map((record) => String(record.value)),
      ['small'],
    )
  })
}

function readerChecks(check: Check): void {
  check('reader: from start, end, an offset map; untilEnd ends at the ends seen at opening', 2, async (t, { driver, topic, send }) => {
    await send(...numbered(5), { partition: 1, value: text('p1') })
    t.deepEqual((await readTopic(driver, topic)).map((r) => String(r.value)).sort(), ['0', '1', '2', '3', '4', 'p1'])
    t.deepEqual((await readTopic(driver, topic, { from: new Map([[0, 3n]]) })).map((r) => String(r.value)).sort(), ['3', '4', 'p1'])
    t.deepEqual(
      (await readTopic(driver, topic, { partitions: [1] })).map((r) => String(r.value)),
      ['p1'],
    )
    t.deepEqual(await readTopic(driver, topic, { from: 'end' }), [])
    const tail = await driver.reader().open({ topic, partitions: [0], from: 'end', committedOnly: true, untilEnd: false })
    await tail.caughtUp
    const followed = follow(tail)
    await send(...numbered(2, 5))
    await wait(() => followed.values().length === 2, 'the tail follows')
    t.deepEqual(followed.values(), ['5', '6'])
    t.is(followed.batches.at(-1)?.readTo, 7n)
    await tail.close()
    t.is(await followed.ended, 'resolved')
  })

  check('reader: caughtUp resolves after everything that existed at opening was yielded, not before', 2, async (t, { driver, topic, send }) => {
    await send(...numbered(50), ...numbered(50, 50).map((record) => ({ ...record, partition: 1 })))
    const tail = await driver.reader().open({ topic, partitions: 'all', from: 'start', committedOnly: true, untilEnd: false })
    const followed = follow(tail)
    await tail.caughtUp
    t.is(followed.values().length, 100)
    await tail.close()
  })

  check('reader: a missing topic and an offset the log no longer holds are named errors, never a jump (C7)', 1, async (t, { log, driver, topic, send }) => {
    const open = (options: Partial<TailOptions>): Promise<LogTail> =>
      driver.reader().open({ topic, partitions: 'all', from: 'start', committedOnly: true, untilEnd: true, ...options })
    t.is(await rejection(open({ topic: `${topic}.absent` })), 'SLU_LOG_TOPIC_MISSING')
    await send(...numbered(5))
    await log.truncate(topic, 0, 3n)
    t.is(await rejection(open({ from: new Map([[0, 1n]]) })), 'SLU_LOG_TRUNCATED')
    t.deepEqual(
      (await readTopic(driver, topic)).map((r) => String(r.value)),
      ['3', '4'],
    )
  })
}

function groupChecks(check: Check): void {
  check('group: a new group starts at the start of the log (C7), in order, readTo is the position after', 1, async (t, { driver, topic, group, send }) => {
    await send(...numbered(20))
    const member = await join(driver, { group, topic })
    await wait(() => member.records().length === 20, 'everything arrives')
    await send(...numbered(5, 20))
    await wait(() => member.records().length === 25, 'what is appended later arrives')
    t.deepEqual(member.values(), names(25))
    t.is(member.deliveries.at(-1)?.readTo, 25n)
    t.is(member.consumer.endOffset({ topic, partition: 0 }), 25n)
    await member.consumer.stop()
    t.deepEqual(member.revocations, [{ partitions: [{ topic, partition: 0 }], lost: false }])
  })

  check('group: no record is delivered before assigned resolves', 1, async (t, { driver, topic, group, send }) => {
    await send(...numbered(3))
    const gate = Promise.withResolvers<void>()
    let isAsked = false
    const member = await join(driver, {
      group,
      topic,
      onAssigned: async () => {
        isAsked = true
        await gate.promise
      },
    })
    await wait(() => isAsked, 'assigned is called')
    await readTopic(driver, topic)
    t.is(member.deliveries.length, 0)
    gate.resolve()
    await wait(() => member.records().length === 3, 'then they come')
    await member.consumer.stop()
  })

  check(
    'group: two members share the partitions, each owned by one; when one leaves the other has all, under a higher epoch (C3)',
    4,
    async (t, { log, driver, topic, group, send }) => {
      const first = await join(driver, { group, topic })
      await wait(() => first.owned().length === 4, 'the first owns all')
      const before = first.epochOf(0)
      const second = await join(log.driver(), { group, topic })
      await wait(() => first.owned().length === 2 && second.owned().length === 2, 'they share')
      t.is(new Set([...first.owned(), ...second.owned()]).size, 4)
      await send(...[0, 1, 2, 3].map((partition) => ({ partition, value: text(`p${partition}`) })))
      await wait(() => first.records().length + second.records().length === 4, 'each record comes once')
      await second.consumer.stop()
      await wait(() => first.owned().length === 4, 'the first owns all again')
      t.true(first.epochOf(0) > before)
      t.deepEqual([first.strayCount, second.strayCount], [0, 0])
      await first.consumer.stop()
    },
  )

  check('group: a partition that takes long to open keeps no other from being read, and may be revoked meanwhile (B6, C4)', 2, async (t, { driver, topic, group, send }) => {
    await send(...numbered(3).map((r) => ({ ...r, partition: 0 })), ...numbered(3, 3).map((r) => ({ ...r, partition: 1 })))
    let open = (): void => undefined
    const opens = new Promise<void>((resolve) => (open = resolve))
    const member = await join(driver, { group, topic, opensAtOnce: [1], onAssigned: () => opens })
    await wait(() => member.records().length === 3, 'the one that is open is read')
    t.deepEqual(member.values(), ['3', '4', '5'])
    open()
    await wait(() => member.records().length === 6, 'the other one too, and none twice')
    t.deepEqual(member.values(), ['3', '4', '5', '0', '1', '2'])
    await member.consumer.stop()
    const stuck = await join(driver, { group, topic, onAssigned: () => new Promise(() => undefined) })
    await stuck.consumer.stop()
    t.deepEqual([stuck.records(), stuck.failures], [[], []])
  })

  check('group: revoke is awaited before the partition goes on, and no record comes after it (C4)', 1, async (t, { log, driver, topic, group, send }) => {
    await send(...numbered(10))
    const gate = Promise.withResolvers<void>()
    const first = await join(driver, { group, topic, onRevoked: () => gate.promise })
    await wait(() => first.records().length === 10, 'the first reads')
    const stopped = first.consumer.stop()
    await wait(() => first.revocations.length === 1, 'it is asked to let go')
    let isTaken = false
    const onAssigned = async (): Promise<void> => {
      isTaken = true
    }
    const successor = join(log.driver(), { group, topic, onAssigned })
    await send(...numbered(5, 10))
    await readTopic(driver, topic)
    t.is(first.records().length, 10)
    t.false(isTaken, 'the successor waits')
    gate.resolve()
    await stopped
    const second = await successor
    await wait(() => second.records().length === 15, 'the second reads from the start: nothing was committed')
    t.is(first.strayCount, 0)
    await second.consumer.stop()
  })

  check('group: a member that goes without committing is replaced from the last commit, nothing lost', 1, async (t, { log, driver, topic, group, send }) => {
    await send(...numbered(10))
    const first = await join(driver, { group, topic })
    await wait(() => first.records().length === 10, 'the first reads all')
    await first.consumer.commit([{ topic, partition: 0, epoch: first.epochOf(0), nextOffset: 4n, metadata: 'four' }])
    await first.consumer.stop()
    const second = await join(log.driver(), { group, topic })
    await wait(() => second.records().length === 6, 'the second goes on')
    t.deepEqual(second.values(), names(6, 4))
    t.deepEqual(second.assignments[0]?.committed, { nextOffset: 4n, metadata: 'four' })
    await second.consumer.stop()
  })

  check(
    'group: members that read different topics are each given their own and no other, whoever leads, also while they come and go',
    2,
    async (t, { log, driver, topic, group, send }) => {
      const other = `${topic}.other`
      await log.topic(other, 2, 'LogAppendTime')
      const at = { topic: other, key: null }
      await driver.producer().send([0, 1].map((partition) => ({ ...at, partition, value: text(`other ${partition}`) })))
      await send({ value: text('own 0') }, { partition: 1, value: text('own 1') })
      const first = await join(driver, { group, topic })
      const second = await join(log.driver(), { group, topic: other })
      const third = await join(log.driver(), { group, topic: other })
      const all = (prefix: string, ...members: Member[]): boolean => [0, 1].every((n) => members.some((m) => m.values().includes(`${prefix} ${n}`)))
      await wait(() => all('own', first) && all('other', second, third) && second.owned().length === 1 && third.owned().length === 1, 'each reads its topic')
      await first.consumer.stop()
      await second.consumer.stop()
      await wait(() => third.owned().length === 2, 'the last one has all of its topic')
      for (const [member, own] of [
        [first, topic],
        [second, other],
        [third, other],
      ] as const)
        t.true(member.assignments.every((assignment) => assignment.topic === own))
      await third.consumer.stop()
    },
  )

  check('group: a missing topic refuses the start by name', 1, async (t, { driver, topic, group }) => {
    t.is(await rejection(join(driver, { group, topic: `${topic}.absent` })), 'SLU_LOG_TOPIC_MISSING')
  })
}

function commitChecks(check: Check): void {
  const owner = async (bench: Bench, group: string): Promise<Member> => {
    const member = await join(bench.driver, { group, topic: bench.topic })
    await wait(() => member.owned().length > 0, 'a partition is owned')
    return member
  }

  check('commit: offset and 3,500 bytes of metadata come back in one read; more is refused before it is sent (C2)', 1, async (t, bench) => {
    const { topic, group, driver } = bench
    const member = await owner(bench, group)
    t.is(member.assignments[0]?.committed, null)
    const metadata = `${'ü'.repeat(1000)}${'x'.repeat(1500)}`
    const entry = { topic, partition: 0, epoch: member.epochOf(0), nextOffset: 0n, metadata }
    await member.consumer.commit([entry])
    t.is(await rejection(member.consumer.commit([{ ...entry, metadata: `${metadata}y` }])), 'SLU_LOG_METADATA_TOO_LARGE')
    await member.consumer.stop()
    t.deepEqual((await driver.admin().committed(group, topic)).get(0), { nextOffset: 0n, metadata })
    const next = await owner(bench, group)
    t.deepEqual(next.assignments[0]?.committed, { nextOffset: 0n, metadata })
    await next.consumer.stop()
  })

  check('commit: inside revoked it still counts; under an older epoch, or after leaving, it is refused and changes nothing (C3, C4)', 1, async (t, bench) => {
    const { log, topic, group, driver } = bench
    const epochs: number[] = []
    const first = await join(driver, {
      group,
      topic,
      onRevoked: async (member) => {
        epochs.push(member.epochOf(0))
        await member.consumer.commit([{ topic, partition: 0, epoch: member.epochOf(0), nextOffset: 0n, metadata: 'let go' }])
      },
    })
    await wait(() => first.owned().length === 1, 'a partition is owned')
    const stale = { topic, partition: 0, epoch: first.epochOf(0) - 1, nextOffset: 0n, metadata: 'stale' }
    t.is(await rejection(first.consumer.commit([stale])), 'SLU_LOG_STALE_EPOCH')
    await first.consumer.stop()
    t.is(epochs.length, 1)
    t.is(await rejection(first.consumer.commit([{ ...stale, epoch: epochs[0] as number, metadata: 'late' }])), 'SLU_LOG_STALE_EPOCH')
    const second = await join(log.driver(), { group, topic })
    await wait(() => second.assignments.length === 1, 'the successor is told')
    t.is(second.assignments[0]?.committed?.metadata, 'let go')
    await second.consumer.stop()
  })
}

function flowChecks(check: Check): void {
  check('flow: a paused partition delivers nothing while others go on, and resumes without loss', 2, async (t, { driver, topic, group, send }) => {
    const member = await join(driver, { group, topic })
    await wait(() => member.owned().length === 2, 'both are owned')
    const first = { topic, partition: 0 }
    member.consumer.pause([first])
    await send(...numbered(10), ...numbered(10, 10).map((record) => ({ ...record, partition: 1 })))
    await wait(() => member.records().length === 10, 'the other partition comes')
    await send({ partition: 1, value: text('20') })
    await wait(() => member.records().length === 11, 'and goes on')
    t.true(member.records().every((record) => record.partition === 1))
    member.consumer.resume([first])
    await wait(() => member.records().length === 21, 'the paused one goes on')
    t.deepEqual(
      member
        .records()
        .filter((r) => r.partition === 0)
        .map((r) => String(r.value)),
      names(10),
    )
    await member.consumer.stop()
  })

  check('flow: whoever pauses at each delivery never has more than bytesInFlightMax and one batch in hand (C6)', 1, async (t, { driver, topic, group, send }) => {
    const recordBytes = 10_000
    for (let n = 0; n < 60; n += 1) await send({ value: Buffer.alloc(recordBytes, n) })
    const sizes: number[] = []
    let afterPause = 0
    let isPaused = false
    const member = await join(driver, {
      group,
      topic,
      bytesInFlightMax: 50_000,
      onRecords: (self, at, _epoch, records) => {
        if (isPaused) afterPause += records.length
        isPaused = true
        sizes.push(records.reduce((sum, record) => sum + (record.value?.length ?? 0), 0))
        self.consumer.pause([at])
      },
    })
    let count = 0
    while (count < 60) {
      await wait(() => member.records().length > count, 'a delivery')
      count = member.records().length
      isPaused = false
      member.consumer.resume([{ topic, partition: 0 }])
    }
    t.is(afterPause, 0)
    t.is(count, 60)
    t.true(Math.max(...sizes) <= 50_000 + recordBytes * 2, `largest delivery ${Math.max(...sizes)} bytes`)
    await member.consumer.stop()
  })

  check('flow: of small records a delivery brings no more than recordsInFlightMax and one batch (C6)', 1, async (t, { driver, topic, group, send }) => {
    const [batchRecords, count] = [100, 8000]
    for (let n = 0; n < count; n += batchRecords) await send(...Array.from({ length: batchRecords }, () => ({ value: Buffer.alloc(60) })))
    const sizes: number[] = []
    const member = await join(driver, { group, topic, recordsInFlightMax: 2000, onRecords: (_self, _at, _epoch, records) => sizes.push(records.length) })
    await wait(() => member.records().length === count, 'all of them')
    t.true(Math.max(...sizes) <= 2000 + batchRecords, `deliveries of ${sizes.join(', ')} records`)
    await member.consumer.stop()
  })

  check('flow: an offset the log no longer holds stops that partition with SLU_LOG_TRUNCATED, others go on (C7)', 2, async (t, { log, driver, topic, group, send }) => {
    await send(...numbered(5), ...numbered(5, 5).map((record) => ({ ...record, partition: 1 })))
    const first = await join(driver, { group, topic })
    await wait(() => first.owned().length === 2, 'both are owned')
    await first.consumer.commit([0, 1].map((partition) => ({ topic, partition, epoch: first.epochOf(partition), nextOffset: 1n, metadata: '' })))
    await first.consumer.stop()
    await log.truncate(topic, 0, 3n)
    const second = await join(driver, { group, topic })
    await wait(() => second.held.length === 1 && second.records().length === 4, 'one is held, the other read')
    t.is(second.held[0]?.partition, 0)
    t.is(codeOf(second.held[0]?.error), 'SLU_LOG_TRUNCATED')
    t.deepEqual(second.values(), names(4, 6))
    t.deepEqual(second.failures, [])
    await second.consumer.stop()
  })
}

function fenceChecks(check: Check): void {
  check('fence: opening a name refuses every earlier holder, whose records never appear (C8, R1)', 1, async (t, { log, driver, topic }) => {
    const record = (value: string): OutRecord => ({ topic, partition: 0, key: text('k'), value: text(value) })
    const first = await driver.fencedProducer(`${topic}.holder`)
    t.is((await first.transaction([record('one')]))[0]?.offset, 0n)
    const second = await log.driver().fencedProducer(`${topic}.holder`)
    t.is(await rejection(first.transaction([record('zombie')])), 'SLU_LOG_FENCED')
    await second.transaction([record('two')])
    const other = await driver.fencedProducer(`${topic}.other`)
    await other.transaction([record('three')])
    t.is(await rejection(first.transaction([record('zombie again')])), 'SLU_LOG_FENCED')
    t.deepEqual(
      (await committedRecords(driver, topic, 3)).map((r) => String(r.value)),
      ['one', 'two', 'three'],
    )
    await Promise.all([first.close(), second.close(), other.close()])
  })

  check('fence: a transaction is all or nothing, also over partitions, and what follows a refused one works', 2, async (t, { driver, topic }) => {
    const record = (partition: number, value: Buffer): OutRecord => ({ topic, partition, key: null, value })
    const holder = await driver.fencedProducer(`${topic}.holder`)
    const appended = await holder.transaction([record(0, text('a')), record(1, text('b')), record(0, text('c'))])
    t.deepEqual(
      appended.map((a) => [a.partition, a.offset]),
      [
        [0, 0n],
        [1, 0n],
        [0, 1n],
      ],
    )
    t.is(await rejection(holder.transaction([record(0, text('half')), record(1, Buffer.alloc(MAX_MESSAGE_BYTES + 10_000))])), 'SLU_LOG_RECORD_TOO_LARGE')
    await holder.transaction([record(0, text('d'))])
    await committedRecords(driver, topic, 4)
    const member = await join(driver, { group: `${topic}.g`, topic })
    const ranges = await driver.admin().ranges(topic)
    const readTo = (partition: number): bigint => member.deliveries.findLast((delivery) => delivery.partition === partition)?.readTo ?? 0n
    await wait(() => ranges.every((range) => readTo(range.partition) === range.endOffset), 'readTo passes the control records')
    t.deepEqual(member.values().sort(), ['a', 'b', 'c', 'd'])
    await member.consumer.stop()
    await holder.close()
  })
}

function offsetChecks(check: Check): void {
  check('fence: committed offsets move with the records of a transaction or not at all, and alone too', 1, async (t, { log, driver, topic, group }) => {
    const record = (value: Buffer): OutRecord => ({ topic, partition: 0, key: null, value })
    const to = (nextOffset: bigint, metadata = '') => ({ group, entries: [{ topic, partition: 0, nextOffset, metadata }] })
    const committed = async (): Promise<unknown> => (await driver.admin().committed(group, topic)).get(0) ?? null
    const holder = await driver.fencedProducer(`${topic}.holder`)
    t.is(await committed(), null)
    await holder.transaction([record(text('a'))], to(3n, 'm'))
    await wait(async () => JSON.stringify(await committed(), bigints) === '{"nextOffset":"3","metadata":"m"}', 'offset and metadata of the transaction')
    t.is(await rejection(holder.transaction([record(text('b')), record(Buffer.alloc(MAX_MESSAGE_BYTES + 10_000))], to(4n))), 'SLU_LOG_RECORD_TOO_LARGE')
    t.is(await rejection(holder.transaction([record(text('c'))], to(5n, 'x'.repeat(3501)))), 'SLU_LOG_METADATA_TOO_LARGE')
    const next = await log.driver().fencedProducer(`${topic}.holder`)
    t.is(await rejection(holder.transaction([record(text('zombie'))], to(6n))), 'SLU_LOG_FENCED')
    t.deepEqual(await committed(), { nextOffset: 3n, metadata: 'm' }, 'what was refused moved nothing')
    t.deepEqual(await next.transaction([], to(7n)), [])
    await wait(async () => JSON.stringify(await committed(), bigints) === '{"nextOffset":"7","metadata":""}', 'an offset alone')
    t.deepEqual(
      (await readTopic(driver, topic)).map((r) => String(r.value)),
      ['a'],
    )
    await Promise.all([holder.close(), next.close()])
  })

  check('fence: once a name is opened, what its earlier holder committed in transactions is seen at once', 1, async (t, { log, driver, topic, group }) => {
    // The group's coordinator may have to be made first, on a log that never had a group.
    await driver.admin().committed(group, topic)
    for (let n = 1n; n <= 5n; n += 1n) {
      const holder = await driver.fencedProducer(`${topic}.holder`)
      const entries = [{ topic, partition: 0, nextOffset: n, metadata: '' }]
      await holder.transaction([{ topic, partition: 0, key: null, value: text(String(n)) }], { group, entries })
      await log.driver().fencedProducer(`${topic}.holder`)
      t.is((await driver.admin().committed(group, topic)).get(0)?.nextOffset, n)
      await holder.close()
    }
  })
}

const bigints = (_key: string, value: unknown): unknown => (typeof value === 'bigint' ? String(value) : value)

function adminChecks(check: Check): void {
  check('admin: ranges name first and next offset; a missing topic is a named error; createTopics leaves what exists alone', 3, async (t, { driver, topic, send }) => {
    const admin = driver.admin()
    await send(...numbered(4))
    t.deepEqual(
      (await admin.ranges(topic)).sort((a, b) => a.partition - b.partition),
      [
        { partition: 0, startOffset: 0n, endOffset: 4n },
        { partition: 1, startOffset: 0n, endOffset: 0n },
        { partition: 2, startOffset: 0n, endOffset: 0n },
      ],
    )
    t.is(await rejection(admin.ranges(`${topic}.absent`)), 'SLU_LOG_TOPIC_MISSING')
    const before = await admin.ranges(topic)
    t.true(await admin.mayAppend(topic))
    t.deepEqual(await admin.ranges(topic), before, 'asking writes nothing')
    t.is(await rejection(admin.mayAppend(`${topic}.absent`)), 'SLU_LOG_TOPIC_MISSING')
    const spec = { partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: 3_600_000, maxMessageBytes: MAX_MESSAGE_BYTES } as const
    const specs = [topic, `${topic}.new`].map((name) => ({ name, ...spec }))
    t.deepEqual(await admin.createTopics(specs), { created: [`${topic}.new`], existing: [topic] })
    t.deepEqual((await admin.createTopics(specs)).existing.sort(), [topic, `${topic}.new`])
    const known = await admin.topics('')
    t.deepEqual(
      (await admin.topics(`${topic}.`)).map((info) => info.name),
      [`${topic}.new`],
      'only what is asked for',
    )
    const created = known.find((info) => info.name === `${topic}.new`)
    t.deepEqual(created, { name: `${topic}.new`, partitions: 2, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: 3_600_000, maxMessageBytes: MAX_MESSAGE_BYTES })
    t.is(known.find((info) => info.name === topic)?.partitions, 3)
    t.deepEqual(await admin.committed('a group nobody knows', topic), new Map())
    await admin.close()
  })
}
