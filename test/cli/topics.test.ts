import test from 'ava'
import { applyCommand, assertSettingsSeen, chosenSpecs, handlerTopics, roomy, siteTopicSpecs, topicList, topicProblems } from '../../cli/topics.ts'
import type { TopicInfo, TopicSpec } from '../../schemas/log.ts'
import type { Site } from '../../schemas/site.ts'
import { validateSite } from '../../schemas/validate-site.ts'
import type { AnyFunction } from '../../streams/define-function.ts'
import { checkTopics } from '../../streams/start-checks.ts'

const site = validateSite({ site: 'hall-1', topicPrefix: 'x.', pseudonyms: { keyEnv: 'K' }, sources: [{ topic: 'telemetry.extra', format: 'dcgm-exporter' }] }).site as Site
const asInfo = (s: TopicSpec): TopicInfo => ({
  name: s.name,
  partitions: s.partitions,
  timestampType: s.timestampType,
  cleanup: s.cleanup,
  retentionMs: s.retentionMs,
  maxMessageBytes: s.maxMessageBytes,
})

test('topics: sources outside the table get a topic and a DLQ too', (t) => {
  const names = siteTopicSpecs(site).map((s) => s.name)
  t.true(names.includes('x.telemetry.extra') && names.includes('x.telemetry.extra.dlq'))
  const [source, dlq] = ['', '.dlq'].map((suffix) => siteTopicSpecs(site).find((s) => s.name === `x.telemetry.extra${suffix}`))
  t.is(dlq?.timestampType, 'CreateTime', 'a dead letter keeps the time of its record (D2)')
  t.true((dlq?.maxMessageBytes ?? 0) > (source?.maxMessageBytes ?? 0), 'and has room for its headers')
})

test('topics: what exists as specified is no problem, what is missing is named', (t) => {
  const specs = siteTopicSpecs(site)
  t.deepEqual(topicProblems(specs, specs.map(asInfo)), [])
  t.is(topicProblems(specs, []).length, specs.length)
})

test('topics: dead letters of a source that somebody else made, with larger records than ours, find room (D3)', (t) => {
  const specs = siteTopicSpecs(site)
  const source = specs.find((s) => s.name === 'x.telemetry.extra') as TopicSpec
  const existing = [{ ...asInfo(source), maxMessageBytes: 1 << 25 }]
  const after = roomy(specs, existing)
  t.true((after.find((s) => s.name === 'x.telemetry.extra.dlq')?.maxMessageBytes ?? 0) > 1 << 25)
  t.deepEqual(
    after.filter((s) => s.name !== 'x.telemetry.extra.dlq'),
    specs.filter((s) => s.name !== 'x.telemetry.extra.dlq'),
  )
  const others = after.filter((s) => s.name !== source.name).map(asInfo)
  t.deepEqual(topicProblems(specs, [...existing, ...others]), [])
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
  t.regex(change('x.telemetry.dcgm.dlq', { maxMessageBytes: 1000 }).join(), /^max.message.bytes is 1000, less than the \d+ of x.telemetry.dcgm: .* \(D3\)$/)
  t.deepEqual(change('x.telemetry.dcgm.dlq', { maxMessageBytes: null }), [], 'what may not be seen is no problem by itself')
})

const base = { name: 'f', inputs: ['orders'], outputs: ['sizes'] }
/** As far as topics go. */
const handlers = [
  { ...base, kind: 'map' },
  { ...base, kind: 'lambda' },
  { ...base, kind: 'task' },
  { ...base, kind: 'task', once: { resultsTopic: 'sizes', dedupeMs: 7 * 86_400_000 } },
  { ...base, kind: 'fold', outputs: ['notes', 'state'], stateTopic: 'state' },
  { ...base, kind: 'window', outputs: ['partials'], partialsTopic: 'partials' },
  { ...base, kind: 'combine', inputs: ['partials'], outputs: ['sizes'] },
  { ...base, kind: 'window', inputs: ['metrics.windows'], outputs: ['partials'], partialsTopic: 'partials' },
  { ...base, kind: 'map', inputs: ['telemetry.dcgm.dlq'] },
] as unknown as AnyFunction[]

test('topics: what a handler of any kind needs is created so that it starts, its dead letters and late records included', (t) => {
  for (const handler of handlers) {
    t.throws(() => checkTopics(handler, 'x.', siteTopicSpecs(site).map(asInfo)), { message: /SLU_LOG_TOPIC_MISSING/ }, handler.kind)
    const specs = siteTopicSpecs(site, handlerTopics(handler))
    t.notThrows(() => checkTopics(handler, 'x.', specs.map(asInfo)), handler.kind)
    t.deepEqual(topicProblems(specs, specs.map(asInfo)), [])
    t.is(new Set(specs.map((s) => s.name)).size, specs.length)
  }
})

test('topics: several handlers on one topic make one of it: a state is compacted whoever else writes it, the table keeps its settings', (t) => {
  const specs = new Map(siteTopicSpecs(site, handlers.flatMap(handlerTopics)).map((s) => [s.name, s]))
  t.like(specs.get('x.state'), { cleanup: 'compact', retentionMs: -1 })
  t.like(specs.get('x.state.dlq'), { cleanup: 'delete', timestampType: 'CreateTime' })
  t.like(specs.get('x.partials'), { timestampType: 'LogAppendTime', cleanup: 'delete' })
  t.true(specs.has('x.partials.late') && specs.has('x.orders.late') && specs.has('x.metrics.windows.late'))
  const table = new Map(siteTopicSpecs(site).map((s) => [s.name, s]))
  for (const [name, spec] of table) t.deepEqual(specs.get(name), spec)
})

test('topics: the command that creates what is missing can be pasted', (t) => {
  t.is(applyCommand('site.yaml', ['route-inference', 'a/count-bytes.ts'], {}), 'sluice topics apply route-inference a/count-bytes.ts')
  t.is(applyCommand('my site.yaml', ["it's.mjs"], { topics: 'a, b' }), `sluice topics apply 'it'\\''s.mjs' --topics a,b --site 'my site.yaml'`)
  t.throws(() => topicList('a,b c'), { message: /SLU_USE.*b c/ })
})

test('topics: settings that may not be seen are a right that is lacking, never taken for wrong or for right', (t) => {
  const specs = siteTopicSpecs(site)
  const existing = specs.map((s, i) => (i === 0 ? { name: s.name, partitions: s.partitions, timestampType: null, cleanup: null, retentionMs: null } : s))
  const foreign = { name: 'foreign', partitions: 1, timestampType: null, cleanup: null, retentionMs: null }
  t.throws(() => assertSettingsSeen(specs, existing), { message: `SLU_LOG_FORBIDDEN: the broker refused the operation: DescribeConfigs of ${specs[0]?.name}` })
  t.deepEqual(topicProblems(specs, existing), [{ topic: specs[0]?.name ?? '', message: 'its settings may not be seen: no right to DescribeConfigs' }])
  t.notThrows(() => assertSettingsSeen(specs, [...specs, foreign]))
})

test('topics: handlers that are named get their own topics and none of the site’s besides, with the settings the site gives them', (t) => {
  const all = new Map(siteTopicSpecs(site, handlers.flatMap(handlerTopics)).map((s) => [s.name, s]))
  for (const handler of handlers) {
    const chosen = chosenSpecs(site, handlerTopics(handler), false)
    t.notThrows(() => checkTopics(handler, 'x.', chosen.map(asInfo)), handler.kind)
    t.deepEqual(topicProblems(chosen, chosen.map(asInfo)), [])
    t.false(
      chosen.some((s) => s.name.startsWith('x.inference.')),
      'nothing that it does not touch',
    )
  }
  const names = chosenSpecs(site, handlerTopics({ ...base, inputs: ['telemetry.dcgm'], kind: 'map' } as unknown as AnyFunction), false).map((s) => s.name)
  t.deepEqual(names.sort(), ['x.sizes', 'x.telemetry.dcgm', 'x.telemetry.dcgm.dlq'])
  t.deepEqual(chosenSpecs(site, [], false), siteTopicSpecs(site), 'where nothing is named, all of the site')
  t.is(chosenSpecs(site, handlers.flatMap(handlerTopics), true).length, all.size)
})
