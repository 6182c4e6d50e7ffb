/**
 * A broker with TLS, passwords and ACLs: what a site in production has.
 *
 * Listeners: SECURE (TLS and SCRAM-SHA-512), MUTUAL (TLS with client certificates), USERS (SCRAM-SHA-512 in plain text), EXPIRED and ELSEWHERE (TLS
 * with a certificate that is over, or for another name), PLAINTEXT (its user is the broker's own administrator).
 * `operator` may do everything; `guest` may read and write what aggregate-metrics needs, but not write to its input, and sees that there is a topic of `others`; `egress` what docs/kafka-access.md
 * gives forward-summaries.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { tmpdir } from 'node:os'
import test from 'ava'
import kafkajs from 'kafkajs'
import { aggregateMetrics } from '../../functions/aggregate-metrics/aggregate-metrics.ts'
import { systemClock, systemRandom } from '../../infra/clock.ts'
import { isKafkaAvailable, startKafka, type KafkaCluster } from '../../infra/deploy/kafka/cluster.ts'
import { nodeHashing } from '../../infra/hashing.ts'
import { createKafkaDriver, type KafkaOptions } from '../../infra/log/kafka/driver.ts'
import { silentTelemetry } from '../../infra/observability/telemetry.ts'
import { errors } from '../../schemas/errors.ts'
import type { LogDriver } from '../../schemas/log.ts'
import { topicSpecs } from '../../schemas/topics.ts'
import { createRunner } from '../../streams/runner.ts'
import { makeCertificates, type Certificates } from '../helpers/certificates.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { siteInFolder, startSluice } from '../helpers/site.ts'
import { valuesOf } from '../helpers/read-topic.ts'
import { until } from '../helpers/until.ts'

const { available, reason } = await isKafkaAvailable()
if (!available && process.env['SLUICE_REQUIRE_KAFKA'] === '1') throw new Error(`SLUICE_REQUIRE_KAFKA is set and Kafka cannot be started: ${reason}`)
const kafkaTest = available ? test.serial : test.skip

const PASSWORDS = { operator: 'operator-secret', guest: 'guest-secret', egress: 'egress-secret' } as const
const dir = mkdtempSync(join(tmpdir(), 'sluice-secure-'))
let kafka: KafkaCluster | null = null
let pem: Certificates | null = null

const certificates = (): Certificates => pem ?? raise()
const cluster = (): KafkaCluster => kafka ?? raise()
const raise = (): never => {
  throw new Error('not started')
}

const secure = (user: keyof typeof PASSWORDS, more: Partial<KafkaOptions> = {}): KafkaOptions => ({
  brokers: cluster().listeners.get('SECURE') ?? [],
  tls: { ca: certificates().ca },
  sasl: { mechanism: 'scram-sha-512', username: user, password: PASSWORDS[user] },
  ...more,
})

const { AclOperationTypes: op, AclPermissionTypes, AclResourceTypes: resource, ResourcePatternTypes: pattern } = kafkajs
const allow = (principal: string, resourceType: number, resourceName: string, operation: number) => ({
  principal,
  resourceType,
  resourceName,
  operation,
  host: '*',
  permissionType: AclPermissionTypes.ALLOW,
  resourcePatternType: pattern.LITERAL,
})

test.before(async (t) => {
  if (!available) return
  t.timeout(120_000)
  pem = await makeCertificates()
  const file = (name: string, text: string): string => {
    writeFileSync(join(dir, name), text)
    return join(dir, name)
  }
  const authority = file('ca.pem', pem.ca)
  const scram = 'org.apache.kafka.common.security.scram.ScramLoginModule required;'
  kafka = await startKafka({
    listeners: [
      { name: 'SECURE', protocol: 'SASL_SSL' },
      { name: 'MUTUAL', protocol: 'SSL' },
      { name: 'USERS', protocol: 'SASL_PLAINTEXT' },
      { name: 'EXPIRED', protocol: 'SSL' },
      { name: 'ELSEWHERE', protocol: 'SSL' },
    ],
    settings: {
      'ssl.keystore.type': 'PEM',
      'ssl.keystore.location': file('server.pem', `${pem.server.key}\n${pem.server.cert}`),
      'ssl.truststore.type': 'PEM',
      'ssl.truststore.location': authority,
      'listener.name.mutual.ssl.client.auth': 'required',
      'sasl.enabled.mechanisms': 'SCRAM-SHA-512',
      'listener.name.secure.scram-sha-512.sasl.jaas.config': scram,
      'listener.name.users.scram-sha-512.sasl.jaas.config': scram,
      'listener.name.expired.ssl.keystore.location': file('expired.pem', `${pem.expired.key}\n${pem.expired.cert}`),
      'listener.name.elsewhere.ssl.keystore.location': file('elsewhere.pem', `${pem.elsewhere.key}\n${pem.elsewhere.cert}`),
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS;User:operator',
    },
    formatArgs: Object.entries(PASSWORDS).flatMap(([name, password]) => ['--add-scram', `SCRAM-SHA-512=[name=${name},password=${password}]`]),
  })
  const admin = new kafkajs.Kafka({ brokers: kafka.bootstrap, logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  const allowed =
    (user: keyof typeof PASSWORDS) =>
    (type: number, name: string, ...operations: number[]) =>
      operations.map((operation) => allow(`User:${user}`, type, name, operation))
  const [guest, egress] = [allowed('guest'), allowed('egress')]
  await admin.createAcls({
    acl: [
      ...guest(resource.TOPIC, 'hardware.telemetry', op.READ, op.DESCRIBE, op.DESCRIBE_CONFIGS),
      ...['metrics.partials', 'hardware.telemetry.late', 'hardware.telemetry.dlq'].flatMap((name) =>
        guest(resource.TOPIC, name, op.READ, op.WRITE, op.DESCRIBE, op.DESCRIBE_CONFIGS),
      ),
      ...guest(resource.TOPIC, 'others', op.DESCRIBE),
      ...guest(resource.GROUP, 'sluice.aggregate-metrics', op.READ),
      ...egress(resource.TOPIC, 'metrics.windows', op.READ, op.DESCRIBE, op.DESCRIBE_CONFIGS),
      ...['egress.receipts', 'metrics.windows.dlq'].flatMap((name) => egress(resource.TOPIC, name, op.WRITE, op.DESCRIBE, op.DESCRIBE_CONFIGS)),
      ...egress(resource.GROUP, 'sluice.forward-summaries', op.READ),
    ],
  })
  await admin.disconnect()
})

test.after.always(async () => {
  await kafka?.stop()
  rmSync(dir, { recursive: true, force: true })
})

async function using<T>(options: KafkaOptions, act: (driver: LogDriver) => Promise<T>): Promise<T> {
  const driver = createKafkaDriver(options)
  try {
    return await act(driver)
  } finally {
    await driver.close()
  }
}

const codeOf = async (options: KafkaOptions): Promise<string> =>
  using(options, (driver) => driver.admin().topics('')).then(
    () => 'none',
    (error: { code?: string; detail?: string }) => `${error.code} ${error.detail}`,
  )

kafkaTest('secure kafka: over TLS and SCRAM every part of the driver works: admin, producer, fenced producer, member and reader', async (t) => {
  t.timeout(60_000)
  await using(secure('operator'), async (driver) => {
    await driver
      .admin()
      .createTopics([{ name: 'flow', partitions: 1, replication: 1, timestampType: 'LogAppendTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
    await driver.producer().send([{ topic: 'flow', key: null, value: Buffer.from('plain') }])
    await (await driver.fencedProducer('holder')).transaction([{ topic: 'flow', key: null, value: Buffer.from('fenced') }])
    const taken: string[] = []
    const consumer = driver.consumer({ group: 'readers', topics: ['flow'] })
    await consumer.start({
      assigned: (assignments) => Promise.resolve(assignments.map(({ topic, partition }) => ({ topic, partition, nextOffset: 'start' as const }))),
      revoked: () => Promise.resolve(),
      records: (_tp, _epoch, records) => void taken.push(...records.map((r) => String(r.value))),
      held: () => undefined,
      failed: (error) => t.fail(String(error)),
    })
    await until(() => taken.length === 2, 20_000)
    await consumer.stop()
    t.deepEqual(taken, ['plain', 'fenced'])
    t.deepEqual(await valuesOf(driver, 'flow'), taken)
  })
})

kafkaTest('secure kafka: a client certificate is who we are where the listener asks for one', async (t) => {
  const mutual = { brokers: cluster().listeners.get('MUTUAL') ?? [], tls: { ca: certificates().ca, ...certificates().client } }
  await using(mutual, async (driver) => {
    t.deepEqual(await driver.admin().topics(''), [], 'CN=client has no rights to any topic, and sees none')
  })
  const refused = /^SLU_LOG_CERTIFICATE .*client certificate.*certFile/
  t.regex(await codeOf({ ...mutual, tls: { ca: certificates().ca } }), refused, 'none')
  t.regex(await codeOf({ ...mutual, tls: { ca: certificates().ca, ...(await makeCertificates('others')).client } }), refused, 'one of another authority')
})

kafkaTest('secure kafka: a certificate that is not accepted is SLU_LOG_CERTIFICATE and says why: over, another name, unknown authority, unusable file', async (t) => {
  t.timeout(60_000)
  const tls = { ca: certificates().ca }
  const at = (name: string): string[] => [...(cluster().listeners.get(name) ?? raise())]
  t.regex(await codeOf({ brokers: at('EXPIRED'), tls }), /^SLU_LOG_CERTIFICATE .*has expired/)
  t.regex(await codeOf({ brokers: at('ELSEWHERE'), tls }), /^SLU_LOG_CERTIFICATE .*not for this name/)
  for (const ca of [await makeCertificates('others'), await makeCertificates()])
    t.regex(await codeOf(secure('operator', { tls: { ca: ca.ca } })), /^SLU_LOG_CERTIFICATE .*no authority known here.*caFile/)
  t.regex(await codeOf(secure('operator', { tls: true })), /^SLU_LOG_CERTIFICATE .*caFile/, 'the authorities of the platform')
  t.regex(await codeOf(secure('operator', { tls: { ca: certificates().ca, cert: 'no certificate', key: 'no key' } })), /^SLU_LOG_CERTIFICATE .*file of log\.kafka\.tls/)
})

kafkaTest('secure kafka: a wrong password, a user that is not there and a mechanism the broker has not are SLU_LOG_AUTH', async (t) => {
  const sasl = { mechanism: 'scram-sha-512', username: 'operator', password: 'wrong' } as const
  t.regex(await codeOf(secure('operator', { sasl })), /^SLU_LOG_AUTH /)
  t.regex(await codeOf(secure('operator', { sasl: { ...sasl, username: 'nobody' } })), /^SLU_LOG_AUTH /)
  t.regex(await codeOf(secure('operator', { sasl: { ...sasl, mechanism: 'plain', password: PASSWORDS.operator } })), /^SLU_LOG_AUTH /)
})

kafkaTest('secure kafka: TLS and plain text, users and none, HTTP: what does not fit is named, and only what a broker that is away does too is tried again', async (t) => {
  t.timeout(120_000)
  const { tls, sasl, brokers } = secure('operator')
  const plain = { brokers: cluster().bootstrap }
  const users = { brokers: cluster().listeners.get('USERS') ?? raise() }
  const given = (options: KafkaOptions, also: { tls?: KafkaOptions['tls']; sasl?: KafkaOptions['sasl'] }): KafkaOptions => ({ ...options, ...also }) as KafkaOptions
  for (const options of [{ brokers }, given({ brokers }, { sasl }), { brokers: cluster().listeners.get('MUTUAL') ?? raise() }])
    t.regex(await codeOf(options), /^SLU_LOG_LISTENER .*speaks TLS.*log\.kafka\.tls is not set/)
  for (const options of [given(plain, { tls }), given(users, { tls, sasl })]) t.regex(await codeOf(options), /^SLU_LOG_CLOSED .*TLS handshake.*plain text.*log\.kafka\.tls/)
  for (const options of [users, given({ brokers }, { tls })]) t.regex(await codeOf(options), /^SLU_LOG_CLOSED .*want a user \(log\.kafka\.sasl\)/)
  t.regex(await codeOf(given(plain, { sasl })), /^SLU_LOG_LISTENER .*takes no user.*log\.kafka\.sasl is set/)

  const web = createServer((_request, response) => response.end('hello'))
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve))
  const http = { brokers: [`127.0.0.1:${(web.address() as AddressInfo).port}`] }
  for (const options of [http, given(http, { sasl })]) t.regex(await codeOf(options), /^SLU_LOG_LISTENER .*speaks HTTP/)
  t.regex(await codeOf(given(http, { tls })), /^SLU_LOG_LISTENER .*does not speak TLS.*log\.kafka\.tls is set/)
  web.close()
  for (const code of ['SLU_LOG_LISTENER', 'SLU_LOG_CERTIFICATE'] as const) t.is(errors[code].disposition, 'fatal')
  t.is(errors.SLU_LOG_CLOSED.disposition, 'retry')
})

kafkaTest('secure kafka: whoever may not write to a windowed input closes no idle windows and is held by nothing else (W8)', async (t) => {
  t.timeout(60_000)
  await using(secure('operator'), (driver) =>
    driver
      .admin()
      .createTopics([
        ...topicSpecs({ prefix: '', partitions: 1, replication: 1, maxMessageBytes: 1 << 20 }).filter((s) => /^(hardware\.telemetry|metrics\.partials)/.test(s.name)),
        { name: 'others', partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 },
      ]),
  )
  await using(secure('guest'), async (driver) => {
    const seen = await driver.admin().topics('')
    t.deepEqual(
      seen.find((topic) => topic.name === 'others'),
      { name: 'others', partitions: 2, timestampType: null, cleanup: null, retentionMs: null, maxMessageBytes: null },
      'a topic of others whose settings are not to be seen keeps nobody from its own',
    )
    t.is(seen.find((topic) => topic.name === 'hardware.telemetry')?.timestampType, 'LogAppendTime')
    t.deepEqual([await driver.admin().mayAppend('hardware.telemetry'), await driver.admin().mayAppend('metrics.partials')], [false, true])
    const fatal: unknown[] = []
    const runner = createRunner({
      definition: aggregateMetrics({
        site: 's',
        parameters: { windowMs: 1000, graceMs: 0, outOfOrdernessMs: 0, skewMs: 30_000, maxGapMs: 1000, idleMs: 500 },
        contributorFactsMax: 10,
      }),
      driver,
      topicPrefix: '',
      site: 's',
      codecs: testCodecs(),
      clock: systemClock,
      random: systemRandom,
      hashing: nodeHashing,
      telemetry: silentTelemetry,
      onFatal: (error) => fatal.push(error),
    })
    await runner.start()
    await until(() => runner.partitions()[0]?.code === 'SLU_LOG_FORBIDDEN', 20_000)
    t.like(runner.partitions()[0], { state: 'running', code: 'SLU_LOG_FORBIDDEN' })
    await using(secure('operator'), (other) => other.producer().send([{ topic: 'hardware.telemetry', key: null, value: Buffer.from('no NodeBatch') }]))
    await until(() => runner.stats().deadLetters === 1, 20_000)
    await runner.stop(2000)
    t.deepEqual(fatal, [])
  })
})

kafkaTest('secure kafka: a right that is lacking is SLU_LOG_FORBIDDEN, naming what it is about, for writing, the group and the fenced producer', async (t) => {
  await using(secure('guest'), async (driver) => {
    const codes = await Promise.all(
      [
        driver.producer().send([{ topic: 'hardware.telemetry', key: null, value: Buffer.from('x') }]),
        driver.consumer({ group: 'another', topics: ['hardware.telemetry'] }).start({
          assigned: () => Promise.resolve([]),
          revoked: () => Promise.resolve(),
          records: () => undefined,
          held: () => undefined,
          failed: () => undefined,
        }),
        driver.fencedProducer('holder'),
      ].map((attempt) =>
        (attempt as Promise<unknown>).then(
          () => 'none',
          (error: { code?: string; detail?: string }) => `${error.code} ${error.detail}`,
        ),
      ),
    )
    t.regex(codes[0] ?? '', /^SLU_LOG_FORBIDDEN hardware\.telemetry/)
    t.regex(codes[1] ?? '', /^SLU_LOG_FORBIDDEN group another/)
    t.regex(codes[2] ?? '', /^SLU_LOG_FORBIDDEN fenced producer holder/)
  })
})

kafkaTest('secure kafka: the egress process runs with the rights of docs/kafka-access.md alone: it reads summaries and no prompt, answer or telemetry', async (t) => {
  t.timeout(90_000)
  await using(secure('operator'), (driver) => driver.admin().createTopics(topicSpecs({ prefix: '', partitions: 1, replication: 1, maxMessageBytes: 1 << 20 })))
  const caFile = join(dir, 'ca.pem')
  const site = siteInFolder((s) => {
    s['log'] = {
      driver: 'kafka',
      topics: { partitions: 1 },
      kafka: { brokers: secure('egress').brokers, tls: { caFile }, sasl: { mechanism: 'scram-sha-512', usernameEnv: 'TEST_KAFKA_USER', passwordEnv: 'TEST_KAFKA_PASSWORD' } },
    }
  })
  const running = startSluice(['run', 'forward-summaries', '--site', site.file], { TEST_KAFKA_USER: 'egress', TEST_KAFKA_PASSWORD: PASSWORDS.egress })
  const committed = async (): Promise<boolean> => (await using(secure('operator'), (driver) => driver.admin().committed('sluice.forward-summaries', 'metrics.windows'))).size > 0
  await until(() => running.stderr().includes('running'), 30_000, running.stderr)
  await using(secure('operator'), (driver) => driver.producer().send([{ topic: 'metrics.windows', key: null, value: Buffer.from('no summary') }]))
  await until(committed, 30_000, running.stderr)
  running.child.kill('SIGTERM')
  const ended = await running.finished
  t.is(ended.code, 0, ended.stderr)
  t.notRegex(ended.stderr, /SLU_LOG_FORBIDDEN/)
  site.remove()
})
