import test from 'ava'
import type { TopicInfo } from '../../schemas/log.ts'
import { defineFunction, type AnyFunction } from '../../streams/define-function.ts'
import { checkDriver, checkTopics, topicsOf } from '../../streams/start-checks.ts'

const info = (name: string, more: Partial<TopicInfo> = {}): TopicInfo => ({ name, partitions: 4, timestampType: 'LogAppendTime', cleanup: 'delete', retentionMs: -1, ...more })
const all = (definition: AnyFunction, more: Record<string, Partial<TopicInfo>> = {}): TopicInfo[] => topicsOf(definition).map((topic) => info(`p.${topic}`, more[topic]))

const map = defineFunction({ kind: 'map', name: 'm', inputs: ['in'], outputs: ['out'], decode: () => 0, handle: () => [] })
const once = defineFunction({
  kind: 'task',
  name: 'o',
  inputs: ['requests'],
  outputs: ['results'],
  order: 'key',
  concurrency: 1,
  deadlineMs: 1,
  decode: () => 0,
  handle: () => Promise.resolve([]),
  once: { resultsTopic: 'results', dedupeMs: 1, skewMs: 1, id: () => '', createdMs: () => 0, digest: () => '' },
})
const window = { ...map, kind: 'window' } as unknown as AnyFunction
const fold = { ...map, kind: 'fold', stateTopic: 'state' } as unknown as AnyFunction

test('start checks: every missing topic is named at once, the dead-letter topic too', (t) => {
  t.throws(() => checkTopics(map, 'p.', [info('p.in')]), { message: /SLU_LOG_TOPIC_MISSING.*p\.out, p\.in\.dlq/ })
  t.notThrows(() => checkTopics(map, 'p.', all(map)))
})

test('start checks: a windowed input without append time is refused, never started (W1)', (t) => {
  t.throws(() => checkTopics(window, 'p.', all(window, { in: { timestampType: 'CreateTime' } })), { message: /SLU_LOG_TOPIC_MISCONFIGURED.*p\.in/ })
  t.notThrows(() => checkTopics(window, 'p.', all(window)))
  t.notThrows(() => checkTopics(map, 'p.', all(map, { in: { timestampType: 'CreateTime' } })))
})

test('start checks: requests and results with different partition counts are refused (R1)', (t) => {
  t.throws(() => checkTopics(once, 'p.', all(once, { results: { partitions: 5 } })), { message: /SLU_LOG_TOPIC_MISCONFIGURED.*4 partitions.* 5/ })
  t.throws(() => checkTopics({ ...once, inputs: ['requests', 'results'] }, 'p.', all({ ...once, inputs: ['requests', 'results'] })), { message: /exactly one input/ })
  t.notThrows(() => checkTopics(once, 'p.', all(once)))
})

test('start checks: results kept shorter than a request may still come are refused (R1)', (t) => {
  t.throws(() => checkTopics(once, 'p.', all(once, { requests: { retentionMs: 1000 }, results: { retentionMs: 1000 } })), {
    message: /SLU_LOG_TOPIC_MISCONFIGURED.*p\.results keeps 1000/,
  })
  t.throws(() => checkTopics(once, 'p.', all(once, { results: { retentionMs: 1e9 } })), { message: /SLU_LOG_TOPIC_MISCONFIGURED/ })
  t.notThrows(() => checkTopics(once, 'p.', all(once, { requests: { retentionMs: 1000 }, results: { retentionMs: 1001 } })))
})

test('start checks: a state topic that is not compacted is refused (C8)', (t) => {
  t.throws(() => checkTopics(fold, 'p.', all(fold)), { message: /not compacted/ })
  t.notThrows(() => checkTopics(fold, 'p.', all(fold, { state: { cleanup: 'compact,delete' } })))
})

test('start checks: transactional delivery is refused by name on a driver without transactions, never quietly done at least once', (t) => {
  const capabilities = { transactions: false, commitMetadata: true, perPartitionPause: 'native' as const, codecs: [] }
  const transactional = defineFunction({ ...map, delivery: 'transactional' as const })
  t.throws(() => checkDriver(transactional, { name: 'memory', capabilities }), { message: /SLU_LOG_NOT_TRANSACTIONAL.*m on driver memory/ })
  t.notThrows(() => checkDriver(transactional, { name: 'memory', capabilities: { ...capabilities, transactions: true } }))
  t.throws(() => checkDriver(defineFunction({ ...map, park: 'key' as const }), { name: 'memory', capabilities }), { message: /SLU_LOG_NOT_TRANSACTIONAL/ })
  t.notThrows(() => checkDriver(map, { name: 'memory', capabilities }))
})

test('start checks: a DLQ with fewer partitions than its topic is refused where parking goes by key (D4)', (t) => {
  const parking = defineFunction({ ...map, park: 'key' as const })
  t.throws(() => checkTopics(parking, 'p.', all(parking, { 'in.dlq': { partitions: 3 } })), { message: /SLU_LOG_TOPIC_MISCONFIGURED.*p\.in\.dlq has 3 partitions, p\.in 4/ })
  t.notThrows(() => checkTopics(parking, 'p.', all(parking)))
  t.notThrows(() => checkTopics(map, 'p.', all(map, { 'in.dlq': { partitions: 3 } })))
})

test('start checks: settings that may not be seen are a right that is lacking where a guarantee rests on them (W1, R1, C8), and nothing elsewhere', (t) => {
  const unseen = { timestampType: null, cleanup: null, retentionMs: null }
  for (const [definition, topic] of [
    [window, 'in'],
    [fold, 'state'],
    [once, 'requests'],
    [once, 'results'],
  ] as const)
    t.throws(() => checkTopics(definition, 'p.', all(definition, { [topic]: unseen })), { message: new RegExp(`SLU_LOG_FORBIDDEN.*DescribeConfigs of topic p\\.${topic}$`) })
  t.notThrows(() => checkTopics(map, 'p.', all(map, { in: unseen, out: unseen, 'in.dlq': unseen })))
})
