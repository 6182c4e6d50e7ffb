/**
 * Every metric Sluice emits (operations.md §1): OpenTelemetry semantic conventions 1.45 where one exists, else `sluice.*`.
 *
 * Owns: name, instrument, unit, buckets, description. A name that is not here is not measured; dashboards and the Prometheus endpoint
 * are written against this table. Prompts, completions, keys and tenant names are never attributes: `ATTRIBUTES` is the closed list.
 */
export interface InstrumentRow {
  readonly name: string
  readonly type: 'counter' | 'histogram' | 'gauge'
  readonly unit: string
  readonly description: string
  readonly buckets?: readonly number[]
}

export const SCHEMA_URL = 'https://opentelemetry.io/schemas/1.45.0'

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]
const INFERENCE_SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
const TOKENS = [1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576]

const counter = (name: string, unit: string, description: string): InstrumentRow => ({ name, type: 'counter', unit, description })
const gauge = (name: string, unit: string, description: string): InstrumentRow => ({ name, type: 'gauge', unit, description })
const histogram = (name: string, unit: string, buckets: readonly number[], description: string): InstrumentRow => ({ name, type: 'histogram', unit, buckets, description })

export const instruments: readonly InstrumentRow[] = [
  histogram('messaging.process.duration', 's', SECONDS, 'Time a function took for a record or a batch of records.'),
  histogram('messaging.client.operation.duration', 's', SECONDS, 'Time of a send, poll or commit.'),
  counter('messaging.client.sent.messages', '{message}', 'Records appended.'),
  counter('messaging.client.consumed.messages', '{message}', 'Records handed to functions.'),
  gauge('sluice.consumer.lag', '{record}', 'Records between the end of a partition and the processing or committed position (W9).'),
  histogram('sluice.consumer.queue.duration', 's', SECONDS, 'From append to handler.'),
  histogram('sluice.consumer.batch.size', '{record}', [1, 5, 10, 50, 100, 500, 1000], 'Records processed at once.'),
  gauge('sluice.watermark.delay', 's', 'Clock minus watermark.'),
  gauge('sluice.window.open', '{window}', 'Open windows.'),
  counter('sluice.window.closed', '{window}', 'Closed windows.'),
  counter('sluice.window.late_records', '{record}', 'Late records (W2).'),
  counter('sluice.dead_letters', '{record}', 'Dead letters by error code (D2).'),
  counter('sluice.rebalances', '{rebalance}', 'Assignments received.'),
  counter('sluice.retries', '{retry}', 'Handler tries after the first.'),
  gauge('sluice.partition.held', '1', '1 while a partition stands still with an error.'),
  histogram('gen_ai.client.operation.duration', 's', INFERENCE_SECONDS, 'From request to result.'),
  histogram('gen_ai.server.time_to_first_token', 's', INFERENCE_SECONDS, 'From call to first byte of the answer.'),
  histogram('gen_ai.client.inference.usage.input_tokens', '{token}', TOKENS, 'Input tokens per request.'),
  histogram('gen_ai.client.inference.usage.output_tokens', '{token}', TOKENS, 'Output tokens per request.'),
  counter('sluice.route.decisions', '{decision}', 'Where requests went, or why they did not.'),
  gauge('sluice.pool.queue.depth', '{request}', 'Requests waiting for a slot.'),
  gauge('sluice.pool.inflight', '{request}', 'Requests on the endpoints of a pool.'),
  gauge('sluice.pool.slots', '{slot}', 'Slots of the endpoints of a pool that may get work.'),
  gauge('sluice.endpoint.health', '1', 'Weight of an endpoint; 0 = gets no work.'),
  counter('sluice.health.verdicts', '{verdict}', 'Verdicts of assess-health by rule.'),
  gauge('hw.gpu.utilization', '1', 'Mean of the last closed window of a pool.'),
  gauge('hw.temperature', 'Cel', 'Maximum of the last closed window of a pool.'),
  gauge('hw.power', 'W', 'Mean per device of the last closed window of a pool.'),
  gauge('hw.energy', 'J', 'Energy of the last closed window of a pool.'),
  gauge('hw.errors', '{error}', 'Errors of the last closed window of a pool.'),
  counter('sluice.egress.decisions', '{object}', 'Final decisions of the gate by outcome and reason.'),
  counter('sluice.egress.bytes', 'By', 'Bytes that left.'),
  gauge('sluice.egress.pending', '{object}', 'Open intents.'),
  gauge('sluice.egress.ledger.size', '{leaf}', 'Leaves of the ledger.'),
  histogram('sluice.egress.ack.duration', 's', SECONDS, 'From intent to outcome.'),
  gauge('sluice.egress.hold', '1', '1 while egress is held.'),
]

/** Attribute keys that may be shown. Anything else is dropped before it reaches the SDK. */
export const ATTRIBUTES: ReadonlySet<string> = new Set([
  'messaging.operation.name',
  'messaging.operation.type',
  'messaging.system',
  'messaging.consumer.group.name',
  'messaging.destination.name',
  'messaging.destination.partition.id',
  'messaging.batch.message_count',
  'messaging.kafka.offset',
  'error.type',
  'gen_ai.operation.name',
  'gen_ai.provider.name',
  'gen_ai.request.model',
  'gen_ai.response.model',
  'function',
  'kind',
  'group',
  'topic',
  'partition',
  'code',
  'pool',
  'accelerator',
  'endpoint',
  'reason',
  'outcome',
  'rule',
  'rule.version',
  'verdict',
  'attempt',
  'status',
  'hw.type',
  'sensor',
  'destination',
  'decision',
  'policy.version',
  'metric',
  'simulated',
])
