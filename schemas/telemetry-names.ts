/**
 * Every measurement Sluice makes, by name (operations.md §1): OpenTelemetry semantic conventions 1.45 where one exists, else `sluice.*`.
 *
 * Owns: name, instrument, unit, buckets and description of each metric, and the closed list of attribute names. The core measures by these
 * constants, the exporter makes its instruments from them, the dashboards are compared with them: none can drift from another.
 * A name or attribute that is not here is not shown. Prompts, completions, keys and tenant names are never attributes.
 */

export interface Instrument {
  readonly name: string
  readonly type: 'counter' | 'histogram' | 'gauge'
  /** UCUM, as OpenTelemetry writes it. */
  readonly unit: string
  readonly description: string
  /** Upper bounds of a histogram's buckets, rising. */
  readonly buckets?: readonly number[]
}

export const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.45.0'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const INFERENCE_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
const RESTORE_SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120]
const RECORDS = [1, 5, 10, 50, 100, 500, 1000]

const counter = (name: string, unit: string, description: string): Instrument => ({ name, type: 'counter', unit, description })
const gauge = (name: string, unit: string, description: string): Instrument => ({ name, type: 'gauge', unit, description })
const histogram = (name: string, unit: string, buckets: readonly number[], description: string): Instrument => ({ name, type: 'histogram', unit, buckets, description })

export const instruments = {
  processDuration: histogram('messaging.process.duration', 's', SECONDS, 'Time a function took for a record or a batch of records.'),
  logOperationDuration: histogram('messaging.client.operation.duration', 's', SECONDS, 'Time of a send or a commit.'),
  sentMessages: counter('messaging.client.sent.messages', '{message}', 'Records appended.'),
  consumedMessages: counter('messaging.client.consumed.messages', '{message}', 'Records handed to functions.'),
  consumerLag: gauge('sluice.consumer.lag', '{record}', 'Records between the end of a partition and the processing or committed position (W9).'),
  queueDuration: histogram('sluice.consumer.queue.duration', 's', SECONDS, 'From record time to handler.'),
  batchSize: histogram('sluice.consumer.batch.size', '{record}', RECORDS, 'Records processed at once.'),
  watermarkDelay: gauge('sluice.watermark.delay', 's', 'Clock minus watermark.'),
  windowsOpen: gauge('sluice.window.open', '{window}', 'Open windows.'),
  windowsClosed: counter('sluice.window.closed', '{window}', 'Closed windows.'),
  lateRecords: counter('sluice.window.late_records', '{record}', 'Late records (W2).'),
  deadLetters: counter('sluice.dead_letters', '{record}', 'Dead letters by error code (D2).'),
  rebalances: counter('sluice.rebalances', '{rebalance}', 'Assignments received.'),
  partitionHeld: gauge('sluice.partition.held', '{partition}', 'Partitions of a function that stand still with an error.'),
  stateRestoreDuration: histogram('sluice.state.restore.duration', 's', RESTORE_SECONDS, 'From the assignment of a partition until the state of a fold is rebuilt.'),
  partitionBlocked: gauge('sluice.partition.blocked', '1', '1 while a partition does not go on; the reason is an error code, or places where the pool of the function is full.'),
  clientOperationDuration: histogram('gen_ai.client.operation.duration', 's', INFERENCE_SECONDS, 'One call to an endpoint.'),
  routeDecisions: counter('sluice.route.decisions', '{decision}', 'Where requests went, or why they did not.'),
  poolQueueDepth: gauge('sluice.pool.queue.depth', '{request}', 'Requests that wait for a slot of any pool.'),
  poolInFlight: gauge('sluice.pool.inflight', '{request}', 'Requests on the endpoints of a pool.'),
  poolSlots: gauge('sluice.pool.slots', '{slot}', 'Slots of the endpoints of a pool that may get work.'),
  endpointHealth: gauge('sluice.endpoint.health', '1', 'Weight of an endpoint; 0 = gets no work.'),
  healthVerdicts: counter('sluice.health.verdicts', '{verdict}', 'Verdicts of assess-health by rule.'),
  hwGpuUtilization: gauge('hw.gpu.utilization', '1', 'Mean of the last closed window of a pool.'),
  hwTemperature: gauge('hw.temperature', 'Cel', 'Maximum of the last closed window of a pool.'),
  hwPower: gauge('hw.power', 'W', 'Mean per device of the last closed window of a pool.'),
  hwEnergy: gauge('hw.energy', 'J', 'Energy of the last closed window of a pool.'),
  hwErrors: gauge('hw.errors', '{error}', 'Errors of the last closed window of a pool.'),
  egressDecisions: counter('sluice.egress.decisions', '{object}', 'Final decisions of the gate by outcome and reason.'),
  egressBytes: counter('sluice.egress.bytes', 'By', 'Bytes that left.'),
  egressPending: gauge('sluice.egress.pending', '{object}', 'Open intents.'),
  egressLedgerSize: gauge('sluice.egress.ledger.size', '{leaf}', 'Leaves of the ledger.'),
  egressAckDuration: histogram('sluice.egress.ack.duration', 's', SECONDS, 'From intent to outcome.'),
  egressHold: gauge('sluice.egress.hold', '1', '1 while egress is held.'),
} as const satisfies Readonly<Record<string, Instrument>>

export const metricNames = Object.fromEntries(Object.entries(instruments).map(([key, row]) => [key, row.name])) as { readonly [K in keyof typeof instruments]: string }

/** The closed list of attributes. Names of the conventions where there is one; ours are short, as a dashboard writes them. */
export const attributeNames = {
  system: 'messaging.system',
  operation: 'messaging.operation.name',
  operationType: 'messaging.operation.type',
  group: 'messaging.consumer.group.name',
  destination: 'messaging.destination.name',
  partition: 'messaging.destination.partition.id',
  offset: 'messaging.kafka.offset',
  batchCount: 'messaging.batch.message_count',
  errorType: 'error.type',
  genAiOperation: 'gen_ai.operation.name',
  genAiProvider: 'gen_ai.provider.name',
  genAiModel: 'gen_ai.request.model',
  hwType: 'hw.type',
  function: 'function',
  /** `processing` or `committed`, of `sluice.consumer.lag`. */
  lagKind: 'kind',
  /** Error code of a dead letter or a hold. */
  code: 'code',
  /** Causes of an error in a log line, outermost first. */
  errorChain: 'error.chain',
  attempt: 'attempt',
  pool: 'pool',
  endpoint: 'endpoint',
  reason: 'reason',
  outcome: 'outcome',
  rule: 'rule',
  verdict: 'verdict',
  /** Of a window's metric that has several series per pool: its kept attributes, `name=value` joined by commas. */
  series: 'series',
  egressDestination: 'destination',
  decision: 'decision',
  policyVersion: 'policy.version',
  /** True on what the simulated site makes. */
  simulated: 'simulated',
} as const
