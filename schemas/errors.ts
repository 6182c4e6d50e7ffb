/**
 * The error table (design.md §4.6): the table is the file. Code decides, not class.
 *
 * Owns: every code Sluice can show, its message template, HTTP status where a client sees it, fix hint and disposition.
 * One table, so over 300 lines.
 * Messages never repeat their cause; `cause` carries the chain. Every code has a test and a `sluice help <code>` page (made from this table).
 */

/**
 * What the runtime does with a record or partition that meets the error.
 * `retry`: again later, in order per key. `reject`: the caller's fault, answer. `dead-letter`: park the record and go on.
 * `hold`: stop this partition or egress and alarm; nothing dropped. `fatal`: stop the process.
 */
export type Disposition = 'retry' | 'reject' | 'dead-letter' | 'hold' | 'fatal'

/** Exit codes of the CLI (design.md §4.4). */
export type ExitCode = 1 | 2 | 3

interface ErrorRow {
  readonly what: string
  readonly why: string
  readonly fix: string
  readonly disposition: Disposition
  readonly exit: ExitCode
  readonly http?: number
}

const row = (what: string, disposition: Disposition, exit: ExitCode, why: string, fix: string, http?: number): ErrorRow => ({
  what,
  why,
  fix,
  disposition,
  exit,
  ...(http === undefined ? {} : { http }),
})

export const errors = {
  // configuration and use
  SLU_CONFIG_INVALID: row(
    'the site configuration has problems',
    'fatal',
    1,
    'A key is unknown, a value has the wrong type, unit or range, or a reference names nothing.',
    'Correct the lines listed; `sluice config check` lists them again. Nothing was started.',
  ),
  SLU_CONFIG_MISSING: row(
    'the configuration file or a file it names cannot be read',
    'fatal',
    1,
    'The path does not exist or is not readable by this user.',
    'Check the path printed; give another with --site <file>.',
  ),
  SLU_USE: row('the command was called wrongly', 'fatal', 1, 'An argument or option is unknown, missing or malformed.', 'See `sluice <verb> --help`.'),
  SLU_HANDLER_INVALID: row(
    'the handler file does not define a function that can run',
    'fatal',
    1,
    'A member of its definition is missing, misspelt or out of range, its default export is not the value of defineFunction(), or the file failed to load.',
    'Correct the member named, or export default defineFunction({...}); see README, "Write a handler".',
  ),
  SLU_INTERNAL: row('an invariant of Sluice itself does not hold', 'fatal', 2, 'This is a defect in Sluice.', 'Keep the log and report it with the chain printed below.'),
  // the log
  SLU_LOG_UNREACHABLE: row(
    'no broker answered',
    'retry',
    2,
    'Nothing listens at the bootstrap addresses, or a firewall is between.',
    'Check log.kafka.brokers and that the broker runs (`npm run kafka` starts one here).',
  ),
  SLU_LOG_CLOSED: row(
    'the broker closes the connection',
    'retry',
    2,
    'The listener expects TLS or a user and gets none, or the reverse; or a proxy takes the connection while its broker is away; or the broker is stopping.',
    'Compare log.kafka.tls and log.kafka.sasl with the listener of this port; if they fit, see whether the broker behind it runs.',
  ),
  SLU_LOG_NOT_READY: row(
    'the brokers answer, but do not serve this now',
    'retry',
    2,
    'A leader or coordinator is being elected, or fewer replicas are in sync than min.insync.replicas asks for.',
    'Nothing if it passes within seconds; else look for a broker that is down and for partitions without a leader or in-sync replicas.',
  ),
  // Not fatal: of a running member's brokers one that is not in its bootstrap list may be down, and looks the same. A start gives up on it, after a while.
  SLU_LOG_ADVERTISED: row(
    'the broker advertised an address this client cannot reach',
    'retry',
    2,
    'The bootstrap address answered, but its metadata names another one that does not.',
    'If that broker is up, set its advertised.listeners to an address reachable from here.',
  ),
  SLU_LOG_LISTENER: row(
    'the listener speaks another protocol',
    'fatal',
    2,
    'TLS on one side and plain text on the other, a user where none is taken, or not a Kafka listener at all.',
    'Compare log.kafka.brokers, log.kafka.tls and log.kafka.sasl with the listeners of the broker.',
  ),
  SLU_LOG_CERTIFICATE: row(
    'a certificate was not accepted',
    'fatal',
    2,
    'That of the broker has expired, is for another name, or is of an authority not known here; or the broker does not accept ours.',
    'Authority: log.kafka.tls.caFile. Name: the addresses of log.kafka.brokers and advertised.listeners must be among its SANs. Ours: certFile and keyFile.',
  ),
  SLU_LOG_AUTH: row(
    'the broker refused the credentials',
    'fatal',
    2,
    'User, password or mechanism is not what the broker expects.',
    'Check log.kafka.sasl and the environment variables it names.',
  ),
  SLU_LOG_FORBIDDEN: row(
    'the broker refused the operation',
    'hold',
    2,
    'The principal lacks an ACL for this topic, group or transactional id.',
    'Grant it (docs/kafka-access.md lists what each function needs) and restart.',
  ),
  SLU_LOG_TOPIC_MISSING: row(
    'a topic does not exist',
    'hold',
    2,
    'It was never created, or was deleted: Sluice never relies on automatic creation. Nothing starts without it; what runs holds the partitions that need it.',
    'Run `sluice topics apply`; for those of your own handlers with their files behind it, or `--topics a,b`. What runs goes on by itself then.',
  ),
  SLU_LOG_TOPIC_MISCONFIGURED: row(
    'a topic has settings that break a guarantee',
    'fatal',
    2,
    'A windowed input needs LogAppendTime (W1); requests and results need the same partition count (R1).',
    'Recreate or alter the topic as `sluice topics ls` says.',
  ),
  SLU_LOG_TRUNCATED: row(
    'the committed offset is no longer in the log',
    'hold',
    2,
    'Retention removed records that had not been read, or the topic was recreated. Going on silently would lose them (C7).',
    'Accept the loss by resetting the offset of its group with the tools of your Kafka, or give a function of your own another name, which has a new group.',
  ),
  SLU_LOG_STALE_EPOCH: row(
    'the partition belongs to another member now',
    'retry',
    2,
    'A rebalance moved it while work was under way; the work is void (C3).',
    'Nothing: the new owner does it.',
  ),
  SLU_LOG_FENCED: row(
    'a newer holder has fenced this producer',
    'retry',
    2,
    'Another process opened the fenced producer of the same partition (C8, R1).',
    'Nothing if a rebalance is under way; else look for two sites with one topicPrefix.',
  ),
  SLU_LOG_RECORD_TOO_LARGE: row(
    'a record is larger than the topic accepts',
    'dead-letter',
    2,
    'max.message.bytes of the topic is smaller than the record.',
    'Send less, or raise the limit: `log.topics.maxMessageBytes` of site.yaml for topics that are yet to be created, max.message.bytes with the tools of your Kafka for one that is there.',
  ),
  SLU_LOG_METADATA_TOO_LARGE: row(
    'commit metadata is larger than 3,500 bytes',
    'hold',
    2,
    'Brokers refuse more than 4,096 (C2).',
    'Use fewer source partitions per partials topic.',
  ),
  SLU_LOG_NOT_TRANSACTIONAL: row(
    'the log driver has no transactions that hold offsets',
    'fatal',
    2,
    '`delivery: transactional` and `park: key` write in fenced transactions; this driver cannot.',
    'Leave the option out, or use another log.driver.',
  ),
  SLU_LOG_STORAGE: row(
    'the embedded log cannot write its files',
    'fatal',
    2,
    'The disk is full, read-only, or another process has the log open.',
    'Free space, check permissions of log.embedded.dir, stop the other process.',
  ),
  SLU_LOG_CODEC: row(
    'a batch of records is compressed by a codec that is not here',
    'hold',
    2,
    'lz4 and snappy need a native package for this platform, which the installation left out.',
    'Install with optional packages (`npm ci` without --omit=optional) and restart, or let the producer use gzip or zstd. The partition goes on by itself.',
  ),
  SLU_LOG_BATCH_TOO_LARGE: row(
    'a batch of records unpacks to more than is taken',
    'hold',
    2,
    'A few kilobytes can unpack to gigabytes: the bound protects memory (C6). None of its records was handled.',
    'Find the producer by topic, partition and offset. To go on without the batch, stop the function and set the offset of its group behind it with the tools of your Kafka.',
  ),
  SLU_LOG_BATCH_UNREADABLE: row(
    'a batch of records cannot be read',
    'hold',
    2,
    'Its bytes are damaged, or are packed in a way that is not known here. None of its records was handled.',
    'See the cause. To go on without the batch, stop the function and set the offset of its group behind it with the tools of your Kafka.',
  ),
  SLU_LOG_DLQ_UNWRITABLE: row(
    'a dead letter could not be written',
    'hold',
    2,
    'The partition stops rather than lose the record (D3).',
    'Check the *.dlq topic, its max.message.bytes and its permissions; the partition goes on by itself.',
  ),
  SLU_LOG_FAILED: row(
    'the log answered with an error that is not retried',
    'hold',
    2,
    'See the cause printed below.',
    'See the cause; the partition stands until restarted. A commit is tried again meanwhile: work goes on.',
  ),
  // records
  SLU_RECORD_UNDECODABLE: row(
    'a record cannot be decoded',
    'dead-letter',
    1,
    'The bytes are not what the topic promises: cut short, another format, or damaged.',
    'Look at the dead letter: `sluice tail <topic>.dlq`.',
    400,
  ),
  SLU_RECORD_SCHEMA_UNKNOWN: row(
    'a record names a schema nobody knows',
    'dead-letter',
    1,
    'The fingerprint or schema id is not among the shipped schemas.',
    'Upgrade Sluice, or register the writer schema.',
    400,
  ),
  SLU_RECORD_SCHEMA_HOSTILE: row(
    'a foreign schema was refused',
    'dead-letter',
    1,
    'It holds a forbidden name such as __proto__, or is too large or too deep.',
    'Correct the producer.',
    400,
  ),
  SLU_RECORD_TOO_LARGE: row(
    'a record is larger than this function accepts',
    'dead-letter',
    1,
    'The limit protects memory (C6).',
    'Send smaller records, or raise the function’s limit.',
    413,
  ),
  SLU_RECORD_FUTURE: row(
    'a record is dated later than its append time allows',
    'dead-letter',
    1,
    'The clock of the producer runs ahead; one bad clock must not close every window (W1).',
    'Correct the clock of the producer.',
  ),
  SLU_RECORD_REFUSED: row('a handler refused the record', 'dead-letter', 1, 'Thrown by handlers of your own; see its message.', 'Correct the record and redrive it.', 422),
  SLU_RECORD_KEY_PARKED: row(
    'an earlier record of its key is parked',
    'dead-letter',
    1,
    'The function parks by key (D4): what follows a record that could not be handled waits behind it in the DLQ.',
    'Correct what the first dead letter of the key says, then `sluice dlq retry <topic>`: all of the key come back in order.',
  ),
  SLU_RECORD_PARKED_FULL: row(
    'as many records are parked by key as the function may remember',
    'hold',
    2,
    'One more would be forgotten, and the order of its key lost (D4). The record waits and is tried again.',
    'Raise parkedRecordsMax of the function and restart it; then correct the cause and put the dead letters back with `sluice dlq retry`. A task in key order goes on once they are put back.',
  ),
  SLU_HANDLER_FAILED: row(
    'a handler threw, or emitted what it may not',
    'dead-letter',
    1,
    'See the chain printed below; the record is parked with its coordinates.',
    'Correct the handler and redrive the record.',
    500,
  ),
  SLU_HANDLER_RETRY: row(
    'a handler asks to be tried again',
    'retry',
    1,
    'Thrown by handlers of your own for what may pass by itself; the record is tried again, up to the tries of its function, then parked.',
    'See its message; once the cause is gone, `sluice dlq retry` puts back what was parked.',
    503,
  ),
  SLU_HANDLER_TIMEOUT: row('a handler did not finish in time', 'retry', 1, 'Its deadline passed and it was aborted.', 'Raise the deadline or make the effect faster.', 504),
  SLU_HANDLER_UNCAUGHT: row(
    'something was thrown that no call of ours was there to catch',
    'fatal',
    2,
    'A handler left a timer, an event listener or a promise behind that threw. What state the process is in is not known: it stops in order, with exit code 2.',
    'Await or catch it in the handler. What was acknowledged is committed; the rest is done again by the next process.',
  ),
  SLU_HANDLER_STATE_FULL: row(
    'a fold has as many states as it may have',
    'hold',
    2,
    'A record of a further key came. A state dropped for it would begin anew, and its row would replace the good one (C8).',
    'Raise statesMax of the function and start it again. Nothing was dropped.',
  ),
  // windows
  SLU_WINDOW_PARAMETERS: row(
    'the window parameters differ from those of the consumer group',
    'fatal',
    2,
    'Other parameters under the same group would emit other windows for the same records (W3).',
    'Restore the parameters. To change them: give a function of your own another name, which has a group of its own (`sluice.<name>`), and another partialsTopic; give a site another topicPrefix, to which its producers publish then, or with the embedded log `sluice start --fresh`.',
  ),
  SLU_WINDOW_FAILED: row(
    'what a window comes to cannot be encoded',
    'hold',
    2,
    'The function threw while it closed a window, or returned what no log takes. No one record is at fault, and a window passed over would be lost silently.',
    'Correct the function and start it again: its open windows are folded again from the log.',
  ),
  // telemetry
  SLU_TELEMETRY_PART: row(
    'part of a scrape could not be parsed',
    'dead-letter',
    1,
    'The rest was kept; the lines named were not understood (N2).',
    'Look at the dead letter: it names line and reason.',
  ),
  SLU_TELEMETRY_FORMAT: row('a record is not in the format of its topic', 'dead-letter', 1, 'Nothing in it could be parsed.', 'Check `sources` in site.yaml and the producer.'),
  SLU_HEALTH_RULES: row('the health rules are not valid', 'fatal', 1, 'A rule names an unknown signal, verdict or threshold.', 'Correct the rule named.'),
  // routing
  SLU_ROUTE_INVALID: row('the request is not valid', 'reject', 1, 'A field is missing or out of range; times are epoch milliseconds, not seconds.', 'Correct the request.', 400),
  SLU_ROUTE_KEY_MISMATCH: row(
    'the record key is not the request id',
    'dead-letter',
    1,
    'One visible result per id rests on the key (R1).',
    'Send the request id as the record key.',
    400,
  ),
  SLU_ROUTE_MODEL_UNKNOWN: row(
    'no pool serves the model',
    'reject',
    1,
    'The model is not in `pools[].endpoints[].models` and no contract was named.',
    'Ask for a served model, or name a contract.',
    404,
  ),
  SLU_ROUTE_API_UNSUPPORTED: row(
    'the api is not spoken by any endpoint of the model',
    'reject',
    1,
    'The endpoints of this model speak another API.',
    'Use the API of the endpoint.',
    400,
  ),
  SLU_ROUTE_CONTRACT_UNKNOWN: row(
    'the contract named does not exist or does not cover the model',
    'reject',
    1,
    'A substitute is used only under a declared contract (R2).',
    'Name a contract of site.yaml.',
    400,
  ),
  SLU_ROUTE_STREAM_UNSUPPORTED: row('streaming is not possible over the log', 'reject', 1, 'A result is one record.', 'Send stream: false, or use the HTTP front door.', 400),
  SLU_ROUTE_BODY_TOO_LARGE: row('the request body is too large', 'reject', 1, 'The limit stands in site.yaml.', 'Send a smaller body.', 413),
  SLU_ROUTE_RESULT_TOO_LARGE: row(
    'the answer is too large for the results topic',
    'reject',
    1,
    'The endpoint answered more than max.message.bytes allows.',
    'Ask for less, or raise the limits.',
    502,
  ),
  SLU_ROUTE_DEADLINE: row(
    'the deadline has passed',
    'reject',
    1,
    'The request was not answered in time and was not, or no longer, executed (R3).',
    'Give more time or ask again.',
    504,
  ),
  SLU_ROUTE_CANCELLED: row('the request was cancelled', 'reject', 1, 'A null value under its id was published.', 'Nothing.', 499),
  SLU_ROUTE_NO_ENDPOINT: row(
    'no endpoint was left',
    'reject',
    1,
    'All endpoints of the model were sick, full or failing until the deadline (R8).',
    'See `evidence.lost` of the result.',
    503,
  ),
  SLU_ROUTE_TENANT_LIMIT: row('too many requests of this tenant wait', 'reject', 1, 'The bound keeps one tenant from starving the others (R6).', 'Slow down.', 429),
  SLU_ROUTE_ENDPOINT_FAILED: row('the endpoints tried all failed', 'reject', 1, 'Attempts or retry budget are used up (R4).', 'See `evidence.attempts`.', 502),
  SLU_ROUTE_ID_REUSED: row('the request id was used before with another body', 'dead-letter', 1, 'An id has one visible result (R1).', 'Use a new id.', 422),
  SLU_ROUTE_STALE: row(
    'the request is older than the deduplication horizon or dated in the future',
    'dead-letter',
    1,
    'Whether it was answered before can no longer be known (R1).',
    'Send it again under a new id with a right createdMs.',
    400,
  ),
  // egress
  SLU_EGRESS_POLICY: row(
    'the policy bundle is not usable',
    'hold',
    3,
    'It is missing, malformed, expired, or its hashes do not match. Nothing leaves.',
    'Correct the bundle; `sluice doctor` names the file.',
  ),
  SLU_EGRESS_UNKNOWN_FIELD: row(
    'a summary carries a field that has no class',
    'dead-letter',
    3,
    'Unknown fields reject the object (E01).',
    'Give the field a class in the schema and the bundle.',
  ),
  SLU_EGRESS_HOLD: row(
    'egress is held',
    'hold',
    3,
    'A fact needed for the decision is missing, or a destination refuses. Nothing was dropped.',
    'See the reason; egress goes on by itself when it is gone.',
  ),
  SLU_EGRESS_CONFLICT: row(
    'the destination holds another object under this key',
    'hold',
    3,
    'First write wins; something else wrote there (W11).',
    'Find out who wrote it; nothing was overwritten.',
  ),
  SLU_LEDGER_UNWRITABLE: row(
    'the ledger cannot be written',
    'fatal',
    3,
    'Disk full, failed fsync, or another writer holds the lock. Nothing leaves without a leaf.',
    'Free space or stop the other writer, then restart.',
  ),
  SLU_LEDGER_CORRUPT: row(
    'the ledger does not verify',
    'hold',
    3,
    'A leaf, tile or checkpoint was changed, truncated or damaged.',
    'Keep the files; `sluice egress verify` names the first bad leaf. Restore from the witness or a copy.',
  ),
  // environment
  SLU_ENV_PORT: row(
    'a port is taken',
    'fatal',
    2,
    'Another process listens there.',
    'Stop it or choose another port: `observability` or `simulation` in site.yaml, --port of `npm run kafka`.',
  ),
  SLU_ENV_SECRET: row(
    'a secret named in site.yaml is not set',
    'fatal',
    2,
    'The environment variable or file does not exist or is empty.',
    'Set the variable printed, or <its name>_FILE to a file that holds it.',
  ),
  SLU_ENV_NOT_RUNNING: row(
    'no running process of the site answers',
    'fatal',
    2,
    'Nothing listens where the site says its processes answer, or it runs on another machine.',
    'Start the site, or name where it answers with --url http://host:port.',
  ),
  SLU_ENV_NOT_DRAINED: row(
    'the site stopped before everything was read and answered',
    'fatal',
    2,
    'It had a bounded time after its producers stopped. Nothing is lost: the next start goes on there.',
    'Start it again, or look at `sluice ps` for what is behind and why.',
  ),
  SLU_ENV_SERVER: row(
    'a server started here did not come up',
    'fatal',
    2,
    'See the line of its log printed below.',
    'Correct what it names; a kept folder of data is used with the settings it was made with.',
  ),
  SLU_ENV_TOOL: row('a program this needs is missing', 'fatal', 2, 'See the name printed.', 'Install it, or use a command that does without.'),
} as const satisfies Record<string, ErrorRow>

export type ErrorCode = keyof typeof errors

/** The one error class. `detail` says which (file, topic, field…), never why again; `cause` carries the chain; `fix` is the row's unless it can be said more exactly. */
export class SluiceError extends Error {
  readonly code: ErrorCode
  readonly detail: string
  readonly fix: string

  constructor(code: ErrorCode, detail: string, cause?: unknown, fix: string = errors[code].fix) {
    super(`${code}: ${errors[code].what}${detail === '' ? '' : `: ${detail}`}`, cause === undefined ? undefined : { cause })
    this.name = 'SluiceError'
    this.code = code
    this.detail = detail
    this.fix = fix
  }

  get disposition(): Disposition {
    return errors[this.code].disposition
  }
}

/** A handler may throw anything, a Proxy whose traps throw too: what cannot even be asked is no Error. */
export function isError(thrown: unknown): thrown is Error {
  try {
    return thrown instanceof Error
  } catch {
    return false
  }
}

/** As `isError`, for ours: one whose code is none of the table, or whose fields cannot be read, is a foreign error. */
export function isSluiceError(thrown: unknown): thrown is SluiceError {
  try {
    if (!(thrown instanceof SluiceError)) return false
    void thrown.cause
    return isErrorCode(thrown.code) && typeof thrown.message === 'string'
  } catch {
    return false
  }
}

/** The code of anything thrown; what is not ours is `fallback`. */
export function asSluiceError(thrown: unknown, fallback: ErrorCode): SluiceError {
  return isSluiceError(thrown) ? thrown : new SluiceError(fallback, thrownName(thrown), thrown)
}

export function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(errors, text)
}

const TEXT_CHARS_MAX = 4096
const FIELDS_MAX = 1000

const fieldOf = (error: Error, field: 'name' | 'stack' | 'cause'): unknown => {
  try {
    return error[field]
  } catch {
    return undefined
  }
}

/** Of objects that hold themselves or numbers JSON has not, as responses and clients do that were thrown or are a cause. */
function jsonOf(value: object): string | undefined {
  const seen = new WeakSet()
  let fields = 0
  return JSON.stringify(value, (_name, held: unknown) => {
    if (typeof held === 'bigint') return String(held)
    if (typeof held !== 'object' || held === null) return held
    if (seen.has(held) || ++fields > FIELDS_MAX) return '…'
    seen.add(held)
    return held
  })
}

const textOf = (value: unknown): string => {
  if (typeof value === 'string') return value
  if (isError(value)) return textOf(value.message)
  if (typeof value === 'object' && value !== null) return jsonOf(value) ?? 'object'
  return typeof value === 'function' ? 'function' : String(value)
}

/**
 * What was thrown as text, at most 4096 characters: the message of an error, JSON of another object. Never throws: a dead letter that cannot be built is
 * tried again for ever and holds its partition (D6).
 */
export function thrownText(thrown: unknown): string {
  try {
    return textOf(thrown).slice(0, TEXT_CHARS_MAX)
  } catch {
    return `${typeof thrown} that cannot be described`
  }
}

/** The name of an error, the type of what is none. Never throws, bounded as `thrownText`. */
export function thrownName(thrown: unknown): string {
  if (!isError(thrown)) return typeof thrown
  const name = fieldOf(thrown, 'name')
  return typeof name === 'string' ? name.slice(0, TEXT_CHARS_MAX) : 'Error'
}

/** Never throws, bounded as `thrownText`; empty = it has none. */
export function thrownStack(error: Error): string {
  const stack = fieldOf(error, 'stack')
  return typeof stack === 'string' ? stack.slice(0, TEXT_CHARS_MAX) : ''
}

/** What an error says it was caused by; undefined = nothing, or it cannot be read. */
export function thrownCause(thrown: unknown): unknown {
  return isError(thrown) ? fieldOf(thrown, 'cause') : undefined
}

/** The chain of messages below an error, outermost first. Never throws; at most ten, each bounded as `thrownText`. */
export function causeChain(thrown: unknown): string[] {
  const chain: string[] = []
  for (let e = thrown; e !== undefined && e !== null && chain.length < 10; e = thrownCause(e)) chain.push(thrownText(e))
  return chain
}
