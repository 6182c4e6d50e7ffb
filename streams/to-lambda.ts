/**
 * One of our functions as an AWS Lambda handler for a Kafka event source: the other direction of kind `lambda` (runtime.md §6).
 *
 * Owns: event → records → `decode` and `handle` → what was emitted, sent → the answer. Kinds `map` and `task`: what keeps state between records
 * (`fold`, `window`, `combine`) or rests on fencing (`once`) has no place in a function that Lambda starts and stops, and is refused by name.
 * A record that fails ends its partition's part of the batch: Lambda tries it again with what follows it, and sends it to the on-failure
 * destination in the end, which is the dead letter here. Other partitions go on. Pure: the sending is a port.
 */
import type { Codecs } from '../schemas/codec.ts'
import { SluiceError } from '../schemas/errors.ts'
import type { LogRecord, OutRecord } from '../schemas/log.ts'
import type { FunctionContext, LambdaContext, MapFunction, TaskFunction } from './define-function.ts'
import { assertRecordSize, carrierOf, handed, sortEmits, synchronous, withCarrier } from './emits.ts'
import { recordsOf, type LambdaBatchResponse } from './lambda-event.ts'
import { isForAnother } from './redrive.ts'

export interface ToLambdaPorts {
  readonly site: string
  readonly codecs: Codecs
  readonly nowMs: () => number
  /** Put before the logical topic names of what is emitted. Default none. */
  readonly topicPrefix?: string
  /** Resolves when all are acknowledged; a rejection fails the whole batch. */
  send(records: readonly OutRecord[]): Promise<void>
  /** Takes a dead letter that stands beside emits (N2). Without it such a record counts as failed and none of its emits are sent. */
  deadLetter?(record: LogRecord, error: SluiceError): Promise<void>
  /** Where a failed record's error goes, for the log of the invocation. */
  onFailure?(record: LogRecord, error: unknown): void
}

/** Throws SLU_HANDLER_INVALID for a kind that cannot run there. The event source mapping must have ReportBatchItemFailures. */
export function toLambda<T>(definition: MapFunction<T> | TaskFunction<T>, ports: ToLambdaPorts): (event: unknown, context: LambdaContext) => Promise<LambdaBatchResponse> {
  if (definition.kind !== 'map' && definition.kind !== 'task')
    throw new SluiceError('SLU_HANDLER_INVALID', `${(definition as { name: string }).name}: only map and task functions can run on Lambda`)
  if (definition.kind === 'task' && definition.once !== undefined)
    throw new SluiceError('SLU_HANDLER_INVALID', `${definition.name}: once needs a fenced producer, which Lambda has not`)
  const prefix = ports.topicPrefix ?? ''
  const context: FunctionContext = { site: ports.site, codecs: ports.codecs, nowMs: ports.nowMs }

  const emitsOf = async (record: LogRecord, deadlineMs: number, signal: AbortSignal) => {
    assertRecordSize(record, definition)
    const given = handed(record, definition)
    const value = synchronous(definition.decode(given, context), definition, 'decode')
    if (definition.kind === 'map') return synchronous(definition.handle(value, given, context), definition, 'handle')
    const carrier = carrierOf(record.headers)
    const idempotencyKey = `${record.topic}/${record.partition}/${record.offset}`
    return definition.handle(value, given, { ...context, signal, deadlineMs, attempt: 1, idempotencyKey, carrier })
  }

  const handle = async (record: LogRecord, deadlineMs: number, signal: AbortSignal): Promise<void> => {
    if (isForAnother(record, definition.name)) return
    const { outgoing, parked } = sortEmits(await emitsOf(record, deadlineMs, signal), record, definition)
    const { deadLetter } = ports
    for (const { error } of parked) {
      if (deadLetter === undefined) throw error
      await deadLetter(record, error)
    }
    if (outgoing.length === 0) return
    await ports.send(
      outgoing.map(({ topic, key, value, headers, partition }) => ({
        topic: prefix + topic,
        key,
        value,
        headers: withCarrier(headers, carrierOf(record.headers)),
        ...(partition === undefined ? {} : { partition }),
      })),
    )
  }

  return async (event, lambda) => {
    const failures: { itemIdentifier: { partition: string; offset: number } }[] = []
    const abort = new AbortController()
    const deadlineMs = ports.nowMs() + lambda.getRemainingTimeInMillis()
    for (const [partition, records] of recordsOf(event))
      for (const record of records) {
        try {
          await handle(prefix === '' || !record.topic.startsWith(prefix) ? record : { ...record, topic: record.topic.slice(prefix.length) }, deadlineMs, abort.signal)
        } catch (error) {
          ports.onFailure?.(record, error)
          failures.push({ itemIdentifier: { partition, offset: Number(record.offset) } })
          break
        }
      }
    return { batchItemFailures: failures }
  }
}
