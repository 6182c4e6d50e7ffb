import { createHash } from 'node:crypto'
import test from 'ava'
import { defineFunction, LAMBDA_DEFAULTS, type LambdaFunction } from '../../streams/define-function.ts'
import { createInvoker } from '../../streams/lambda-invoker.ts'
import { partitionWorld, settle } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

function invoker(handler: LambdaFunction['handler']) {
  const w = partitionWorld()
  const definition = defineFunction<LambdaFunction>({ kind: 'lambda', name: 'l', inputs: ['in'], outputs: [], ...LAMBDA_DEFAULTS, timeoutMs: 1000, handler })
  const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
  return { w, invoke: createInvoker({ definition, environment: w.environment, topic: 'in', partition: 0, abort: w.abort, hash }) }
}
const batch = [record(3), record(4)]

test('lambda invoker: a handler may answer without a promise', async (t) => {
  t.deepEqual(await invoker(() => undefined).invoke(batch, 1), { kind: 'all-done' })
})

test('lambda invoker: what is thrown, error or not, is an answer with a code, never a crash', async (t) => {
  for (const thrown of [new TypeError('x'), 'text', null]) {
    const answer = await invoker(() => {
      throw thrown
    }).invoke(batch, 1)
    t.is(answer.kind, 'bad')
    t.is(answer.error?.code, 'SLU_HANDLER_FAILED')
  }
})

test('lambda invoker: over its time it is a failure; what the handler answers later changes nothing', async (t) => {
  let answerLate = (_answer: unknown): void => undefined
  const { w, invoke } = invoker(() => new Promise((resolve) => (answerLate = resolve)))
  const answer = invoke(batch, 1)
  await w.clock.advance(1000)
  t.is((await answer).error?.code, 'SLU_HANDLER_TIMEOUT')
  answerLate({ batchItemFailures: [] })
  await settle()
  t.pass()
})

test('lambda invoker: a partition given up ends the wait at once and nothing is made of the answer (C3)', async (t) => {
  const { w, invoke } = invoker(() => new Promise(() => undefined))
  const answer = invoke(batch, 1)
  w.abort.abort()
  await t.throwsAsync(answer, { message: /SLU_LOG_STALE_EPOCH/ })
})

test('lambda invoker: remaining time runs down; the request id tells tries apart and is the same for a replay', async (t) => {
  const ids: string[] = []
  const remaining: number[] = []
  const { w, invoke } = invoker(async (_event, context) => {
    ids.push(context.awsRequestId)
    remaining.push(context.getRemainingTimeInMillis())
    await new Promise<void>((resolve) => void w.clock.setTimer(300, resolve))
    remaining.push(context.getRemainingTimeInMillis())
  })
  for (const attempt of [1, 2, 1]) {
    const answer = invoke(batch, attempt)
    await w.clock.advance(300)
    await answer
  }
  t.deepEqual(remaining.slice(0, 2), [1000, 700])
  t.is(ids[0], ids[2])
  t.not(ids[0], ids[1])
})
