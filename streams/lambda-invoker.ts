/**
 * One invocation of a Lambda handler with a batch, as the service would make it (runtime.md §6).
 *
 * Owns: the event and the context object, the time limit, and what came of it as an answer. A throw, a timeout and an answer nobody can read are
 * answers too (`bad`, with the error); only a partition that was given up throws (C3). What the handler still does after its time is its own.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { LogRecord } from '../schemas/log.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import type { LambdaContext, LambdaFunction } from './define-function.ts'
import { carrierOf } from './emits.ts'
import { lambdaEvent, readAnswer, type BatchAnswer } from './lambda-event.ts'
import type { PartitionEnvironment } from './partition.ts'
import { staleEpoch } from './partition-sink.ts'
import { outcomeOf, sleep } from './retry.ts'

const LINKS_MAX = 32
/** Operation name of the messaging conventions. */
const PROCESS = 'process'

export interface InvokerOptions {
  readonly definition: LambdaFunction
  readonly environment: PartitionEnvironment
  /** Logical. */
  readonly topic: string
  readonly partition: number
  readonly abort: AbortController
  /** Text to hex digest. */
  readonly hash: (text: string) => string
}

export type InvocationAnswer = BatchAnswer & { readonly error?: SluiceError }

/** `attempt` starts at 1. Rejects with SLU_LOG_STALE_EPOCH when the partition is given up. */
export function createInvoker(options: InvokerOptions): (records: readonly LogRecord[], attempt: number) => Promise<InvocationAnswer> {
  const { definition, environment, topic, partition, abort } = options
  const { clock, telemetry } = environment
  const attributes = {
    [attributeNames.system]: 'kafka',
    [attributeNames.operation]: PROCESS,
    [attributeNames.group]: environment.group,
    [attributeNames.destination]: topic,
    [attributeNames.partition]: String(partition),
  }
  const contextOf = (records: readonly LogRecord[], attempt: number, deadlineMs: number): LambdaContext => {
    const digest = options.hash(`${topic}/${partition}/${records[0]?.offset}/${records.length}/${attempt}`)
    return {
      functionName: definition.name,
      functionVersion: '$LATEST',
      invokedFunctionArn: `arn:aws:lambda:local:000000000000:function:${definition.name}`,
      memoryLimitInMB: '0',
      awsRequestId: [digest.slice(0, 8), digest.slice(8, 12), digest.slice(12, 16), digest.slice(16, 20), digest.slice(20, 32)].join('-'),
      logGroupName: `/sluice/${definition.name}`,
      logStreamName: `${topic}-${partition}`,
      callbackWaitsForEmptyEventLoop: false,
      getRemainingTimeInMillis: () => Math.max(0, deadlineMs - clock.nowMs()),
    }
  }

  /** The handler's answer, or its deadline, or that the partition was given up. */
  const invoke = async (records: readonly LogRecord[], attempt: number): Promise<unknown> => {
    const deadlineMs = clock.nowMs() + definition.timeoutMs
    const over = new AbortController()
    const timeout = sleep(clock, definition.timeoutMs, AbortSignal.any([over.signal, abort.signal])).then(() => {
      throw abort.signal.aborted ? staleEpoch() : new SluiceError('SLU_HANDLER_TIMEOUT', `${definition.timeoutMs} ms`)
    })
    timeout.catch(() => undefined)
    try {
      const event = lambdaEvent(records, definition.bootstrapServers)
      return await Promise.race([Promise.resolve(definition.handler(event, contextOf(records, attempt, deadlineMs))), timeout])
    } finally {
      over.abort()
    }
  }

  return async (records, attempt) => {
    const startMs = clock.nowMs()
    const links = records.map((r) => carrierOf(r.headers)).filter((c) => c['traceparent'] !== undefined)
    const span = telemetry.span({
      name: `${PROCESS} ${topic}`,
      kind: 'consumer',
      links: links.slice(0, LINKS_MAX),
      attributes: { ...attributes, [attributeNames.batchCount]: records.length },
    })
    const end = (code?: string): void => {
      span.end(code === undefined ? undefined : { code })
      telemetry.record(metricNames.processDuration, (clock.nowMs() - startMs) / 1000, { ...attributes, ...(code === undefined ? {} : { [attributeNames.errorType]: code }) })
    }
    telemetry.record(metricNames.batchSize, records.length, attributes)
    try {
      const answer = readAnswer(await invoke(records, attempt), records)
      const error = answer.kind === 'bad' ? new SluiceError('SLU_HANDLER_FAILED', answer.why) : undefined
      end(error?.code)
      return error === undefined ? answer : { ...answer, error }
    } catch (thrown) {
      if (abort.signal.aborted) {
        end('SLU_LOG_STALE_EPOCH')
        throw staleEpoch()
      }
      const { error } = outcomeOf(thrown, 'SLU_HANDLER_FAILED')
      end(error.code)
      return { kind: 'bad', why: error.message, error }
    }
  }
}
