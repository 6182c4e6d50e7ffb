/**
 * The schema of site.yaml (design.md §4.3), declared once: types, defaults, units, bounds with their reasons.
 *
 * Owns: `siteSchema` and what follows from it: the type `Site`, `siteJsonSchema` for editors, and the rows of the reference page (docs/configuration.md). Secrets never stand in a site file:
 * it names environment variables or files. Keys are never renamed. One schema, so over 300 lines.
 */
import { z } from 'zod'
import { BYTE_SIZE, parseBytes } from './units.ts'

const id = z.string().regex(/^[a-z0-9][a-z0-9-]{0,31}$/, 'must match [a-z0-9][a-z0-9-]{0,31}: ids become object keys and metric attributes')
const path = z.string().min(1)
const ms = (min: number, max: number, reason: string): z.ZodNumber =>
  z.int(`must be a whole number of milliseconds`).min(min, `must be at least ${min} ms: ${reason}`).max(max, `must be at most ${max} ms: ${reason}`).meta({ unit: 'ms', reason })
const count = (min: number, max: number, reason: string): z.ZodNumber =>
  z.int('must be a whole number').min(min, `must be at least ${min}: ${reason}`).max(max, `must be at most ${max}: ${reason}`).meta({ reason })
const bytes = z
  .string()
  .regex(BYTE_SIZE, 'must be a size such as 512KiB or 1GiB')
  .refine((text) => parseBytes(text) !== null, 'is too large')
  .meta({ examples: ['512KiB', '1GiB'] })
  .transform((text) => parseBytes(text) as number)
const PORT_MAX = 65_535
const hasPort = (text: string): boolean => Number(text.slice(text.lastIndexOf(':') + 1)) <= PORT_MAX
/** Four numbers are an IPv4 address or nothing: no host is named so. */
const hasHost = (text: string): boolean => !/^\d+(\.\d+){3}:/.test(text) || z.ipv4().safeParse(text.slice(0, text.lastIndexOf(':'))).success
const listen = z
  .string()
  .regex(/^(\[[0-9a-f:]+\]|[a-z0-9.-]+):\d{1,5}$/i, 'must be host:port')
  .refine(hasPort, `the port must be 0 to ${PORT_MAX}`)
  .refine(hasHost, 'must be host:port, and this host is no IPv4 address')
  .describe('host:port; port 0 takes a free one, and so does `sluice run` where the port is taken')
const endpointUrl = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' })

const day = 86_400_000

const log = z
  .strictObject({
    driver: z.enum(['embedded', 'kafka']).default('embedded').describe('embedded: durable, one process. kafka: any Apache Kafka from 2.5 on.'),
    embedded: z.strictObject({ dir: path.default('.sluice/log') }).prefault({}),
    kafka: z
      .strictObject({
        brokers: z
          .array(
            z
              .string()
              .regex(/^[^\s:]+:\d{1,5}$/, 'must be host:port')
              .refine(hasPort, `the port must be at most ${PORT_MAX}`),
          )
          .min(1),
        client: z.literal('kafkajs').default('kafkajs'),
        tls: z.strictObject({ caFile: path.optional(), certFile: path.optional(), keyFile: path.optional() }).optional(),
        sasl: z.strictObject({ mechanism: z.enum(['plain', 'scram-sha-256', 'scram-sha-512']), usernameEnv: z.string().min(1), passwordEnv: z.string().min(1) }).optional(),
        sessionMs: ms(1000, 300_000, 'brokers refuse sessions outside group.min/max.session.timeout.ms').default(10_000),
        startWaitMs: ms(0, 3_600_000, 'whoever starts it should hear of a wrong address within the hour')
          .default(60_000)
          .describe('How long `start` and `run` try on when no broker answers at their start; 0 = about four seconds. A running member waits for ever.'),
      })
      .optional(),
    topics: z
      .strictObject({
        partitions: count(1, 1024, 'each costs memory and a file handle; requests and results can never change theirs; metrics.partials has 8 at most').default(4),
        replication: count(1, 7, 'at most the number of brokers').default(1),
        maxMessageBytes: bytes.prefault('8MiB'),
      })
      .prefault({}),
  })
  .prefault({})

const source = z.strictObject({
  topic: z.string().regex(/^[a-zA-Z0-9._-]{1,200}$/, 'must be a topic name'),
  format: z.enum(['dcgm-exporter', 'neuron-monitor', 'redfish', 'dsx-bms', 'otlp', 'prometheus-kafka-adapter', 'health-events']),
  periodMs: ms(100, 3_600_000, 'silence is three periods').default(15_000).describe('How often the producer publishes; three missed periods make a device suspect.'),
})

const deviceRef = z.strictObject({ host: z.string().min(1), index: z.array(z.int().min(0).max(1023)).min(1) })

const endpoint = z.strictObject({
  id,
  url: endpointUrl,
  api: z.enum(['openai', 'oip', 'sagemaker', 'bedrock']),
  models: z.array(z.string().min(1).max(200)).min(1),
  slots: count(1, 65_536, 'requests in flight at once'),
  devices: z.array(deviceRef).default([]).describe('Accelerators it runs on: their health decides whether it gets work.'),
})

const pool = z.strictObject({
  name: id,
  accelerator: z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'must match [a-z0-9-]'),
  rack: z.string().min(1).max(64).optional(),
  members: z
    .array(z.strictObject({ host: z.string().min(1) }))
    .default([])
    .describe('Globs of host names whose devices belong to the pool.'),
  endpoints: z.array(endpoint).default([]),
})

const concurrency = count(1, 64, 'members of the consumer group in this process; at most the partitions are used').default(1)

const delivery = z
  .enum(['at-least-once', 'transactional'])
  .default('at-least-once')
  .describe('transactional: outputs and source offset in one transaction of the log, each output there exactly once; refused by a driver without transactions.')

const functions = z
  .strictObject({
    'normalize-telemetry': z.strictObject({ enabled: z.boolean().default(true), concurrency, delivery }).prefault({}),
    'assess-health': z.strictObject({ enabled: z.boolean().default(true), concurrency, delivery, rules: path.default('schemas/health-rules.yaml') }).prefault({}),
    'aggregate-metrics': z
      .strictObject({
        enabled: z.boolean().default(true),
        concurrency,
        windowMs: ms(1000, day, 'the grid is part of an object’s identity')
          .default(60_000)
          .describe('Once it has run, this and the next four keep their values (SLU_WINDOW_PARAMETERS); other ones need another topicPrefix.'),
        graceMs: ms(0, day, 'how long after its end a window waits').default(10_000),
        outOfOrdernessMs: ms(0, day, 'how far records may lie apart within a partition').default(5_000),
        skewMs: ms(0, day, 'a record dated later than its append time by more is parked (W1)').default(30_000),
        maxGapMs: ms(1000, day, 'an older counter sample is no predecessor (W5)').default(120_000),
        idleMs: ms(1000, day, 'an idle partition is ticked after this long (W8)').default(30_000),
        contributorsMax: count(10, 10_000, 'more than this hold the cell at the gate').default(1000),
      })
      .prefault({}),
    'combine-metrics': z.strictObject({ enabled: z.boolean().default(true), concurrency }).prefault({}),
    'route-inference': z
      .strictObject({
        enabled: z.boolean().default(true),
        concurrency,
        maxInFlight: count(1, 65_536, 'memory of bodies in flight').default(256),
        perTenantMax: count(1, 65_536, 'waiting requests of one tenant; at most maxInFlight, or it bounds nothing').default(192),
        defaultDeadlineMs: ms(100, day, 'requests without a deadline').default(60_000),
        dedupeMs: ms(1000, 7 * day, 'an id is remembered this long (R1); results are kept longer').default(600_000),
        skewMs: ms(0, day, 'createdMs may lie this far in the future').default(30_000),
        requestBytesMax: bytes.prefault('1MiB'),
        resultBytesMax: bytes.prefault('4MiB'),
      })
      .prefault({}),
    'forward-summaries': z.strictObject({ enabled: z.boolean().default(true), concurrency }).prefault({}),
  })
  .prefault({})

const destination = z.discriminatedUnion('kind', [
  z.strictObject({ name: id, kind: z.literal('carry'), dir: path }),
  z.strictObject({
    name: id,
    kind: z.literal('s3'),
    bucket: z.string().regex(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, 'must be a plain bucket name (no ARN)'),
    region: z.string().regex(/^[a-z0-9-]{1,32}$/, 'must be a region such as eu-central-1'),
    endpoint: endpointUrl,
    expectedOwner: z.string().regex(/^\d{12}$/, 'must be a twelve-digit account id'),
    accessKeyEnv: z.string().min(1).default('AWS_ACCESS_KEY_ID'),
    secretKeyEnv: z.string().min(1).default('AWS_SECRET_ACCESS_KEY'),
    sessionTokenEnv: z.string().min(1).optional(),
  }),
])

const egress = z
  .strictObject({
    policy: path.default('./policy').describe('Folder of the policy bundle.'),
    ledger: path.default('.sluice/ledger'),
    origin: z
      .string()
      .regex(/^[a-z0-9.-]+(\/[a-z0-9-]+)+$/, 'must look like <org-domain>/<site>/egress/<ledger-id>')
      .optional()
      .describe('Origin of the ledger’s checkpoints; default sluice.invalid/<site>/egress/1.'),
    spool: z.strictObject({ dir: path, maxBytes: bytes }).optional(),
    destinations: z.array(destination).default([]),
  })
  .prefault({})

const fault = z.discriminatedUnion('kind', [
  z.strictObject({ atMs: z.int().min(0), kind: z.literal('xid'), code: z.int().min(1).max(999), host: z.string(), gpu: z.int().min(0) }),
  z.strictObject({ atMs: z.int().min(0), kind: z.literal('thermal-ramp'), host: z.string(), gpu: z.int().min(0), overMs: z.int().min(1) }),
  z.strictObject({ atMs: z.int().min(0), kind: z.literal('neuron-uncorrectable'), host: z.string(), device: z.int().min(0) }),
  z.strictObject({ atMs: z.int().min(0), kind: z.literal('silent'), host: z.string(), forMs: z.int().min(1) }),
])

const simulation = z
  .strictObject({
    seed: z.int().default(1),
    listenHost: z.string().min(1).default('127.0.0.1').describe('Address the simulated accelerators listen on.'),
    scrapeMs: ms(100, 600_000, 'as fast as a producer would').default(1000),
    requestsPerS: z.number().min(0).max(10_000).default(25),
    hosts: z
      .array(z.strictObject({ host: z.string().min(1), kind: z.enum(['blackwell', 'trainium3']), devices: count(1, 64, 'accelerators of a host'), namespace: z.string().min(1) }))
      .default([]),
    faults: z.array(fault).default([]),
  })
  .optional()
  .describe('Simulated accelerators and producers; shown as simulated everywhere. Leave out on a real site.')

export const siteSchema = z.strictObject({
  site: id.describe('Name of this hall; part of every object key.'),
  topicPrefix: z
    .string()
    .regex(/^([a-zA-Z0-9._-]{1,64})?$/, 'must be made of letters, digits, dot, dash, underscore')
    .default(''),
  log,
  sources: z.array(source).default([]),
  pseudonyms: z
    .strictObject({
      keyEnv: z.string().min(1).optional(),
      keyFile: path.optional(),
      create: z.boolean().default(false).describe('Make keyFile with a random key if it does not exist.'),
    })
    .describe('HMAC key for pseudonyms, held by the site: exactly one of keyEnv and keyFile.'),
  tenants: z.array(z.strictObject({ match: z.strictObject({ namespace: z.string().min(1) }), tenant: z.string().min(1) })).default([]),
  pools: z.array(pool).default([]),
  contracts: z
    .array(
      z.strictObject({
        name: z.string().min(1).max(64),
        model: z.string().min(1),
        substitutes: z.array(z.string().min(1)).min(1),
        maxContextTokens: count(1, 10_000_000, 'tokens, prompt and output').optional().describe('Longer requests stay with the model asked for. A byte counts as a token.'),
      }),
    )
    .default([]),
  functions,
  egress,
  frontDoor: z.strictObject({ listen }).optional(),
  console: z.strictObject({ listen }).optional(),
  observability: z
    .strictObject({
      metrics: z.strictObject({ listen: listen.default('127.0.0.1:9464') }).prefault({}),
      health: z
        .strictObject({ listen: listen.default('127.0.0.1:9465') })
        .prefault({})
        .describe('Liveness and readiness over HTTP, with the reason in the answer, and the status that `sluice ps` shows.'),
    })
    .prefault({}),
  simulation,
})

/** A validated site with defaults filled in. */
export type Site = z.output<typeof siteSchema>

/** Keys that are accepted and have no effect in this release: shown by `config check`, `doctor` and at start. */
export function withoutEffect(site: Site): string[] {
  return [
    ...(site.egress.spool === undefined ? [] : ['egress.spool: summaries wait in the log until they can be sent; the spool comes with a later release']),
    ...(site.frontDoor === undefined ? [] : ['frontDoor: requests come in over the log; the HTTP front door comes with a later release']),
    ...(site.console === undefined ? [] : ['console: use the live screen and /metrics; the web console comes with a later release']),
  ]
}

/** JSON Schema (2020-12) for editors, of the input form. */
export function siteJsonSchema(): Record<string, unknown> {
  return { title: 'site.yaml of Sluice', ...z.toJSONSchema(siteSchema, { io: 'input', unrepresentable: 'any' }) }
}

export interface ReferenceRow {
  readonly key: string
  readonly type: string
  readonly default: string
  readonly notes: string
}

/** One row per key, for the reference page. */
export function siteReference(): ReferenceRow[] {
  type Node = {
    type?: string
    properties?: Record<string, Node>
    items?: Node
    anyOf?: Node[]
    oneOf?: Node[]
    enum?: unknown[]
    const?: unknown
    default?: unknown
    description?: string
    unit?: string
    reason?: string
    minimum?: number
    maximum?: number
  }
  const rows: ReferenceRow[] = []
  const walk = (node: Node, key: string): void => {
    const variants = node.anyOf ?? node.oneOf
    if (node.properties !== undefined) for (const [k, v] of Object.entries(node.properties)) walk(v, key === '' ? k : `${key}.${k}`)
    else if (variants !== undefined) for (const v of variants) walk(v, key)
    else if (node.items?.properties !== undefined || node.items?.oneOf !== undefined) walk(node.items, `${key}[]`)
    else {
      const type =
        node.enum !== undefined
          ? node.enum.join(' | ')
          : node.const !== undefined
            ? JSON.stringify(node.const)
            : node.items !== undefined
              ? `list of ${node.items.type ?? 'value'}`
              : (node.type ?? 'value')
      const range =
        node.minimum !== undefined && node.maximum !== undefined && Math.abs(node.maximum) < Number.MAX_SAFE_INTEGER
          ? `${node.minimum} to ${node.maximum}${node.unit === undefined ? '' : ` ${node.unit}`}`
          : ''
      rows.push({
        key,
        type,
        default: node.default === undefined ? '' : JSON.stringify(node.default),
        notes: [node.description, range, node.reason].filter((x) => x !== undefined && x !== '').join(' · '),
      })
    }
  }
  walk(siteJsonSchema() as Node, '')
  return rows
}
