import test from 'ava'
import { siteTopicSpecs, topicProblems } from '../../cli/topics.ts'
import type { TopicInfo, TopicSpec } from '../../schemas/log.ts'
import { validateSite, type Site } from '../../schemas/site.ts'

const site = validateSite({ site: 'hall-1', topicPrefix: 'x.', pseudonyms: { keyEnv: 'K' }, sources: [{ topic: 'telemetry.extra', format: 'dcgm-exporter' }] }).site as Site
const asInfo = (s: TopicSpec): TopicInfo => ({ name: s.name, partitions: s.partitions, timestampType: s.timestampType, cleanup: s.cleanup, retentionMs: s.retentionMs })

test('topics: sources outside the table get a topic and a DLQ too', (t) => {
  const names = siteTopicSpecs(site).map((s) => s.name)
  t.true(names.includes('x.telemetry.extra') && names.includes('x.telemetry.extra.dlq'))
})

test('topics: what exists as specified is no problem, what is missing is named', (t) => {
  const specs = siteTopicSpecs(site)
  t.deepEqual(topicProblems(specs, specs.map(asInfo)), [])
  t.is(topicProblems(specs, []).length, specs.length)
})

test('topics: settings that break a guarantee are named: W1, R1, a compacted log, an uncompacted table', (t) => {
  const specs = siteTopicSpecs(site)
  const change = (name: string, patch: Partial<TopicInfo>): string[] =>
    topicProblems(
      specs,
      specs.map((s) => (s.name === name ? { ...asInfo(s), ...patch } : asInfo(s))),
    ).map((p) => p.message)
  t.regex(change('x.hardware.telemetry', { timestampType: 'CreateTime' }).join(), /LogAppendTime \(W1\)/)
  t.deepEqual(change('x.telemetry.dcgm', { timestampType: 'CreateTime' }), [], 'a raw topic may keep the producer’s time')
  t.regex(change('x.inference.results', { partitions: 5 }).join(), /must be equal \(R1\)/)
  t.regex(change('x.metrics.windows', { cleanup: 'compact' }).join(), /records would be lost/)
  t.regex(change('x.pool.health', { cleanup: 'delete' }).join(), /must be compact/)
})
