import { readFileSync } from 'node:fs'
import test from 'ava'
import { parse } from 'yaml'
import { siteJsonSchema, siteReference, validateSite, withoutEffect } from '../../schemas/site.ts'

const minimal = { site: 'hall-1', pseudonyms: { keyEnv: 'KEY' } }
const problemsOf = (parsed: unknown): string[] => validateSite(parsed).problems.map((p) => `${p.path.join('.')}: ${p.message}`)

test('site: what is left out gets its default, and a minimal site is valid', (t) => {
  const { site } = validateSite(minimal)
  t.is(site?.log.driver, 'embedded')
  t.is(site?.functions['aggregate-metrics'].windowMs, 60_000)
  t.is(site?.log.topics.maxMessageBytes, 8 * 1024 * 1024)
  t.is(site?.observability.metrics.listen, '127.0.0.1:9464', 'metrics are not shown to the network unless asked')
})

test('site: the site file of the repository is valid', (t) => {
  t.deepEqual(problemsOf(parse(readFileSync(new URL('../../site.yaml', import.meta.url), 'utf8'))), [])
})

test('site: unknown keys are refused at every depth, with the nearest known key', (t) => {
  t.deepEqual(problemsOf({ ...minimal, polls: [] }), ['polls: unknown key polls; did you mean pools?'])
  t.deepEqual(problemsOf({ ...minimal, functions: { 'aggregate-metrics': { windowMS: 5000 } } }), [
    'functions.aggregate-metrics.windowMS: unknown key windowMS; did you mean windowMs?',
  ])
  t.regex(
    problemsOf({ ...minimal, pools: [{ name: 'a', accelerator: 'b', endpoints: [{ id: 'e', url: 'http://x', api: 'openai', models: ['m'], slots: 1, device: [] }] }] })[0] ?? '',
    /did you mean devices/,
  )
  t.regex(problemsOf({ ...minimal, egress: { destinations: [{ name: 'c', kind: 'carry', dir: 'x', bucket: 'b' }] } })[0] ?? '', /unknown key bucket/)
})

test('site: every problem is listed at once, not only the first', (t) => {
  const problems = problemsOf({ site: 'Hall 1', log: { driver: 'rabbit', topics: { partitions: 0 } }, pseudonyms: {}, sources: [{ topic: 'a b', format: 'x' }] })
  t.true(problems.length >= 6, problems.join('\n'))
})

test('site: a wrong unit or a number out of its bound is refused with the reason', (t) => {
  t.regex(problemsOf({ ...minimal, functions: { 'aggregate-metrics': { windowMs: 5 } } })[0] ?? '', /at least 1000 ms: the grid/)
  t.regex(problemsOf({ ...minimal, functions: { 'aggregate-metrics': { windowMs: '5s' } } })[0] ?? '', /whole number of milliseconds/)
  t.regex(problemsOf({ ...minimal, log: { topics: { maxMessageBytes: '8MB' } } })[0] ?? '', /512KiB or 1GiB/)
})

test('site: references that name nothing, and names used twice, are problems', (t) => {
  const endpoint = { id: 'e', url: 'http://127.0.0.1:1', api: 'openai', models: ['m'], slots: 1 }
  t.regex(problemsOf({ ...minimal, log: { driver: 'kafka' } })[0] ?? '', /needs log.kafka.brokers/)
  t.regex(problemsOf({ ...minimal, contracts: [{ name: 'c', model: 'm', substitutes: ['nobody'] }] })[0] ?? '', /no endpoint serves nobody/)
  t.regex(problemsOf({ ...minimal, pools: [{ name: 'a', accelerator: 'x', endpoints: [endpoint, endpoint] }] })[0] ?? '', /declared twice/)
  t.regex(problemsOf({ ...minimal, simulation: { faults: [{ atMs: 1, kind: 'xid', code: 79, host: 'gone', gpu: 0 }] } })[0] ?? '', /not among simulation.hosts/)
})

test('site: a bound per tenant that cannot bind is refused, and the defaults bind', (t) => {
  const routing = (fields: object): string[] => problemsOf({ ...minimal, functions: { 'route-inference': fields } })
  t.deepEqual(routing({}), [])
  t.deepEqual(routing({ maxInFlight: 64, perTenantMax: 64 }), [])
  t.regex(routing({ maxInFlight: 64, perTenantMax: 65 })[0] ?? '', /route-inference\.perTenantMax: perTenantMax 65 is more than maxInFlight 64/)
  t.regex(routing({ maxInFlight: 64 })[0] ?? '', /perTenantMax 192/)
})

test('site: a result that may be larger than a record of the log is refused before the first one is lost', (t) => {
  const sizes = (resultBytesMax: string, maxMessageBytes: string): string[] =>
    problemsOf({ ...minimal, log: { topics: { maxMessageBytes } }, functions: { 'route-inference': { resultBytesMax } } })
  t.deepEqual(sizes('960KiB', '1MiB'), [])
  t.regex(sizes('961KiB', '1MiB')[0] ?? '', /resultBytesMax: must leave room below log.topics.maxMessageBytes: at most 983040 bytes/)
  t.regex(sizes('8MiB', '8MiB')[0] ?? '', /resultBytesMax/)
})

test('site: a secret in the file is an unknown key, not a setting', (t) => {
  t.regex(problemsOf({ ...minimal, pseudonyms: { keyEnv: 'K', key: 'hunter2' } })[0] ?? '', /unknown key key/)
  t.regex(
    problemsOf({ ...minimal, log: { driver: 'kafka', kafka: { brokers: ['a:1'], sasl: { mechanism: 'plain', username: 'x', password: 'y' } } } }).join(),
    /unknown key password/,
  )
})

test('site: names of the contract without code behind them are said so, not silently accepted', (t) => {
  t.regex(problemsOf({ ...minimal, sources: [{ topic: 'otlp_metrics', format: 'otlp' }] })[0] ?? '', /not read by this release/)
  const { site } = validateSite({ ...minimal, frontDoor: { listen: '127.0.0.1:8080' } })
  t.regex(site === null ? '' : (withoutEffect(site)[0] ?? ''), /frontDoor/)
})

test('site: the JSON Schema for editors refuses unknown keys and every key stands in the reference', (t) => {
  const schema = siteJsonSchema() as { additionalProperties: boolean; properties: Record<string, unknown> }
  t.false(schema.additionalProperties)
  const keys = siteReference().map((r) => r.key)
  t.true(keys.includes('functions.aggregate-metrics.graceMs'))
  t.true(keys.includes('pools[].endpoints[].slots'))
  for (const top of Object.keys(schema.properties))
    t.true(
      keys.some((k) => k === top || k.startsWith(`${top}.`) || k.startsWith(`${top}[`)),
      top,
    )
})

test('site: hostile documents are problems, never a throw', (t) => {
  for (const parsed of [null, [], 'text', 5, { __proto__: { site: 'x' } }, JSON.parse('{"__proto__":1,"site":"hall-1"}')]) t.true(validateSite(parsed).problems.length > 0)
})
