import test from 'ava'
import { createTroubles, PATIENCE_MS } from '../../../../infra/log/kafka/troubles.ts'
import { SluiceError, type ErrorCode } from '../../../../schemas/errors.ts'

function world() {
  const state = { nowMs: 0 }
  const told: (ErrorCode | null)[] = []
  const troubles = createTroubles(
    (error) => told.push(error?.code ?? null),
    () => state.nowMs,
  )
  const fail = (source: string, code: ErrorCode, nowMs: number): void => {
    state.nowMs = nowMs
    troubles.failed(source, new SluiceError(code, source))
  }
  return { told, troubles, fail }
}

test('kafka troubles: a listener that speaks another protocol is told at once and once, not once a try', (t) => {
  const { told, troubles, fail } = world()
  for (let nowMs = 0; nowMs < 100_000; nowMs += 1000) fail('group', 'SLU_LOG_LISTENER', nowMs)
  t.deepEqual(told, ['SLU_LOG_LISTENER'])
  troubles.well('group')
  troubles.well('group')
  fail('group', 'SLU_LOG_LISTENER', 100_000)
  t.deepEqual(told, ['SLU_LOG_LISTENER', null, 'SLU_LOG_LISTENER'])
})

test('kafka troubles: what passes within seconds, as when a leader moves, is never told', (t) => {
  const { told, troubles, fail } = world()
  for (const nowMs of [0, 1000, PATIENCE_MS - 1]) fail('leader 1', 'SLU_LOG_NOT_READY', nowMs)
  troubles.well('leader 1')
  for (const nowMs of [PATIENCE_MS, 2 * PATIENCE_MS - 1]) fail('leader 1', 'SLU_LOG_CLOSED', nowMs)
  troubles.well('leader 1')
  t.deepEqual(told, [])
})

test('kafka troubles: a state that lasts is told under whichever code it has, each code once, though two alternate', (t) => {
  const { told, fail } = world()
  for (let i = 0; i < 40; i++) fail('group', i % 2 === 0 ? 'SLU_LOG_CLOSED' : 'SLU_LOG_UNREACHABLE', i * 1000)
  t.deepEqual(told, ['SLU_LOG_UNREACHABLE', 'SLU_LOG_CLOSED'])
})

test('kafka troubles: it is over when the last source that failed is well', (t) => {
  const { told, troubles, fail } = world()
  for (const nowMs of [0, PATIENCE_MS]) for (const source of ['group', 'leader 2']) fail(source, 'SLU_LOG_UNREACHABLE', nowMs)
  troubles.well('group')
  t.deepEqual(told, ['SLU_LOG_UNREACHABLE'])
  troubles.well('leader 2')
  t.deepEqual(told, ['SLU_LOG_UNREACHABLE', null])
})
