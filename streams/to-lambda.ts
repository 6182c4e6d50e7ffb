/**
 * One of our functions as an AWS Lambda handler for a Kafka event source: the other direction of kind `lambda` (runtime.md §6).
 *
 * Owns: event → records → `decode` and `handle` → what was emitted, sent → the answer. Kinds `map` and `task`: what keeps state between records
 * (`fold`, `window`, `combine`) or rests on fencing (`once`, `delivery: transactional`, `park: key`) has no place in a function that Lambda starts and
 * stops, and is refused by name. A task has its own deadline, or what the invocation has left if that is less: then its signal is aborted (T1), and it is given
 * up before Lambda ends the invocation, so that what stands before it is answered as done.
 * A record that fails ends its partition's part of the batch: Lambda tries it again with what follows it, and sends it to the on-failure
 * destination in the end, which is the dead letter here. Other partitions go on. Pure: sending and time are ports.
 */
import type { Codecs } from '../schemas/codec.ts'
import { SluiceError } from '../schemas/errors.ts'
import type { LogRecord, OutRecord } from '../schemas/log.ts'
import { localise, logicalName } from '../schemas/topics.ts'
import type { Emit, FunctionContext, LambdaContext, MapFunction, TaskFunction } from './define-function.ts'
import { assertRecordSize, carrierOf, handed, sortEmits, synchronous, withCarrier } from './emits.ts'
import { recordsOf, type LambdaBatchResponse } from './lambda-event.ts'
import { isForAnother } from './redrive.ts'

/** Of an invocation's time, kept for what is to be sent and answered when a task runs out of it. */
const RESERVE_MS = 500
/** How long an aborted task may still answer. */
const ABORT_GRACE_MS = 250

export interface ToLambdaPorts {
  readonly site: string
  readonly codecs: Codecs
  readonly nowMs: () => number
  /** Needed for a task: calls back after `delayMs` unless what it returned is called before. */
  setTimer?(delayMs: number, run: () => void): () => void
  /** Put before the logical topic names of what is emitted. Default none. */
  readonly topicPrefix?: string
  /** Resolves when all are acknowledged; a rejection fails the whole batch. */
  send(records: readonly OutRecord[]): Promise<void>
  /** Takes a dead letter that stands beside emits (N2). Without it such a record counts as failed and none of its emits are sent. */
  deadLetter?(record: LogRecord, error: SluiceError): Promise<void>
  /** Where a failed record's error goes, for the log of the invocation. */
  onFailure?(record: LogRecord, error: unknown): void
}

/** Throws SLU_HANDLER_INVALID for what cannot run there. The event source mapping must have ReportBatchItemFailures. */
export function toLambda<T>(definition: MapFunction<T> | TaskFunction<T>, ports: ToLambdaPorts): (event: unknown, context: LambdaContext) => Promise<LambdaBatchResponse> {
  if (definition.kind !== 'map' && definition.kind !== 'task')
    throw new SluiceError('SLU_HANDLER_INVALID', `${(definition as { name: string }).name}: only map and task functions can run on Lambda`)
  const refuse = (what: string): never => {
    throw new SluiceError('SLU_HANDLER_INVALID', `${definition.name}: ${what}`)
  }
  if (definition.kind === 'task' && definition.once !== undefined) refuse('once needs a fenced producer, which Lambda has not')
  if (definition.delivery === 'transactional') refuse('delivery: transactional needs a fenced producer and offsets of its own, which Lambda has not')
  if (definition.park === 'key') refuse('park: key needs a fenced producer and the DLQ read back, which Lambda has not')
  const { setTimer } = ports
  if (definition.kind === 'task' && setTimer === undefined) refuse('a task needs the port setTimer, for its deadline (T1)')
  const prefix = ports.topicPrefix ?? ''
  const context: FunctionContext = { site: ports.site, codecs: ports.codecs, nowMs: ports.nowMs }

  /** `endMs` = when the invocation has no time left for it. */
  const tryTask = async (task: TaskFunction<T>, value: T, record: LogRecord, endMs: number): Promise<readonly Emit[]> => {
    const startMs = ports.nowMs()
    const budgetMs = Math.min(task.deadlineMs, endMs - startMs)
    const timeout = new SluiceError('SLU_HANDLER_TIMEOUT', `${budgetMs} ms`)
    // Not begun: Lambda ends the invocation before it could answer.
    if (budgetMs <= 0) throw timeout
    const controller = new AbortController()
    const cancels: (() => void)[] = []
    const after = (ms: number, run: () => void): void => void cancels.push((setTimer as NonNullable<typeof setTimer>)(ms, run))
    const givenUp = new Promise<never>((_resolve, reject) => {
      after(budgetMs, () => controller.abort(timeout))
      after(budgetMs + ABORT_GRACE_MS, () => reject(timeout))
    })
    const idempotencyKey = `${record.topic}/${record.partition}/${record.offset}`
    const given = { ...context, signal: controller.signal, deadlineMs: startMs + budgetMs, attempt: 1, idempotencyKey, carrier: carrierOf(record.headers) }
    try {
      return await Promise.race([task.handle(value, record, given), givenUp])
    } finally {
      for (const cancel of cancels) cancel()
    }
  }

  const emitsOf = async (record: LogRecord, endMs: number): Promise<readonly Emit[]> => {
    assertRecordSize(record, definition)
    const given = handed(record, definition)
    const value = synchronous(definition.decode(given, context), definition, 'decode')
    return definition.kind === 'task' ? tryTask(definition, value, given, endMs) : synchronous(definition.handle(value, given, context), definition, 'handle')
  }

  const handle = async (record: LogRecord, endMs: number): Promise<void> => {
    if (isForAnother(record, definition.name)) return
    const { outgoing, parked } = sortEmits(await emitsOf(record, endMs), record, definition)
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
    const endMs = ports.nowMs() + lambda.getRemainingTimeInMillis() - RESERVE_MS
    for (const [partition, records] of recordsOf(event))
      for (const record of records) {
        try {
          await handle(localise(record, logicalName(record.topic, prefix)), endMs)
        } catch (error) {
          ports.onFailure?.(record, error)
          failures.push({ itemIdentifier: { partition, offset: Number(record.offset) } })
          break
        }
      }
    return { batchItemFailures: failures }
  }
}
