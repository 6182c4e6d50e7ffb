/**
 * From what kafkajs throws to our codes, by the protocol's error name, the socket's error code and who was asked.
 *
 * Owns: that table. An address that was not in the bootstrap list and cannot be reached was advertised by a broker: SLU_LOG_ADVERTISED.
 */
import { SluiceError, type ErrorCode } from '../../../schemas/errors.ts'

interface KafkaThrown {
  readonly name?: string
  readonly type?: string
  readonly code?: string
  readonly message?: string
  readonly broker?: string
  readonly cause?: unknown
  readonly originalError?: unknown
  /** Topics that the metadata does not have (metadata.ts). */
  readonly gone?: readonly string[]
  readonly errors?: readonly unknown[]
}

const BY_TYPE: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ['UNKNOWN_TOPIC_OR_PARTITION', 'SLU_LOG_TOPIC_MISSING'],
  ['INVALID_TOPIC_EXCEPTION', 'SLU_LOG_TOPIC_MISSING'],
  ['TOPIC_AUTHORIZATION_FAILED', 'SLU_LOG_FORBIDDEN'],
  ['GROUP_AUTHORIZATION_FAILED', 'SLU_LOG_FORBIDDEN'],
  ['CLUSTER_AUTHORIZATION_FAILED', 'SLU_LOG_FORBIDDEN'],
  ['TRANSACTIONAL_ID_AUTHORIZATION_FAILED', 'SLU_LOG_FORBIDDEN'],
  ['SASL_AUTHENTICATION_FAILED', 'SLU_LOG_AUTH'],
  ['UNSUPPORTED_SASL_MECHANISM', 'SLU_LOG_AUTH'],
  ['ILLEGAL_SASL_STATE', 'SLU_LOG_LISTENER'],
  ['MESSAGE_TOO_LARGE', 'SLU_LOG_RECORD_TOO_LARGE'],
  ['RECORD_LIST_TOO_LARGE', 'SLU_LOG_RECORD_TOO_LARGE'],
  ['OFFSET_METADATA_TOO_LARGE', 'SLU_LOG_METADATA_TOO_LARGE'],
  ['OFFSET_OUT_OF_RANGE', 'SLU_LOG_TRUNCATED'],
  ['INVALID_PRODUCER_EPOCH', 'SLU_LOG_FENCED'],
  ['PRODUCER_FENCED', 'SLU_LOG_FENCED'],
  ['INVALID_PRODUCER_ID_MAPPING', 'SLU_LOG_FENCED'],
  ['UNKNOWN_MEMBER_ID', 'SLU_LOG_STALE_EPOCH'],
  ['ILLEGAL_GENERATION', 'SLU_LOG_STALE_EPOCH'],
  ['REBALANCE_IN_PROGRESS', 'SLU_LOG_STALE_EPOCH'],
  ['FENCED_INSTANCE_ID', 'SLU_LOG_STALE_EPOCH'],
])

/** States of a cluster that answers, which pass by themselves. */
const PASSING = new Set([
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_FOR_PARTITION',
  'REQUEST_TIMED_OUT',
  'NETWORK_EXCEPTION',
  'REPLICA_NOT_AVAILABLE',
  'BROKER_NOT_AVAILABLE',
  'GROUP_COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR_FOR_GROUP',
  'GROUP_LOAD_IN_PROGRESS',
  'COORDINATOR_LOAD_IN_PROGRESS',
  'CONCURRENT_TRANSACTIONS',
  'KAFKA_STORAGE_ERROR',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'NOT_CONTROLLER',
])

const UNREACHABLE = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ETIMEDOUT', 'ENOTFOUND', 'EAI_AGAIN'])
const CLOSED = new Set(['ECONNRESET', 'EPIPE', 'ECONNABORTED'])

/** Of Node's and OpenSSL's codes, the first that fits. */
const BY_TLS: readonly (readonly [RegExp, ErrorCode, (at: string) => string])[] = [
  [/^CERT_HAS_EXPIRED$/, 'SLU_LOG_CERTIFICATE', (at) => `that of ${at} has expired`],
  [/^CERT_NOT_YET_VALID$/, 'SLU_LOG_CERTIFICATE', (at) => `that of ${at} is not valid yet`],
  [/ALTNAME|HOSTNAME_MISMATCH/, 'SLU_LOG_CERTIFICATE', (at) => `that of ${at} is not for this name`],
  [/ALERT_.*(CERTIFICATE|UNKNOWN_CA)/, 'SLU_LOG_CERTIFICATE', (at) => `${at} asks for a client certificate and got none that it trusts (log.kafka.tls.certFile)`],
  [
    /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|INVALID_CA$|INVALID_PURPOSE$|PATH_LENGTH_)/,
    'SLU_LOG_CERTIFICATE',
    (at) => `that of ${at} is of no authority known here (log.kafka.tls.caFile)`,
  ],
  [/^FOREIGN_HTTP$/, 'SLU_LOG_LISTENER', (at) => `${at} speaks HTTP`],
  [/^FOREIGN_BYTES$/, 'SLU_LOG_LISTENER', (at) => `${at} does not speak Kafka`],
  [/^FOREIGN_TLS$/, 'SLU_LOG_LISTENER', (at) => `${at} speaks TLS, log.kafka.tls is not set`],
  [/^EPROTO$|^ERR_SSL_WRONG_VERSION_NUMBER$/, 'SLU_LOG_LISTENER', (at) => `${at} does not speak TLS, log.kafka.tls is set`],
  [/^ERR_(SSL|TLS)_/, 'SLU_LOG_LISTENER', (at) => `${at} and we agree on no way of speaking TLS`],
]

/** What no other broker and no waiting mends: whoever reads or joins is told, and does not try for ever. */
export const FATAL_WHILE_READING: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['SLU_LOG_FORBIDDEN', 'SLU_LOG_AUTH', 'SLU_LOG_CERTIFICATE'])

/** The error and what it wraps, outermost first. */
function chain(thrown: unknown): KafkaThrown[] {
  const found: KafkaThrown[] = []
  const visit = (e: unknown): void => {
    if (typeof e !== 'object' || e === null || found.includes(e as KafkaThrown) || found.length > 12) return
    const error = e as KafkaThrown
    found.push(error)
    visit(error.cause)
    visit(error.originalError)
    for (const inner of error.errors ?? []) visit(inner)
  }
  visit(thrown)
  return found
}

/** The protocol's error name of a thrown error, its causes included; null if it has none. */
export function typeOf(thrown: unknown): string | null {
  return chain(thrown).find((e) => typeof e.type === 'string')?.type ?? null
}

/** What a broker refused of a creation of topics, by topic, but for those that are there already; of anything else the error itself. */
export function creationRefused(thrown: unknown): { readonly topic: string | null; readonly error: unknown } | null {
  const each = chain(thrown).find((e) => e.errors !== undefined)?.errors ?? [thrown]
  const error = each.find((one) => typeOf(one) !== 'TOPIC_ALREADY_EXISTS')
  return error === undefined ? null : { topic: (error as { topic?: string } | null)?.topic ?? null, error }
}

const addressOf = (text: string): string | undefined => /(?:\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:]+\]|[\w.-]+):\d{1,5}/i.exec(text)?.[0]

/** Words for a connection that opens and ends. Not the listener's error for certain: a proxy whose broker is away does the same. */
function hungUp(text: string, errors: readonly KafkaThrown[]): string | null {
  if (/before secure TLS connection was established/i.test(text)) return 'in the TLS handshake: does this listener speak plain text (log.kafka.tls), or is it down behind a proxy?'
  const isClosed = errors.some((e) => e.name === 'KafkaJSConnectionClosedError' || CLOSED.has(e.code ?? '')) || /closed (connection|by the server)/i.test(text)
  return isClosed ? 'does this listener want a user (log.kafka.sasl) or TLS (log.kafka.tls), or is it down behind a proxy?' : null
}

function connectionCode(errors: readonly KafkaThrown[], bootstrap: readonly string[]): { code: ErrorCode; detail: string } | null {
  const text = errors.map((e) => e.message ?? '').join(' ')
  const broker = errors.find((e) => typeof e.broker === 'string')?.broker ?? addressOf(text)
  const at = broker ?? bootstrap.join(', ')
  const hangUp = hungUp(text, errors)
  if (hangUp !== null) return { code: 'SLU_LOG_CLOSED', detail: `${at}: ${hangUp}` }
  for (const [pattern, code, words] of BY_TLS) if (errors.some((e) => typeof e.code === 'string' && pattern.test(e.code))) return { code, detail: words(at) }
  // Nothing was sent: our own files.
  if (errors.some((e) => (e.message ?? '').startsWith('Failed to connect: '))) return { code: 'SLU_LOG_CERTIFICATE', detail: 'a file of log.kafka.tls cannot be used' }
  const isUnreachable = errors.some((e) => UNREACHABLE.has(e.code ?? '') || e.name === 'KafkaJSConnectionError' || e.name === 'KafkaJSNoBrokerAvailableError')
  if (isUnreachable) {
    if (broker !== undefined && !bootstrap.includes(broker))
      return { code: 'SLU_LOG_ADVERTISED', detail: `bootstrap ${bootstrap.join(', ')} answered, but its metadata says ${broker}` }
    return { code: 'SLU_LOG_UNREACHABLE', detail: bootstrap.join(', ') }
  }
  return errors.some((e) => e.name === 'KafkaJSRequestTimeoutError') ? { code: 'SLU_LOG_UNREACHABLE', detail: at } : null
}

/** Never loses the original: it is the cause. `detail` says what was being done or to which topic. */
export function kafkaError(thrown: unknown, bootstrap: readonly string[], detail: string): SluiceError {
  if (thrown instanceof SluiceError) return thrown
  const errors = chain(thrown)
  const gone = errors.find((e) => e.gone !== undefined && e.gone.length > 0)?.gone
  for (const { type } of errors) {
    const code = type === undefined ? undefined : BY_TYPE.get(type)
    if (code === 'SLU_LOG_TOPIC_MISSING') return new SluiceError(code, gone?.join(', ') ?? detail, thrown)
    if (code !== undefined) return new SluiceError(code, type === 'ILLEGAL_SASL_STATE' ? `${bootstrap.join(', ')} takes no user, log.kafka.sasl is set` : detail, thrown)
  }
  if (errors.some((e) => e.name === 'KafkaJSSASLAuthenticationError')) return new SluiceError('SLU_LOG_AUTH', detail, thrown)
  const passing = errors.find((e) => PASSING.has(e.type ?? ''))?.type
  if (passing !== undefined) return new SluiceError('SLU_LOG_NOT_READY', `${detail}: ${passing}`, thrown)
  const connection = connectionCode(errors, bootstrap)
  if (connection !== null) return new SluiceError(connection.code, connection.detail, thrown)
  // The metadata names no broker for it, or no broker could name the coordinator.
  if (errors.some((e) => e.name === 'KafkaJSBrokerNotFound' || e.name === 'KafkaJSGroupCoordinatorNotFound')) return new SluiceError('SLU_LOG_NOT_READY', detail, thrown)
  return new SluiceError('SLU_LOG_FAILED', detail, thrown)
}
