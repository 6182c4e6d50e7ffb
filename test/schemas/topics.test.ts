import test from 'ava'
import { localise, logicalName, topics, topicSpecs } from '../../schemas/topics.ts'
import { record } from '../helpers/records.ts'

test('topics: every name is listed once and companions carry the prefix too', (t) => {
  t.is(new Set(topics.map((x) => x.name)).size, topics.length)
  const specs = topicSpecs({ prefix: 'hall-1.', partitions: 4, replication: 3, maxMessageBytes: 1024 })
  t.true(specs.every((s) => s.name.startsWith('hall-1.') && s.partitions === 4 && s.replication === 3))
  t.true(specs.some((s) => s.name === 'hall-1.hardware.telemetry.late'))
  t.is(new Set(specs.map((s) => s.name)).size, specs.length)
})

test('topics: the logical name is that without the prefix of the site, and a foreign one as it is', (t) => {
  t.deepEqual(
    ['hall-1.in', 'in', 'hall-1.hall-1.in'].map((topic) => logicalName(topic, 'hall-1.')),
    ['in', 'in', 'hall-1.in'],
  )
  t.is(logicalName('in', ''), 'in')
})

test('topics: partials have as many partitions as their source, and no more than eight: each is marked by every source partition (W7)', (t) => {
  const partialsOf = (partitions: number) => topicSpecs({ prefix: '', partitions, replication: 1, maxMessageBytes: 1 }).filter((s) => s.name.startsWith('metrics.partials'))
  t.deepEqual(
    [1, 4, 8, 64].map((partitions) => [...new Set(partialsOf(partitions).map((s) => s.partitions))]),
    [[1], [4], [8], [8]],
  )
  t.true(topicSpecs({ prefix: '', partitions: 64, replication: 1, maxMessageBytes: 1 }).every((s) => s.partitions === 64 || s.name.startsWith('metrics.partials')))
})

test('topics: windowed inputs carry append time, or a bad clock could close every window (W1)', (t) => {
  const windowed = topics.filter((x) => x.companions.includes('late'))
  t.true(windowed.length >= 2)
  t.true(windowed.every((x) => x.timestampType === 'LogAppendTime'))
})

test('topics: requests and results have one partition count, and results outlive the requests they answer (R1)', (t) => {
  const by = new Map(topics.map((x) => [x.name, x]))
  const requests = by.get('inference.requests')
  const results = by.get('inference.results')
  t.is(requests?.partitions, 'requests')
  t.is(results?.partitions, 'requests')
  t.true((results?.retentionMs ?? 0) > (requests?.retentionMs ?? 0))
})

test('topics: tables are compacted and never expire, their dead letters are not compacted', (t) => {
  const specs = new Map(topicSpecs({ prefix: '', partitions: 1, replication: 1, maxMessageBytes: 1 }).map((s) => [s.name, s]))
  for (const name of ['device.health', 'pool.health']) t.like(specs.get(name), { cleanup: 'compact', retentionMs: -1 })
  t.is(specs.get('device.health.dlq')?.cleanup, 'delete')
})

test('topics: what handlers see carries logical topic names, never the prefix', (t) => {
  const given = record(1, { topic: 'hall.in' })
  t.deepEqual(localise(given, 'in'), { ...given, topic: 'in' })
  const same = record(1, { topic: 'in' })
  t.is(localise(same, 'in'), same)
})
