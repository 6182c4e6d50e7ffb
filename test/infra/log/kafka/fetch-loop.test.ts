import test, { type ExecutionContext } from 'ava'
import { FetchLoop } from '../../../../infra/log/kafka/fetch-loop.ts'
import type { Broker, FetchedPartition, FetchRequest } from '../../../../infra/log/kafka/kafkajs.ts'
import { answer as readAnswer, batch, plain, recordsOf, type Answered } from '../../../fakes/fetch-answer.ts'
import { fetchedRecord } from '../../../fakes/fetched-record.ts'
import { fakeCluster } from '../../../fakes/kafka-cluster.ts'
import { until } from '../../../helpers/until.ts'

const [OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC_OR_PARTITION, LEADER_NOT_AVAILABLE, NOT_LEADER_FOR_PARTITION, REPLICA_NOT_AVAILABLE] = [1, 3, 5, 6, 9] as const

const tp = (partition: number) => ({ topic: 't', partition })

/** Records of one batch from `from` on, as a broker answers. */
function fetched(partition: number, from: number, count: number, end = from + count): FetchedPartition {
  return {
    partition,
    highWatermark: String(end),
    lastStableOffset: String(end),
    messages: Array.from({ length: count }, (_, i) =>
      fetchedRecord(BigInt(from + i), { value: Buffer.from(`${partition}:${from + i}`) }, { firstOffset: String(from), lastOffsetDelta: count - 1 }),
    ),
    abortedTransactions: [],
  } as FetchedPartition
}

type Answer = (request: FetchRequest) => Promise<{ responses: { topicName: string; partitions: FetchedPartition[] }[] }>
const asked = (request: FetchRequest): string[] => request.topics.flatMap((x) => x.partitions.map((p) => `${p.partition}@${p.fetchOffset}`))
const protocolError = (type: string, more: object = {}): Error => Object.assign(new Error(type), { name: 'KafkaJSProtocolError', type, ...more })
const nothing = new Promise<never>(() => undefined)

/** A loop whose fetches are answered one by one by `answers`; after the last one the broker is silent. */
function loop(t: ExecutionContext, ...answers: Answer[]) {
  return loopOf(t, {}, ...answers)
}

function loopOf(t: ExecutionContext, limits: { readonly bytesMax?: number; readonly recordsMax?: number }, ...answers: Answer[]) {
  const requests: FetchRequest[] = []
  const got: string[] = []
  const problems: string[] = []
  const refusals: Error[] = []
  const truncated: string[] = []
  const stalled: string[] = []
  let refreshed = 0
  const broker = {
    fetch: (request: FetchRequest) => {
      requests.push(request)
      return answers.shift()?.(request) ?? nothing
    },
  } as unknown as Broker
  const cluster = {
    ...fakeCluster('t', [0, 1]).cluster,
    findBroker: () => Promise.resolve(broker),
    refreshMetadata: () => {
      refreshed++
      return Promise.resolve()
    },
  }
  const fetch = new FetchLoop({
    cluster,
    committedOnly: true,
    bytesMax: 1000,
    recordsMax: Infinity,
    onFetched: (_tp, records, readTo) => {
      const refusal = refusals.shift()
      if (refusal !== undefined) throw refusal
      got.push(`${records.map((r) => String(r.value)).join(',')}→${readTo}`)
    },
    onTruncated: ({ partition }, error) => truncated.push(`${partition} ${error.message}`),
    onStalled: ({ partition }, error) => stalled.push(`${partition} ${error === null ? 'goes on' : (error as Error).message}`),
    onProblem: (error) => problems.push((error as Error).message),
    ...limits,
  })
  t.teardown(() => fetch.stop())
  return { fetch, requests, got, problems, truncated, stalled, refreshed: () => refreshed, refuse: (error: Error) => void refusals.push(error) }
}
const answer =
  (...partitions: FetchedPartition[]): Answer =>
  () =>
    Promise.resolve({ responses: [{ topicName: 't', partitions }] })

test('fetch loop: positions go on from what came; the end is the high watermark', async (t) => {
  const l = loop(t, answer(fetched(0, 5, 2, 9)))
  l.fetch.add(tp(0), 5n)
  await until(() => l.requests.length === 2)
  t.deepEqual(l.got, ['0:5,0:6→7'])
  t.deepEqual(asked(l.requests[1] as FetchRequest), ['0@7'])
  t.is(l.fetch.endOffset(tp(0)), 9n)
  t.is(l.fetch.endOffset(tp(1)), null)
})

for (const [what, act] of [
  ['removed', (f: FetchLoop) => f.remove(tp(0))],
  ['paused', (f: FetchLoop) => f.pause(tp(0))],
  ['added anew', (f: FetchLoop) => f.add(tp(0), 0n)],
  ['stopped', (f: FetchLoop) => f.stop()],
] as const)
  test(`fetch loop: a partition that was ${what} while its fetch was under way is handed nothing of it (C4, C6)`, async (t) => {
    let respond = (): void => undefined
    const l = loop(t, () => new Promise((resolve) => (respond = () => resolve({ responses: [{ topicName: 't', partitions: [fetched(0, 3, 2)] }] }))))
    l.fetch.add(tp(0), 3n)
    await until(() => l.requests.length === 1)
    act(l.fetch)
    respond()
    await new Promise((resolve) => setImmediate(resolve))
    t.deepEqual(l.got, [])
  })

test('fetch loop: what could not be handed over is asked for again, never left out (C1)', async (t) => {
  const l = loop(t, answer(fetched(0, 0, 2, 3)), answer(fetched(0, 0, 2, 3)))
  l.refuse(new RangeError('too many to take'))
  l.fetch.add(tp(0), 0n)
  await until(() => l.requests.length === 3)
  t.deepEqual(l.requests.map(asked), [['0@0'], ['0@0'], ['0@2']])
})

test('fetch loop: a paused partition is not asked for, others are; resumed it goes on where it was, also when the pause came first', async (t) => {
  const l = loop(t, answer(fetched(1, 0, 1)), answer(fetched(1, 1, 1)))
  l.fetch.pause(tp(0))
  l.fetch.add(tp(0), 4n)
  l.fetch.add(tp(1), 0n)
  await until(() => l.requests.length === 3)
  for (const request of l.requests) t.false(asked(request).some((a) => a.startsWith('0@')))
  l.fetch.resume(tp(0))
  t.deepEqual(l.got, ['1:0→1', '1:1→2'])
})

test('fetch loop: while a partition is paused a request is held for a part of how long it has been; with none it is held for long (B6)', async (t) => {
  let respond = (): void => undefined
  const held: Answer = () => new Promise((resolve) => (respond = () => resolve({ responses: [] })))
  const l = loop(t, held, held, held, held)
  const next = async (): Promise<number> => {
    const count = l.requests.length
    respond()
    await until(() => l.requests.length > count)
    return l.requests.at(-1)?.maxWaitTime ?? NaN
  }
  l.fetch.add(tp(0), 0n)
  l.fetch.add(tp(1), 0n)
  await until(() => l.requests.length === 1)
  t.is(l.requests[0]?.maxWaitTime, 500)
  l.fetch.pause(tp(0))
  const atOnce = await next()
  t.true(atOnce >= 5 && atOnce < 500, `${atOnce} ms`)
  await new Promise((resolve) => setTimeout(resolve, 4 * atOnce + 100))
  t.true((await next()) > atOnce)
  l.fetch.resume(tp(0))
  t.is(await next(), 500)
})

const partitionBytes = (request: FetchRequest | undefined, partition: number): number | undefined =>
  request?.topics.flatMap((x) => x.partitions).find((p) => p.partition === partition)?.maxBytes

/** As a broker answers: with what it says of its size. */
const answerOf =
  (...partitions: Answered[]): Answer =>
  async () => ({ responses: [{ topicName: 't', partitions: [...(await readAnswer(...partitions))] }] })
const MiB = 1 << 20
const asks = (requests: readonly FetchRequest[], partition = 0): (number | undefined)[] => requests.map((r) => partitionBytes(r, partition))

test('fetch loop: a batch larger than what is asked for is asked for with more, up to 1 MiB (C6)', async (t) => {
  const cut = answerOf({ highWatermark: 9, batches: [] })
  const l = loopOf(t, { bytesMax: 8 * MiB, recordsMax: 100 }, cut, cut, cut, cut, cut)
  l.fetch.add(tp(0), 0n)
  await until(() => l.requests.length === 6)
  t.deepEqual(
    asks(l.requests),
    [16, 17, 18, 19, 20, 20].map((power) => 2 ** power),
  )
})

test('fetch loop: of records that came, as many bytes are asked for as those wanted have, and an answer is 8 MiB at most (C6)', async (t) => {
  const came = plain(0, 'a'.repeat(500), 'b'.repeat(500))
  const l = loopOf(t, { bytesMax: 64 * MiB, recordsMax: 100 }, answerOf({ highWatermark: 9, batches: [came] }))
  l.fetch.add(tp(0), 0n)
  await until(() => l.requests.length === 2)
  t.deepEqual(asks(l.requests), [MiB / 16, Math.ceil((came.length / 2) * 100)])
  t.deepEqual(
    l.requests.map((r) => r.maxBytes),
    [8 * MiB, 8 * MiB],
  )
})

test('fetch loop: two partitions share what may be in flight (C6)', async (t) => {
  const came = plain(0, 'a'.repeat(500), 'b'.repeat(500))
  const l = loopOf(t, { bytesMax: 80_000, recordsMax: 100 }, answer(), answerOf({ highWatermark: 9, batches: [came] }))
  l.fetch.add(tp(0), 0n)
  l.fetch.add(tp(1), 0n)
  await until(() => l.requests.length === 3)
  t.deepEqual(asks(l.requests), [MiB / 16, MiB / 16, 40_000])
})

test('fetch loop: no more is asked for where nothing came for another reason: the end, an open transaction, a refusal, want of room (C6)', async (t) => {
  const bytesMax = 100_000
  const full = batch(0, 1, recordsOf(['f'.repeat(60_000)]))
  const nothing = { highWatermark: 9, batches: [] }
  const beside = (...batches: Buffer[]): Answered => ({ partition: 1, highWatermark: 9, batches })
  const answers: [string, Answered[], boolean][] = [
    ['the end', [{ highWatermark: 0, batches: [] }], false],
    ['an open transaction', [{ ...nothing, lastStableOffset: 0 }], false],
    ['a refusal', [{ ...nothing, errorCode: NOT_LEADER_FOR_PARTITION }], false],
    ['want of room', [nothing, beside(full)], false],
    ['want of room, by a batch cut short', [nothing, beside(plain(0, 'x'), plain(1, 'c'.repeat(60_000)).subarray(0, 40_000))], false],
    ['a batch too large', [nothing, beside(plain(0, 'x'))], true],
  ]
  for (const [why, partitions, isMore] of answers) {
    // What was refused is asked for again a little later.
    const later: Answer = () => new Promise((resolve) => setTimeout(() => resolve({ responses: [] }), 100))
    const l = loopOf(t, { bytesMax, recordsMax: 100 }, answer(), answerOf(...partitions), later, later)
    l.fetch.add(tp(0), 0n)
    l.fetch.add(tp(1), 0n)
    await until(() => l.requests.some((r, at) => at > 1 && partitionBytes(r, 0) !== undefined))
    const next = l.requests.slice(2).map((r) => partitionBytes(r, 0))
    t.is(
      next.find((bytes) => bytes !== undefined),
      isMore ? bytesMax : MiB / 16,
      why,
    )
    l.fetch.stop()
  }
})

/** As a broker refuses one partition of a request. */
const refused = (partition: number, errorCode: number): FetchedPartition => ({ ...fetched(partition, 0, 0, -1), errorCode })

test('fetch loop: an offset the log no longer holds stops that partition and is told once; the others go on (C7)', async (t) => {
  const l = loop(t, answer(), answer(refused(0, OFFSET_OUT_OF_RANGE), fetched(1, 0, 1)), answer(fetched(1, 1, 1)))
  l.fetch.add(tp(0), 2n)
  l.fetch.add(tp(1), 0n)
  await until(() => l.got.length === 2 && l.requests.length === 4)
  t.is(l.truncated.length, 1)
  t.regex(l.truncated[0] ?? '', /^0 SLU_LOG_TRUNCATED.*at 2/)
  t.deepEqual([l.problems, l.stalled], [[], []])
  t.deepEqual(asked(l.requests.at(-1) as FetchRequest), ['1@2'])
})

for (const [type, code] of Object.entries({ NOT_LEADER_FOR_PARTITION, LEADER_NOT_AVAILABLE, UNKNOWN_TOPIC_OR_PARTITION, REPLICA_NOT_AVAILABLE }))
  test(`fetch loop: ${type} of one partition takes nothing from the others; it is asked for again on fresh metadata, from the same offset (B6)`, async (t) => {
    const l = loop(t, answer(), answer(refused(0, code), fetched(1, 3, 1)), answer(fetched(1, 4, 1)))
    l.fetch.add(tp(0), 8n)
    l.fetch.add(tp(1), 3n)
    await until(() => l.got.length === 2)
    t.deepEqual(l.got, ['1:3→4', '1:4→5'])
    t.is(l.stalled.length, 1)
    t.regex(l.stalled[0] ?? '', /^0 /)
    t.deepEqual(asked(l.requests[2] as FetchRequest), ['1@4'])
    await until(() => l.refreshed() === 1)
    t.deepEqual(l.problems, [])
  })

test('fetch loop: a partition that was refused and is read again is told so; from there nothing is', async (t) => {
  const l = loop(t, answer(refused(0, UNKNOWN_TOPIC_OR_PARTITION)), answer(refused(0, UNKNOWN_TOPIC_OR_PARTITION)), answer(fetched(0, 8, 1)), answer(fetched(0, 9, 1)))
  l.fetch.add(tp(0), 8n)
  await until(() => l.got.length === 2)
  t.is(l.stalled.length, 3)
  t.is(l.stalled[2], '0 goes on')
  t.is(l.refreshed(), 2)
})

for (const type of ['NETWORK_EXCEPTION', 'TOPIC_AUTHORIZATION_FAILED'])
  test(`fetch loop: ${type} of the whole request is told, metadata is asked for anew after a while, and reading goes on from the same offset`, async (t) => {
    const l = loop(t, () => Promise.reject(protocolError(type)), answer(fetched(0, 8, 1)))
    l.fetch.add(tp(0), 8n)
    await until(() => l.got.length === 1)
    t.deepEqual(l.problems, [type])
    t.is(l.refreshed(), 1)
    t.deepEqual(l.got, ['0:8→9'])
  })

test('fetch loop: a partition without a leader is waited for, the others are read meanwhile', async (t) => {
  const { cluster } = fakeCluster('t', [0, 1])
  let leader = -1
  const requests: string[][] = []
  const broker = {
    fetch: (request: FetchRequest) => {
      requests.push(asked(request))
      return new Promise((resolve) => setTimeout(() => resolve({ responses: [] }), 10))
    },
  } as unknown as Broker
  const fetch = new FetchLoop({
    cluster: {
      ...cluster,
      findBroker: () => Promise.resolve(broker),
      findTopicPartitionMetadata: () => [
        { partitionId: 0, leader },
        { partitionId: 1, leader: 1 },
      ],
    },
    committedOnly: true,
    bytesMax: 1000,
    recordsMax: Infinity,
    onFetched: () => undefined,
    onTruncated: () => t.fail('truncated'),
    onStalled: () => undefined,
    onProblem: () => undefined,
  })
  t.teardown(() => fetch.stop())
  fetch.add(tp(0), 0n)
  fetch.add(tp(1), 0n)
  await until(() => requests.length > 1)
  t.true(requests.every((r) => r.length === 1 && r[0] === '1@0'))
  leader = 1
  await until(() => requests.some((r) => r.includes('0@0')))
})

test('fetch loop: a leader that fails is left alone until its time has come, whatever is resumed meanwhile', async (t) => {
  let tries = 0
  const metadata = [1, 2].map((leader, partitionId) => ({ partitionId, leader }))
  const broker = { fetch: () => new Promise((resolve) => setTimeout(() => resolve({ responses: [] }), 5)) } as unknown as Broker
  const cluster = {
    ...fakeCluster('t', [0, 1]).cluster,
    findTopicPartitionMetadata: () => metadata,
    findBroker: ({ nodeId }: { nodeId: number }) => (nodeId === 1 ? Promise.resolve(broker) : (tries++, Promise.reject(new Error('ECONNREFUSED')))),
    refreshMetadata: () => Promise.resolve(),
  } as unknown as ReturnType<typeof fakeCluster>['cluster']
  const nothingDone = (): void => undefined
  const fetch = new FetchLoop({
    cluster,
    committedOnly: true,
    bytesMax: 1000,
    recordsMax: Infinity,
    onFetched: nothingDone,
    onTruncated: nothingDone,
    onStalled: nothingDone,
    onProblem: nothingDone,
  })
  t.teardown(() => fetch.stop())
  for (const partition of [0, 1]) fetch.add(tp(partition), 0n)
  await until(() => tries === 1)
  let resumes = 0
  await until(() => {
    fetch.pause(tp(0))
    fetch.resume(tp(0))
    resumes++
    return tries === 3
  })
  t.true(resumes > 4, `${resumes} resumes for two more tries`)
})

test('fetch loop: a leader that fails is named each time, and is well when it answers or leads nothing of ours any more', async (t) => {
  const { cluster } = fakeCluster('t', [0])
  const state = { leader: 1, isAway: true }
  const told: string[] = []
  const broker = {
    fetch: () => (state.isAway && state.leader === 1 ? Promise.reject(new Error('away')) : new Promise((resolve) => setTimeout(() => resolve({ responses: [] }), 10))),
  } as unknown as Broker
  const fetch = new FetchLoop({
    cluster: { ...cluster, findBroker: () => Promise.resolve(broker), findTopicPartitionMetadata: () => [{ partitionId: 0, leader: state.leader }] },
    committedOnly: true,
    bytesMax: 1000,
    recordsMax: Infinity,
    onFetched: () => undefined,
    onTruncated: () => t.fail('truncated'),
    onStalled: () => undefined,
    onProblem: (_error, source) => told.push(source),
    onWell: (source) => {
      if (source !== 'metadata') told.push(`${source} is well`)
    },
  })
  t.teardown(() => fetch.stop())
  const wellTimes = (): number => told.filter((x) => x === 'leader 1 is well').length
  fetch.add(tp(0), 0n)
  await until(() => told.length >= 2)
  t.true(told.every((x) => x === 'leader 1'))
  state.isAway = false
  await until(() => wellTimes() === 1)
  state.isAway = true
  await until(() => told.at(-1) === 'leader 1')
  state.leader = 2
  await until(() => wellTimes() === 2)
  state.leader = 1
  await until(() => told.at(-1) === 'leader 1')
  fetch.remove(tp(0))
  t.is(wellTimes(), 3)
})
