import fc from 'fast-check'
import test from 'ava'
import { validateSite } from '../../schemas/validate-site.ts'

const minimal = { site: 'hall-1', pseudonyms: { keyEnv: 'KEY' } }
const problemsOf = (parsed: unknown): string[] => validateSite(parsed).problems.map((p) => `${p.path.join('.')}: ${p.message}`)

test('validate site: unknown keys are refused at every depth, with the nearest known key', (t) => {
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

test('validate site: every problem is listed at once, not only the first', (t) => {
  const problems = problemsOf({ site: 'Hall 1', log: { driver: 'rabbit', topics: { partitions: 0 } }, pseudonyms: {}, sources: [{ topic: 'a b', format: 'x' }] })
  t.true(problems.length >= 6, problems.join('\n'))
})

test('validate site: a wrong unit or a number out of its bound is refused with the reason', (t) => {
  t.regex(problemsOf({ ...minimal, functions: { 'aggregate-metrics': { windowMs: 5 } } })[0] ?? '', /at least 1000 ms: the grid/)
  t.regex(problemsOf({ ...minimal, functions: { 'aggregate-metrics': { windowMs: '5s' } } })[0] ?? '', /whole number of milliseconds/)
  t.regex(problemsOf({ ...minimal, log: { topics: { maxMessageBytes: '8MB' } } })[0] ?? '', /512KiB or 1GiB/)
})

test('validate site: references that name nothing, and names used twice, are problems', (t) => {
  const endpoint = { id: 'e', url: 'http://127.0.0.1:1', api: 'openai', models: ['m'], slots: 1 }
  t.regex(problemsOf({ ...minimal, log: { driver: 'kafka' } })[0] ?? '', /needs log.kafka.brokers/)
  t.regex(problemsOf({ ...minimal, contracts: [{ name: 'c', model: 'm', substitutes: ['nobody'] }] })[0] ?? '', /no endpoint serves nobody/)
  t.regex(problemsOf({ ...minimal, pools: [{ name: 'a', accelerator: 'x', endpoints: [endpoint, endpoint] }] })[0] ?? '', /declared twice/)
  t.regex(problemsOf({ ...minimal, simulation: { faults: [{ atMs: 1, kind: 'xid', code: 79, host: 'gone', gpu: 0 }] } })[0] ?? '', /not among simulation.hosts/)
})

test('validate site: a bound per tenant that cannot bind is refused, and the defaults bind', (t) => {
  const routing = (fields: object): string[] => problemsOf({ ...minimal, functions: { 'route-inference': fields } })
  t.deepEqual(routing({}), [])
  t.deepEqual(routing({ maxInFlight: 64, perTenantMax: 64 }), [])
  t.regex(routing({ maxInFlight: 64, perTenantMax: 65 })[0] ?? '', /route-inference\.perTenantMax: perTenantMax 65 is more than maxInFlight 64/)
  t.regex(routing({ maxInFlight: 64 })[0] ?? '', /perTenantMax 192/)
})

test('validate site: a result that may be larger than a record of the log is refused before the first one is lost', (t) => {
  const sizes = (resultBytesMax: string, maxMessageBytes: string): string[] =>
    problemsOf({ ...minimal, log: { topics: { maxMessageBytes } }, functions: { 'route-inference': { resultBytesMax } } })
  t.deepEqual(sizes('960KiB', '1MiB'), [])
  t.regex(sizes('961KiB', '1MiB')[0] ?? '', /resultBytesMax: must leave room below log.topics.maxMessageBytes: at most 983040 bytes/)
  t.regex(sizes('8MiB', '8MiB')[0] ?? '', /resultBytesMax/)
})

test('validate site: a secret in the file is an unknown key, not a setting', (t) => {
  t.regex(problemsOf({ ...minimal, pseudonyms: { keyEnv: 'K', key: 'hunter2' } })[0] ?? '', /unknown key key/)
  t.regex(
    problemsOf({ ...minimal, log: { driver: 'kafka', kafka: { brokers: ['a:1'], sasl: { mechanism: 'plain', username: 'x', password: 'y' } } } }).join(),
    /unknown key password/,
  )
})

test('validate site: hostile documents are problems, never a throw', (t) => {
  for (const parsed of [null, [], 'text', 5, { __proto__: { site: 'x' } }, JSON.parse('{"__proto__":1,"site":"hall-1"}')]) t.true(validateSite(parsed).problems.length > 0)
})

const endpoint = { id: 'e', url: 'http://127.0.0.1:1', api: 'openai', models: ['m'], slots: 1 }

test('validate site: references are checked beside wrong keys, all of them listed', (t) => {
  const found = problemsOf({
    ...minimal,
    polls: [],
    functions: { 'aggregate-metrics': { windowMs: '5s' }, 'route-inference': { maxInFlight: 8 } },
    pools: [{ name: 'a', accelerator: 'x', endpoints: [endpoint, { ...endpoint, url: 'ftp://x' }] }],
    contracts: [{ name: 'c', model: 'm', substitutes: ['nobody', 'm'] }],
    sources: [{ topic: 'otlp_metrics', format: 'otlp' }],
    simulation: { hosts: [], faults: [{ atMs: 1, kind: 'xid', code: 0, host: 'gone', gpu: 0 }] },
    pseudonyms: { create: 'yes' },
  })
  t.deepEqual(found.sort(), [
    'contracts.0.substitutes.0: no endpoint serves nobody',
    'functions.aggregate-metrics.windowMs: must be a whole number of milliseconds',
    'functions.route-inference.perTenantMax: perTenantMax 192 is more than maxInFlight 8: one tenant could fill it all',
    'polls: unknown key polls; did you mean pools?',
    'pools.0.endpoints.1.id: endpoint e is declared twice',
    'pools.0.endpoints.1.url: must be an http or https URL',
    'pseudonyms.create: must be true or false, not text',
    'pseudonyms: needs exactly one of keyEnv and keyFile',
    'simulation.faults.0.code: must be at least 1',
    'simulation.faults.0.host: gone is not among simulation.hosts',
    'sources.0.format: otlp is not read by this release; have dcgm-exporter, neuron-monitor',
  ])
})

test('validate site: no problem is made up from another: what a check rests on must be readable', (t) => {
  const contracts = [{ name: 'c', model: 'm', substitutes: ['n'] }]
  for (const pools of ['a', [{ name: 'a', accelerator: 'x', endpoints: {} }], [{ name: 'a', accelerator: 'x', endpoints: [{ ...endpoint, models: [5] }] }], [5]])
    t.false(
      problemsOf({ ...minimal, pools, contracts })
        .join()
        .includes('no endpoint serves'),
      JSON.stringify(pools),
    )
  t.deepEqual(problemsOf({ ...minimal, functions: { 'route-inference': { maxInFlight: 'many', perTenantMax: 300 } } }), [
    'functions.route-inference.maxInFlight: must be a whole number',
  ])
  const faults = [{ atMs: 1, kind: 'silent', host: 'gone', forMs: 1 }]
  t.deepEqual(problemsOf({ ...minimal, simulation: { hosts: 5, faults } }), ['simulation.hosts: must be a list of groups of keys, not 5'])
})

test('validate site: a key that is missing or empty is said so, with what it needs', (t) => {
  const { id: _id, slots: _slots, api: _api, models: _models, url: _url, ...rest } = endpoint
  t.deepEqual(problemsOf({ ...minimal, pools: [{ name: 'a', accelerator: 'x', endpoints: [rest] }] }), [
    'pools.0.endpoints.0.id: is missing: needs text',
    'pools.0.endpoints.0.url: is missing: needs a URL',
    'pools.0.endpoints.0.api: is missing: needs one of openai, oip, sagemaker, bedrock',
    'pools.0.endpoints.0.models: is missing: needs a list, each text',
    'pools.0.endpoints.0.slots: is missing: needs a whole number, 1 to 65536',
  ])
  t.deepEqual(problemsOf({}), ['site: is missing: needs text', 'pseudonyms: is missing: needs a group of keys: keyEnv, keyFile, create'])
  t.deepEqual(problemsOf({ ...minimal, functions: { 'aggregate-metrics': { windowMs: null } } }), [
    'functions.aggregate-metrics.windowMs: has no value: needs a whole number of ms, 1000 to 86400000',
  ])
  t.deepEqual(problemsOf({ ...minimal, egress: { spool: { dir: 'x' }, destinations: [{ name: 'd' }] } }), [
    'egress.spool.maxBytes: is missing: needs a size such as 512KiB or 1GiB',
    'egress.destinations.0.kind: is missing: needs one of carry, s3',
  ])
})

test('validate site: a value is one problem, in our words, whatever is wrong with it', (t) => {
  const one = (path: string, parsed: object, message: string): boolean => t.deepEqual(problemsOf({ ...minimal, ...parsed }), [`${path}: ${message}`])
  one('log.topics.maxMessageBytes', { log: { topics: { maxMessageBytes: '8MB' } } }, 'must be a size such as 512KiB or 1GiB')
  one('log.topics.maxMessageBytes', { log: { topics: { maxMessageBytes: '99999999999TiB' } } }, 'is too large')
  one('log.topics.partitions', { log: { topics: { partitions: 0.5 } } }, 'must be a whole number')
  one('log.driver', { log: { driver: 'rabbit' } }, 'must be one of embedded, kafka, not rabbit')
  one('log.kafka.brokers', { log: { driver: 'kafka', kafka: { brokers: [] } } }, 'needs at least 1')
  one('pools', { pools: { name: 'a' } }, 'must be a list of groups of keys, not a group of keys')
  one('tenants.0.tenant', { tenants: [{ match: { namespace: 'a' }, tenant: '' }] }, 'must not be empty')
  one('tenants.0.match', { tenants: [{ match: ['a'], tenant: 'b' }] }, 'must be a group of keys: namespace, not a list')
  one('simulation.requestsPerS', { simulation: { requestsPerS: 1e9 } }, 'must be at most 10000')
  one('egress.destinations.0.kind', { egress: { destinations: [{ name: 'd', kind: 's4' }] } }, 'must be one of carry, s3, not s4')
})

test('validate site: the files the start needs are named beside the problems; those of functions that are off are not', (t) => {
  const named = (more: object): string[] => validateSite({ ...minimal, ...more }).files.map((f) => `${f.path.join('.')} ${f.kind} ${f.named}`)
  t.deepEqual(named({ polls: 1 }), ['functions.assess-health.rules file schemas/health-rules.yaml', 'egress.policy folder ./policy'])
  t.deepEqual(
    named({
      functions: { 'assess-health': { enabled: false }, 'forward-summaries': { enabled: false } },
      pseudonyms: { keyFile: 'k' },
      log: { driver: 'kafka', kafka: { tls: { caFile: 'ca' } } },
    }),
    ['log.kafka.tls.caFile file ca', 'pseudonyms.keyFile file k'],
  )
  t.deepEqual(named({ functions: { 'assess-health': { enabled: false } }, egress: { policy: 5 }, pseudonyms: { keyFile: 'k', create: true } }), [])
})

test('validate site: any document gives problems or a site, never a throw, and each problem once', (t) => {
  const key = fc.constantFrom(
    'site',
    'log',
    'pools',
    'endpoints',
    'models',
    'functions',
    'route-inference',
    'maxInFlight',
    'pseudonyms',
    'keyEnv',
    'contracts',
    'egress',
    '__proto__',
    'x',
  )
  const { node } = fc.letrec((tie) => ({
    node: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom(null, true, 0, -1, 1.5, '', 'a', '1GiB'),
      fc.array(tie('node'), { maxLength: 3 }),
      fc.dictionary(key, tie('node'), { maxKeys: 4 }),
    ),
  }))
  fc.assert(
    fc.property(node, (parsed) => {
      const { site, problems } = validateSite(parsed)
      t.is(site === null, problems.length > 0)
      const texts = problems.map((p) => JSON.stringify(p))
      t.is(new Set(texts).size, texts.length)
      for (const { message } of problems) t.notRegex(message, /Invalid|expected|undefined/)
    }),
    { numRuns: 500 },
  )
})

test('validate site: an address nothing can listen on is refused before anything starts', (t) => {
  const problemsOf = (listen: string, broker = 'kafka:9092'): string[] =>
    validateSite({
      site: 'hall-1',
      pseudonyms: { keyEnv: 'K' },
      log: { driver: 'kafka', kafka: { brokers: [broker] } },
      observability: { metrics: { listen } },
    }).problems.map(({ path, message }) => `${path.join('.')} ${message}`)
  for (const sound of ['127.0.0.1:65535', '0.0.0.0:0', '[::1]:9464', 'hall-1.example:9464', '10.example:1']) t.deepEqual(problemsOf(sound), [], sound)
  for (const port of ['127.0.0.1:99999', '[::1]:65536', 'hall:70000']) t.deepEqual(problemsOf(port), ['observability.metrics.listen the port must be 0 to 65535'], port)
  for (const host of ['999.0.0.1:9464', '1.2.3.256:1']) t.regex(problemsOf(host).join(), /^observability\.metrics\.listen .*no IPv4 address$/, host)
  t.deepEqual(problemsOf('127.0.0.1:1', 'kafka:99999'), ['log.kafka.brokers.0 the port must be at most 65535'])
})
