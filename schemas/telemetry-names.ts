/**
 * Names of the measurements the stream core makes (operations.md §1).
 *
 * Owns: metric, span and attribute names as constants, so that core, exporter buckets, dashboards and tests cannot drift apart. Messaging names
 * follow the OpenTelemetry semantic conventions; the rest is ours.
 */

export const metricNames = {
  /** s, histogram */
  processDuration: 'messaging.process.duration',
  /** {record}, gauge; attribute `sluice.lag.kind` = processing | committed (W9) */
  consumerLag: 'sluice.consumer.lag',
  /** s, histogram: record time to handler */
  queueDuration: 'sluice.consumer.queue.duration',
  /** {record}, histogram */
  batchSize: 'sluice.consumer.batch.size',
  /** s, gauge */
  watermarkDelay: 'sluice.watermark.delay',
  /** {window}, gauge */
  windowsOpen: 'sluice.window.open',
  /** {window}, counter */
  windowsClosed: 'sluice.window.closed',
  /** {record}, counter */
  lateRecords: 'sluice.window.late_records',
  /** {record}, counter; by `sluice.error.code` */
  deadLetters: 'sluice.dead_letters',
  /** {rebalance}, counter */
  rebalances: 'sluice.rebalances',
  /** {decision}, counter; by pool, reason, outcome */
  routeDecisions: 'sluice.route.decisions',
  /** {request}, gauge; by pool */
  poolInFlight: 'sluice.pool.inflight',
  /** {slot}, gauge; by pool */
  poolSlots: 'sluice.pool.slots',
  /** {request}, gauge: requests that wait for a slot of any pool */
  poolQueueDepth: 'sluice.pool.queue.depth',
  /** s, histogram: one call to an endpoint */
  clientOperationDuration: 'gen_ai.client.operation.duration',
} as const

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
  lagKind: 'sluice.lag.kind',
  function: 'sluice.function',
  code: 'sluice.error.code',
  pool: 'sluice.pool',
  reason: 'sluice.route.reason',
  outcome: 'sluice.route.outcome',
  genAiOperation: 'gen_ai.operation.name',
  genAiModel: 'gen_ai.request.model',
} as const
