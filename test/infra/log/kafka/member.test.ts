import test, { type ExecutionContext } from 'ava'
import kafkajs from 'kafkajs'
import { GroupMember } from '../../../../infra/log/kafka/member.ts'
import { SluiceError } from '../../../../schemas/errors.ts'
import type { Assignment } from '../../../../schemas/log.ts'
import { fakeCluster, type Request } from '../../../fakes/kafka-cluster.ts'
import { until } from '../../../helpers/until.ts'

const SESSION_MS = 300
const TOPIC = 't'

/** A member on a scripted cluster, and what it told its owner. */
function world(t: ExecutionContext) {
  const fake = fakeCluster(TOPIC, [0, 1])
  const told: string[] = []
  const assigned: Assignment[][] = []
  const state = { opens: Promise.resolve() as Promise<void>, letsGo: Promise.resolve() as Promise<void>, isClosed: false }
  const member = new GroupMember({
    createCluster: () => fake.cluster,
    bootstrap: ['127.0.0.1:1'],
    group: 'g',
    topics: [TOPIC],
    sessionMs: SESSION_MS,
    bytesInFlightMax: 1 << 20,
    recordsInFlightMax: Infinity,
    onClose: () => (state.isClosed = true),
  })
  const start = (): Promise<void> =>
    member.start({
      assigned: async (assignments) => {
        told.push('assigned')
        assigned.push([...assignments])
        await state.opens
        return assignments.map(({ topic, partition, committed }) => ({ topic, partition, nextOffset: committed?.nextOffset ?? 'start' }))
      },
      revoked: async (_partitions, isLost) => {
        told.push(isLost ? 'lost' : 'revoked')
        await state.letsGo
      },
      records: () => told.push('records'),
      held: () => told.push('held'),
      failed: (error) => told.push(`failed ${error.message.slice(0, 40)}`),
      troubled: (error) => told.push(`troubled ${error?.message.split(':')[0] ?? 'no more'}`),
    })
  t.teardown(() => member.stop())
  const entry = (at = 5n, epoch = assigned.at(-1)?.[0]?.epoch ?? -1) => ({ topic: TOPIC, partition: 0, epoch, nextOffset: at, metadata: 'm' })
  const heard = (what: string, count = 1): Promise<void> =>
    until(
      () => told.filter((x) => x.startsWith(what)).length >= count,
      5000,
      () => `${what}: ${told.join(', ')}`,
    )
  return { ...fake, member, told, assigned, state, start, entry, heard }
}

test('kafka member: joins, owns, lets go in order and leaves; its states follow (C4)', async (t) => {
  const w = world(t)
  t.is(w.member.state, 'idle')
  await w.start()
  await w.heard('assigned')
  t.is(w.member.state, 'owning')
  t.deepEqual(
    w.assigned[0]?.map((a) => [a.partition, a.epoch, a.committed]),
    [
      [0, 1, null],
      [1, 1, null],
    ],
  )
  await w.member.stop()
  t.deepEqual(w.told, ['assigned', 'revoked'])
  t.deepEqual([w.member.state, w.count('leave'), w.isConnected(), w.state.isClosed], ['stopped', 1, false, true])
})

/** What an error of a request means for what is owned, and for the name under which the member comes back. */
const WHILE_OWNING: readonly (readonly [Request, string | Error, 'revoked' | 'lost' | 'kept', 'same name' | 'new name'])[] = [
  ['heartbeat', 'REBALANCE_IN_PROGRESS', 'revoked', 'same name'],
  ['heartbeat', 'ILLEGAL_GENERATION', 'lost', 'same name'],
  ['heartbeat', 'UNKNOWN_MEMBER_ID', 'lost', 'new name'],
  ['heartbeat', 'FENCED_INSTANCE_ID', 'lost', 'new name'],
  ['heartbeat', 'NOT_COORDINATOR_FOR_GROUP', 'kept', 'same name'],
  ['heartbeat', 'GROUP_COORDINATOR_NOT_AVAILABLE', 'kept', 'same name'],
  ['heartbeat', 'GROUP_LOAD_IN_PROGRESS', 'kept', 'same name'],
  ['heartbeat', new Error('connection closed'), 'kept', 'same name'],
  ['heartbeat', 'REQUEST_TIMED_OUT', 'kept', 'same name'],
]
for (const [kind, step, what, name] of WHILE_OWNING)
  test(`kafka member: ${kind} meets ${String(step)}: what it owns is ${what}, it goes on under ${name === 'same name' ? 'the same name' : 'a new name'}`, async (t) => {
    const w = world(t)
    await w.start()
    await w.heard('assigned')
    w.script(kind, step)
    const beats = w.count('heartbeat')
    if (what === 'kept') {
      await until(() => w.count('heartbeat') >= beats + 3)
      t.deepEqual(w.told, ['assigned'])
      t.is(w.count('join'), 1)
      return
    }
    await w.heard('assigned', 2)
    t.deepEqual(w.told, ['assigned', what, 'assigned'])
    t.is(w.assigned[1]?.[0]?.epoch, 2, 'a new assignment is a new epoch (C3)')
    t.is(w.requests.findLast((r) => r.kind === 'join')?.memberId, name === 'same name' ? 'member-1' : '')
  })

for (const [kind, step] of [
  ['join', 'REBALANCE_IN_PROGRESS'],
  ['join', 'UNKNOWN_MEMBER_ID'],
  ['join', 'GROUP_COORDINATOR_NOT_AVAILABLE'],
  ['join', 'NOT_COORDINATOR_FOR_GROUP'],
  ['join', new Error('connection closed')],
  ['sync', 'REBALANCE_IN_PROGRESS'],
  ['sync', 'ILLEGAL_GENERATION'],
  ['sync', 'UNKNOWN_MEMBER_ID'],
  ['coordinator', 'GROUP_COORDINATOR_NOT_AVAILABLE'],
  ['offsets', 'GROUP_LOAD_IN_PROGRESS'],
] as const)
  test(`kafka member: ${kind} meets ${String(step)}: it joins all the same, and nothing was owned meanwhile`, async (t) => {
    const w = world(t)
    w.script(kind, step)
    await w.start()
    await w.heard('assigned')
    t.deepEqual(w.told, ['assigned'])
    t.is(w.member.state, 'owning')
  })

for (const step of ['GROUP_AUTHORIZATION_FAILED', 'INVALID_SESSION_TIMEOUT', 'INCONSISTENT_GROUP_PROTOCOL', 'GROUP_MAX_SIZE_REACHED'])
  test(`kafka member: join meets ${step}: the start is refused, nothing is tried again and the connection is closed`, async (t) => {
    const w = world(t)
    w.script('join', step)
    await t.throwsAsync(w.start())
    t.deepEqual([w.count('join'), w.told, w.isConnected(), w.member.state], [1, [], false, 'stopped'])
  })

test('kafka member: rights taken away while it owns end it: what it owned is lost, and its owner hears why', async (t) => {
  const w = world(t)
  await w.start()
  await w.heard('assigned')
  w.script('heartbeat', 'GROUP_AUTHORIZATION_FAILED')
  await w.heard('failed')
  t.deepEqual(w.told.slice(0, 2), ['assigned', 'lost'])
  t.regex(w.told[2] ?? '', /SLU_LOG_FORBIDDEN/)
})

test('kafka member: the group waits until the owner has let go; a commit made meanwhile still counts (C4)', async (t) => {
  const w = world(t)
  await w.start()
  await w.heard('assigned')
  let letGo = (): void => undefined
  w.state.letsGo = new Promise((resolve) => (letGo = resolve))
  w.script('heartbeat', 'REBALANCE_IN_PROGRESS')
  await w.heard('revoked')
  await w.member.commit([w.entry(7n)])
  t.is(w.committed.get(0)?.offset, '7')
  t.is(w.count('join'), 1, 'it does not join again before')
  const stale = w.entry(8n)
  letGo()
  await w.heard('assigned', 2)
  await t.throwsAsync(w.member.commit([stale]), { message: /SLU_LOG_STALE_EPOCH/ })
  t.is(w.committed.get(0)?.offset, '7', 'an older epoch commits nothing (C3)')
})

for (const [step, expected] of [
  ['NOT_COORDINATOR_FOR_GROUP', 'committed'],
  ['GROUP_COORDINATOR_NOT_AVAILABLE', 'committed'],
  ['GROUP_LOAD_IN_PROGRESS', 'committed'],
  [new Error('connection closed'), 'committed'],
  ['REBALANCE_IN_PROGRESS', 'SLU_LOG_STALE_EPOCH'],
  ['ILLEGAL_GENERATION', 'SLU_LOG_STALE_EPOCH'],
  ['UNKNOWN_MEMBER_ID', 'SLU_LOG_STALE_EPOCH'],
  ['OFFSET_METADATA_TOO_LARGE', 'SLU_LOG_METADATA_TOO_LARGE'],
  ['UNKNOWN_TOPIC_OR_PARTITION', 'SLU_LOG_TOPIC_MISSING'],
  ['GROUP_AUTHORIZATION_FAILED', 'SLU_LOG_FORBIDDEN'],
] as const)
  test(`kafka member: commit meets ${String(step)}: ${expected}`, async (t) => {
    const w = world(t)
    await w.start()
    await w.heard('assigned')
    w.script('commit', step)
    if (expected === 'committed') {
      await w.member.commit([w.entry()])
      t.deepEqual([...w.committed], [[0, { offset: '5', metadata: 'm' }]])
    } else {
      await t.throwsAsync(w.member.commit([w.entry()]), { message: new RegExp(expected) })
      t.is(w.committed.size, 0)
    }
  })

test('kafka member: metadata above the limit is refused before anything is sent (C2)', async (t) => {
  const w = world(t)
  await w.start()
  await w.heard('assigned')
  await t.throwsAsync(w.member.commit([{ ...w.entry(), metadata: 'ä'.repeat(1751) }]), { message: /SLU_LOG_METADATA_TOO_LARGE/ })
  t.is(w.count('commit'), 0)
})

test('kafka member: a heartbeat that is never answered costs the ownership after a session, no later; it joins again', async (t) => {
  const w = world(t)
  await w.start()
  await w.heard('assigned')
  const from = performance.now()
  w.script('heartbeat', new Promise(() => undefined))
  await w.heard('lost')
  t.true(performance.now() - from >= SESSION_MS * 0.9, 'not before: others may not have it yet')
  await w.heard('assigned', 2)
})

test('kafka member: a heartbeat answered late, with an error of the ownership before, never ends the next one', async (t) => {
  const w = world(t)
  await w.start()
  await w.heard('assigned')
  let answer = (_error: Error): void => undefined
  w.script('heartbeat', new Promise((_resolve, reject) => (answer = reject)))
  const beats = w.count('heartbeat')
  await until(() => w.count('heartbeat') > beats)
  // A commit finds out about the rebalance first.
  w.script('commit', 'ILLEGAL_GENERATION')
  await t.throwsAsync(w.member.commit([w.entry()]))
  await w.heard('assigned', 2)
  answer(Object.assign(new Error('x'), { name: 'KafkaJSProtocolError', type: 'ILLEGAL_GENERATION' }))
  const after = w.count('heartbeat')
  await until(() => w.count('heartbeat') >= after + 3)
  t.deepEqual(w.told, ['assigned', 'lost', 'assigned'])
})

test('kafka member: while its owner opens what it was given the session is kept alive (T3)', async (t) => {
  const w = world(t)
  let opened = (): void => undefined
  w.state.opens = new Promise((resolve) => (opened = resolve))
  await w.start()
  await w.heard('assigned')
  const beats = w.count('heartbeat')
  await until(() => w.count('heartbeat') >= beats + 8)
  t.deepEqual(w.told, ['assigned'])
  opened()
})

test('kafka member: while its owner opens, what ends the ownership is heard, and stop does not wait for it (C4)', async (t) => {
  const w = world(t)
  w.state.opens = new Promise(() => undefined)
  await w.start()
  await w.heard('assigned')
  w.script('heartbeat', 'UNKNOWN_MEMBER_ID')
  await w.heard('lost')
  await w.heard('assigned', 2)
  await w.member.stop()
  t.deepEqual(w.told, ['assigned', 'lost', 'assigned', 'revoked'])
})

test('kafka member: an owner that can open nothing lets go in order and is asked again, after a while and not at once', async (t) => {
  const w = world(t)
  const refused = Promise.reject(new SluiceError('SLU_LOG_NOT_READY', 't/0'))
  refused.catch(() => undefined)
  w.state.opens = refused
  await w.start()
  await w.heard('revoked', 2)
  w.state.opens = Promise.resolve()
  await until(() => w.told.at(-1) === 'assigned' || w.told.at(-1) === 'troubled no more')
  t.true(w.count('join') < 10, `${w.count('join')} joins`)
})

test('kafka member: a partition whose leader does not say where it begins is asked for it again; nothing is let go for that (B6)', async (t) => {
  const w = world(t)
  const asked: number[] = []
  const ask: typeof w.cluster.fetchTopicsOffset = (topics) => {
    const partition = topics[0]?.partitions[0]?.partition ?? -1
    asked.push(partition)
    if (partition === 0 && asked.length < 5) return Promise.reject(new kafkajs.KafkaJSProtocolError(Object.assign(new Error('no leader'), { type: 'LEADER_NOT_AVAILABLE' })))
    return Promise.resolve([{ topic: TOPIC, partitions: [{ partition, offset: '3' }] }])
  }
  Object.assign(w.cluster, { fetchTopicsOffset: ask })
  await w.start()
  await until(() => asked.length === 5)
  t.deepEqual(asked, [0, 1, 0, 0, 0])
  t.deepEqual([w.told, w.count('join')], [['assigned'], 1])
})

test('kafka member: stopped while it connects it never joins, and its connection is closed when stop returns', async (t) => {
  const w = world(t)
  let connect = (): void => undefined
  w.script('connect', new Promise<void>((resolve) => (connect = resolve)))
  const starting = w.start()
  const refused = t.throwsAsync(starting, { message: /stopped while joining/ })
  const stopping = w.member.stop()
  connect()
  await stopping
  await refused
  t.deepEqual([w.count('join'), w.isConnected(), w.state.isClosed], [0, false, true])
})

test('kafka member: an unreachable broker refuses the start by name', async (t) => {
  const w = world(t)
  w.script('connect', Object.assign(new Error('connect ECONNREFUSED'), { name: 'KafkaJSConnectionError', code: 'ECONNREFUSED' }))
  await t.throwsAsync(w.start(), { message: /SLU_LOG_UNREACHABLE/ })
})

test('kafka member: a coordinator whose certificate is not accepted refuses the start by name, never a member that joins for ever', async (t) => {
  const w = world(t)
  w.script('coordinator', Object.assign(new Error('Connection error'), { name: 'KafkaJSConnectionError', code: 'ERR_TLS_CERT_ALTNAME_INVALID', broker: 'kafka-2:9092' }))
  await t.throwsAsync(w.start(), { message: /SLU_LOG_CERTIFICATE.*kafka-2:9092/ })
  t.deepEqual([w.count('coordinator'), w.isConnected()], [1, false])
})

const noCommonTls = (): Error =>
  new kafkajs.KafkaJSConnectionError('Connection error: tls alert handshake failure', { broker: '127.0.0.1:1', code: 'ERR_SSL_SSL/TLS_ALERT_HANDSHAKE_FAILURE' })

for (const kind of ['heartbeat', 'coordinator'] as const)
  test(`kafka member: a TLS handshake that fails at a ${kind} is told by name, once and not once a try, and when it is over; what is owned is kept while the session lasts`, async (t) => {
    const w = world(t)
    await w.start()
    await w.heard('assigned')
    if (kind === 'coordinator') w.script('heartbeat', 'NOT_COORDINATOR_FOR_GROUP')
    w.script(kind, noCommonTls(), noCommonTls(), noCommonTls())
    await w.heard('troubled no more')
    t.deepEqual(w.told, ['assigned', 'troubled SLU_LOG_LISTENER', 'troubled no more'])
  })

test('kafka member: a TLS handshake that fails while it joins is told by name, and it joins once it can', async (t) => {
  const w = world(t)
  w.script('join', noCommonTls(), noCommonTls(), noCommonTls())
  await w.start()
  await w.heard('assigned')
  t.deepEqual(w.told, ['troubled SLU_LOG_LISTENER', 'troubled no more', 'assigned'])
})
