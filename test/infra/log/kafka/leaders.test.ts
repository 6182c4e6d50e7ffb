import test from 'ava'
import kafkajs from 'kafkajs'
import { kafkaError } from '../../../../infra/log/kafka/errors.ts'
import type { Cluster } from '../../../../infra/log/kafka/kafkajs.ts'
import { askLeaders, leaderOffsets, partitionsOf } from '../../../../infra/log/kafka/leaders.ts'
import { createReader } from '../../../../infra/log/kafka/reader.ts'
import { fakeCluster } from '../../../fakes/kafka-cluster.ts'

const protocol = (type: string): Error => Object.assign(new Error(type), { name: 'KafkaJSProtocolError', type })
const explain = (error: unknown) => kafkaError(error, ['kafka-1:9092'], 'orders')

/** A cluster that notes in `seen` how often it was asked for metadata and offsets; `answers` come instead of offsets, in order, and stay at the last. */
function world(...answers: (Error | null)[]) {
  const seen: string[] = []
  const cluster: Cluster = {
    ...fakeCluster('orders', [0, 1]).cluster,
    refreshMetadata: () => Promise.resolve(void seen.push('metadata')),
    fetchTopicsOffset: (topics) => {
      seen.push('offsets')
      const answer = answers.length > 1 ? answers.shift() : answers[0]
      if (answer instanceof Error) return Promise.reject(answer)
      return Promise.resolve(topics.map((x) => ({ topic: x.topic, partitions: x.partitions.map(({ partition }) => ({ partition, offset: String(partition + 7) })) })))
    },
  }
  return { cluster, seen, ask: () => leaderOffsets(cluster, 'orders', partitionsOf(cluster, 'orders'), 'end') }
}

test('kafka leaders: an answer that passes is asked for again on fresh metadata, never of the broker that was known', async (t) => {
  const w = world(protocol('NOT_LEADER_FOR_PARTITION'), protocol('LEADER_NOT_AVAILABLE'), null)
  t.deepEqual(await askLeaders(w.cluster, ['orders'], w.ask, { explain, boundMs: 60_000 }), new Map([0, 1].map((p) => [p, BigInt(p + 7)])))
  t.deepEqual(w.seen, ['offsets', 'metadata', 'offsets', 'metadata', 'offsets'])
})

test('kafka leaders: a leader that is down and not in the bootstrap list is waited for, though it looks like a wrong address', async (t) => {
  const w = world(new kafkajs.KafkaJSConnectionError('Connection error: connect ECONNREFUSED', { broker: 'kafka-9:9092', code: 'ECONNREFUSED' }), null)
  await askLeaders(w.cluster, ['orders'], w.ask, { explain, boundMs: 60_000 })
  t.deepEqual(w.seen, ['offsets', 'metadata', 'offsets'])
})

test('kafka leaders: what does not pass by itself is said at once', async (t) => {
  const w = world(protocol('TOPIC_AUTHORIZATION_FAILED'))
  await t.throwsAsync(askLeaders(w.cluster, ['orders'], w.ask, { explain, boundMs: 60_000 }), { message: /SLU_LOG_FORBIDDEN/ })
  t.deepEqual(w.seen, ['offsets'])
})

test('kafka leaders: what never passes is said when its time is over, by the last answer', async (t) => {
  const w = world(protocol('LEADER_NOT_AVAILABLE'), protocol('NOT_LEADER_FOR_PARTITION'))
  await t.throwsAsync(askLeaders(w.cluster, ['orders'], w.ask, { explain, boundMs: 100 }), { message: /SLU_LOG_NOT_READY.*orders: NOT_LEADER_FOR_PARTITION/ })
  t.true(w.seen.length >= 3)
})

test('kafka leaders: a topic nobody has heard of has its own, shorter time', async (t) => {
  const unknown = protocol('UNKNOWN_TOPIC_OR_PARTITION')
  const w = world(unknown)
  await t.throwsAsync(askLeaders(w.cluster, ['orders'], w.ask, { explain, boundMs: 60_000, soonMs: 0 }), { message: /SLU_LOG_TOPIC_MISSING/ })
  t.deepEqual(w.seen, ['offsets'])
  const heard = world(unknown, null)
  t.is((await askLeaders(heard.cluster, ['orders'], heard.ask, { explain, boundMs: 0, soonMs: 60_000 })).size, 2)
})

test('kafka leaders: whoever is stopped asks no more, also when that happens between two tries', async (t) => {
  const w = world(protocol('LEADER_NOT_AVAILABLE'))
  let asked = 0
  await t.throwsAsync(askLeaders(w.cluster, ['orders'], w.ask, { explain, boundMs: 60_000, isStopped: () => asked++ > 0 }), { message: /SLU_LOG_NOT_READY/ })
  t.deepEqual([w.seen, asked], [['offsets'], 2])
})

test('kafka leaders: a tail opens although its leader moves meanwhile, and a reader that is closed meanwhile opens none', async (t) => {
  const open = { topic: 'orders', partitions: 'all', from: 'end', committedOnly: true, untilEnd: true } as const
  const moving = world(protocol('NOT_LEADER_FOR_PARTITION'), null)
  const reader = createReader({ createCluster: () => moving.cluster, bootstrap: [], onClose: () => {} })
  const tail = await reader.open(open)
  await tail.caughtUp
  await reader.close()
  const never = world(protocol('NOT_LEADER_FOR_PARTITION'))
  const closed = createReader({ createCluster: () => never.cluster, bootstrap: [], onClose: () => {} })
  const opening = t.throwsAsync(closed.open(open), { message: /SLU_LOG_NOT_READY/ })
  await closed.close()
  await opening
})
