/** What kafkajs throws, as our codes: the client's own error classes, wrapped as it wraps them, and real sockets. */
import { createServer, type AddressInfo, type Server } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import test from 'ava'
import kafkajs from 'kafkajs'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { creationRefused, kafkaError, typeOf } from '../../../../infra/log/kafka/errors.ts'
import { SluiceError, type ErrorCode } from '../../../../schemas/errors.ts'
import { makeCertificates, type Certificates } from '../../../helpers/certificates.ts'

const BOOTSTRAP = ['kafka-1:9092', 'kafka-2:9092']

const protocol = (type: string): Error => Object.assign(new Error(`the broker says ${type}`), { name: 'KafkaJSProtocolError', type, code: 1, retriable: true })
const refused = (broker: string): Error => new kafkajs.KafkaJSConnectionError(`Connection error: connect ECONNREFUSED 10.0.0.7:9092`, { broker, code: 'ECONNREFUSED' })
/** As the client's retrier does. */
const retried = (error: Error): Error => new kafkajs.KafkaJSNumberOfRetriesExceeded(error, { retryCount: 10, retryTime: 500 })
const codeOf = (thrown: unknown): ErrorCode => kafkaError(thrown, BOOTSTRAP, 'orders').code

const BY_CODE: Partial<Record<ErrorCode, readonly string[]>> = {
  SLU_LOG_TOPIC_MISSING: ['UNKNOWN_TOPIC_OR_PARTITION', 'INVALID_TOPIC_EXCEPTION'],
  SLU_LOG_FORBIDDEN: ['TOPIC_AUTHORIZATION_FAILED', 'GROUP_AUTHORIZATION_FAILED', 'CLUSTER_AUTHORIZATION_FAILED', 'TRANSACTIONAL_ID_AUTHORIZATION_FAILED'],
  SLU_LOG_AUTH: ['SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM'],
  SLU_LOG_LISTENER: ['ILLEGAL_SASL_STATE'],
  SLU_LOG_RECORD_TOO_LARGE: ['MESSAGE_TOO_LARGE', 'RECORD_LIST_TOO_LARGE'],
  SLU_LOG_METADATA_TOO_LARGE: ['OFFSET_METADATA_TOO_LARGE'],
  SLU_LOG_TRUNCATED: ['OFFSET_OUT_OF_RANGE'],
  SLU_LOG_FENCED: ['INVALID_PRODUCER_EPOCH', 'PRODUCER_FENCED', 'INVALID_PRODUCER_ID_MAPPING'],
  SLU_LOG_STALE_EPOCH: ['UNKNOWN_MEMBER_ID', 'ILLEGAL_GENERATION', 'REBALANCE_IN_PROGRESS', 'FENCED_INSTANCE_ID'],
  SLU_LOG_NOT_READY: ['NOT_ENOUGH_REPLICAS', 'LEADER_NOT_AVAILABLE', 'NOT_LEADER_FOR_PARTITION', 'REQUEST_TIMED_OUT', 'NOT_COORDINATOR_FOR_GROUP', 'CONCURRENT_TRANSACTIONS'],
  SLU_LOG_FAILED: ['CORRUPT_MESSAGE', 'UNSUPPORTED_VERSION', 'A_CODE_OF_NEXT_YEAR'],
}

for (const [code, types] of Object.entries(BY_CODE))
  test(`kafka errors: ${types.join(', ')} become ${code}, also inside the client's retries`, (t) => {
    for (const type of types) {
      t.is(codeOf(protocol(type)), code as ErrorCode, type)
      t.is(codeOf(retried(protocol(type))), code as ErrorCode, `${type}, retried`)
    }
  })

test('kafka errors: a broker the metadata does not name and a coordinator nobody names are states that pass, not a failure that stands', (t) => {
  for (const name of ['KafkaJSBrokerNotFound', 'KafkaJSGroupCoordinatorNotFound']) t.is(codeOf(retried(Object.assign(new Error('not found'), { name }))), 'SLU_LOG_NOT_READY')
})

test('kafka errors: a refusal among topics that are there already is found, one beside no refusal is none', (t) => {
  const of = (topic: string, type: string): Error => Object.assign(protocol(type), { topic })
  const aggregate = (...errors: Error[]): Error => Object.assign(new Error('Topic creation errors'), { name: 'KafkaJSAggregateError', errors })
  const bad = of('b', 'INVALID_REPLICATION_FACTOR')
  t.deepEqual(creationRefused(retried(aggregate(of('a', 'TOPIC_ALREADY_EXISTS'), bad))), { topic: 'b', error: bad })
  t.is(creationRefused(aggregate(of('a', 'TOPIC_ALREADY_EXISTS'), of('b', 'TOPIC_ALREADY_EXISTS'))), null)
  const away = refused('kafka-1:9092')
  t.deepEqual(creationRefused(away), { topic: null, error: away })
})

test('kafka errors: a bootstrap address that refuses is unreachable, never taken for an advertised one', (t) => {
  for (const error of [refused('kafka-1:9092'), retried(refused('kafka-2:9092')), retried(retried(refused('kafka-1:9092')))]) t.is(codeOf(error), 'SLU_LOG_UNREACHABLE')
})

test('kafka errors: an address outside the bootstrap list was advertised by a broker, and the message names it', (t) => {
  const error = kafkaError(retried(refused('broker.internal:29092')), BOOTSTRAP, 'orders')
  t.is(error.code, 'SLU_LOG_ADVERTISED')
  t.regex(error.detail, /broker\.internal:29092/)
})

const failed = (code: string, text = code): Error => retried(new kafkajs.KafkaJSConnectionError(`Connection error: ${text}`, { broker: 'kafka-1:9092', code }))

const BY_SOCKET: readonly (readonly [code: string, is: ErrorCode, words: RegExp])[] = [
  ['CERT_HAS_EXPIRED', 'SLU_LOG_CERTIFICATE', /has expired/],
  ['CERT_NOT_YET_VALID', 'SLU_LOG_CERTIFICATE', /not valid yet/],
  ['ERR_TLS_CERT_ALTNAME_INVALID', 'SLU_LOG_CERTIFICATE', /not for this name/],
  ['SELF_SIGNED_CERT_IN_CHAIN', 'SLU_LOG_CERTIFICATE', /authority/],
  ['DEPTH_ZERO_SELF_SIGNED_CERT', 'SLU_LOG_CERTIFICATE', /authority/],
  ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'SLU_LOG_CERTIFICATE', /authority/],
  ['CERT_SIGNATURE_FAILURE', 'SLU_LOG_CERTIFICATE', /authority/],
  ['ERR_SSL_SSL/TLS_ALERT_BAD_CERTIFICATE', 'SLU_LOG_CERTIFICATE', /client certificate/],
  ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'SLU_LOG_CERTIFICATE', /client certificate/],
  ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'SLU_LOG_CERTIFICATE', /client certificate/],
  ['ERR_SSL_WRONG_VERSION_NUMBER', 'SLU_LOG_LISTENER', /does not speak TLS/],
  ['EPROTO', 'SLU_LOG_LISTENER', /does not speak TLS/],
  ['ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION', 'SLU_LOG_LISTENER', /no way of speaking TLS/],
  ['FOREIGN_TLS', 'SLU_LOG_LISTENER', /speaks TLS/],
  ['FOREIGN_HTTP', 'SLU_LOG_LISTENER', /speaks HTTP/],
  ['FOREIGN_BYTES', 'SLU_LOG_LISTENER', /does not speak Kafka/],
  ['ECONNRESET', 'SLU_LOG_CLOSED', /behind a proxy/],
  ['EPIPE', 'SLU_LOG_CLOSED', /behind a proxy/],
]

for (const [code, is, words] of BY_SOCKET)
  test(`kafka errors: ${code} of a socket becomes ${is} that names the broker and says ${words.source}`, (t) => {
    const error = kafkaError(failed(code), BOOTSTRAP, 'orders')
    t.is(error.code, is)
    t.regex(error.detail, words)
    t.regex(error.detail, /kafka-1:9092/)
  })

test('kafka errors: a TLS handshake that is cut off is a connection that was closed, whichever code the socket gives', (t) => {
  t.regex(
    kafkaError(failed('ECONNRESET', 'Client network socket disconnected before secure TLS connection was established'), BOOTSTRAP, 'orders').message,
    /SLU_LOG_CLOSED.*TLS handshake/,
  )
})

test('kafka errors: files of ours that no TLS can be made of are no broker that is away', (t) => {
  t.is(codeOf(retried(new kafkajs.KafkaJSConnectionError('Failed to connect: error:0480006C:PEM routines::no start line', { broker: 'kafka-1:9092' }))), 'SLU_LOG_CERTIFICATE')
})

test('kafka errors: a refused password is SLU_LOG_AUTH, whether it has a protocol name or only a class', (t) => {
  const bare = Object.assign(new Error('SASL PLAIN authentication failed'), { name: 'KafkaJSSASLAuthenticationError' })
  t.is(codeOf(bare), 'SLU_LOG_AUTH')
  t.is(codeOf(retried(bare)), 'SLU_LOG_AUTH')
})

test('kafka errors: a request without an answer is unreachable, a connection that is closed is named so, and neither is a failure that stands', (t) => {
  t.is(codeOf(Object.assign(new Error('Request timed out'), { name: 'KafkaJSRequestTimeoutError', broker: 'kafka-1:9092' })), 'SLU_LOG_UNREACHABLE')
  t.is(codeOf(Object.assign(new Error('Closed connection'), { name: 'KafkaJSConnectionClosedError', broker: 'kafka-1:9092' })), 'SLU_LOG_CLOSED')
  for (const text of ['Closed connection while connecting', 'Connection closed by the server'])
    t.is(codeOf(new kafkajs.KafkaJSConnectionError(text, { broker: 'kafka-1:9092' })), 'SLU_LOG_CLOSED')
})

test('kafka errors: the name is found in a cause, an original error and a list of errors; a circle does not hang', (t) => {
  const inner = protocol('GROUP_AUTHORIZATION_FAILED')
  t.is(typeOf(new Error('outer', { cause: new Error('middle', { cause: inner }) })), 'GROUP_AUTHORIZATION_FAILED')
  t.is(typeOf(Object.assign(new Error('outer'), { originalError: inner })), 'GROUP_AUTHORIZATION_FAILED')
  t.is(typeOf(new AggregateError([new Error('other'), inner])), 'GROUP_AUTHORIZATION_FAILED')
  const circle: Error & { cause?: unknown } = new Error('circle')
  circle.cause = circle
  t.is(typeOf(circle), null)
  t.is(codeOf(circle), 'SLU_LOG_FAILED')
})

test('kafka errors: the cause is never lost, our own errors pass unchanged, and what is no error is no crash', (t) => {
  for (const thrown of [protocol('REBALANCE_IN_PROGRESS'), retried(refused('elsewhere:1')), new Error('odd'), 'a text']) t.is(kafkaError(thrown, BOOTSTRAP, 'orders').cause, thrown)
  const ours = new SluiceError('SLU_LOG_FENCED', 'lane 3')
  t.is(kafkaError(ours, BOOTSTRAP, 'orders'), ours)
  for (const thrown of ['a text', 7, null, undefined]) t.is(codeOf(thrown), 'SLU_LOG_FAILED')
})

/** A port on which nothing listens. */
async function closedPort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

for (const host of ['127.0.0.1', 'localhost'])
  test(`kafka errors: on a closed port of ${host} every part of the driver says SLU_LOG_UNREACHABLE within 10 s and none hangs`, async (t) => {
    const driver = createKafkaDriver({ brokers: [`${host}:${await closedPort()}`] })
    const startMs = performance.now()
    const consumer = driver.consumer({ group: 'g', topics: ['orders'] })
    const events = { assigned: async () => [], revoked: async () => {}, records: () => {}, held: () => {}, failed: () => {} }
    const outcomes = await Promise.allSettled([
      consumer.start(events),
      driver.producer().send([{ topic: 'orders', key: null, value: Buffer.from('v') }]),
      driver.fencedProducer('lane-1'),
      driver.reader().open({ topic: 'orders', partitions: 'all', from: 'start', committedOnly: true, untilEnd: true }),
      driver.admin().topics(''),
    ])
    t.true(performance.now() - startMs < 10_000)
    t.deepEqual(
      outcomes.map((o) => (o.status === 'rejected' ? (o.reason as SluiceError).code : 'resolved')),
      Array.from({ length: 5 }, () => 'SLU_LOG_UNREACHABLE' as const),
    )
    await driver.close()
  })

const TLS_LISTENERS: readonly (readonly [string, (ours: Certificates['server']) => Server, ErrorCode, RegExp])[] = [
  [
    'with no cipher of ours',
    (ours) => createTlsServer({ maxVersion: 'TLSv1.2', ciphers: 'PSK-AES128-CBC-SHA:@SECLEVEL=0', ...ours }),
    'SLU_LOG_LISTENER',
    /no way of speaking TLS/,
  ],
  [
    'that is too old for us',
    (ours) => createTlsServer({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'ALL:@SECLEVEL=0', ...ours }),
    'SLU_LOG_LISTENER',
    /no way of speaking TLS/,
  ],
  ['that answers in plain text', () => createServer((socket) => socket.once('data', () => socket.write('220 ready'))), 'SLU_LOG_LISTENER', /does not speak TLS/],
  ['that hangs up', () => createServer((socket) => socket.once('data', () => socket.end())), 'SLU_LOG_CLOSED', /in the TLS handshake: does this listener speak plain text/],
]
for (const [what, listen, code, words] of TLS_LISTENERS)
  test(`kafka errors: a listener ${what} is named by every part of the driver that starts on it`, async (t) => {
    const { server: ours, ca } = await makeCertificates()
    const server = listen(ours).on('connection', (socket) => socket.on('error', () => undefined))
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const driver = createKafkaDriver({ brokers: [`127.0.0.1:${(server.address() as AddressInfo).port}`], tls: { ca } })
    const events = { assigned: async () => [], revoked: async () => {}, records: () => {}, held: () => {}, failed: () => {} }
    const outcomes = await Promise.allSettled([driver.admin().topics(''), driver.consumer({ group: 'g', topics: ['orders'] }).start(events)])
    for (const outcome of outcomes) {
      const error = outcome.status === 'rejected' ? (outcome.reason as SluiceError) : null
      t.is(error?.code, code)
      t.regex(error?.detail ?? '', words)
    }
    await driver.close()
    await new Promise((resolve) => server.close(resolve))
  })
