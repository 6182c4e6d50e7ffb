import test from 'ava'
import fc from 'fast-check'
import {
  asSluiceError,
  causeChain,
  errors,
  isError,
  isErrorCode,
  isSluiceError,
  SluiceError,
  thrownCause,
  thrownName,
  thrownStack,
  thrownText,
  type ErrorCode,
} from '../../schemas/errors.ts'
import { siteReference } from '../../schemas/site.ts'
import { hostileThrows } from '../helpers/hostile-throws.ts'

const codes = Object.keys(errors) as ErrorCode[]

for (const code of codes)
  test(`errors: ${code} says what, why and what to do, and never repeats its cause`, (t) => {
    const row = errors[code]
    t.regex(code, /^SLU_(CONFIG|USE|HANDLER|INTERNAL|LOG|RECORD|WINDOW|TELEMETRY|HEALTH|ROUTE|EGRESS|LEDGER|ENV)(_[A-Z]+)*$/)
    t.true(row.what.length > 10 && !row.what.endsWith('.'))
    t.true(row.why.endsWith('.') && row.fix.length > 5)
    t.true(['retry', 'reject', 'dead-letter', 'hold', 'fatal'].includes(row.disposition))
    const error = new SluiceError(code, 'which one', new Error('the cause'))
    t.is(error.message, `${code}: ${row.what}: which one`)
    t.false(error.message.includes('the cause'))
    t.deepEqual(causeChain(error.cause), ['the cause'])
    t.is(error.disposition, row.disposition)
  })

test('errors: a rejection that a client sees has a status, a fatal one has none', (t) => {
  for (const code of codes) {
    const row = errors[code] as { disposition: string; http?: number }
    if (code.startsWith('SLU_ROUTE_')) t.true(row.http !== undefined && row.http >= 400, code)
    if (row.disposition === 'fatal') t.is(row.http, undefined, code)
  }
})

test('errors: what is not ours becomes the fallback code and keeps its cause', (t) => {
  const ours = new SluiceError('SLU_USE', '')
  t.is(asSluiceError(ours, 'SLU_INTERNAL'), ours)
  const other = asSluiceError(new TypeError('x is not a function'), 'SLU_HANDLER_FAILED')
  t.is(other.code, 'SLU_HANDLER_FAILED')
  t.deepEqual(causeChain(other.cause), ['x is not a function'])
  t.is(asSluiceError('text', 'SLU_HANDLER_FAILED').detail, 'string')
})

test('errors: a cause that points at itself does not hang the chain', (t) => {
  const a = new Error('a')
  a.cause = a
  t.is(causeChain(a).length, 10)
})

for (const [what, make] of Object.entries(hostileThrows))
  test(`errors: ${what}, thrown or a cause, becomes bounded text and a code, never a throw (D6)`, (t) => {
    for (const thrown of [make(), new Error('outer', { cause: make() }), new SluiceError('SLU_HANDLER_FAILED', '', make())]) {
      const texts = [thrownText(thrown), thrownName(thrown), ...causeChain(thrown)]
      if (isError(thrown)) texts.push(thrownStack(thrown))
      t.true(texts.every((text) => typeof text === 'string' && text.length <= 4096))
      t.true(causeChain(thrown).length <= 10)
      const error = asSluiceError(thrown, 'SLU_HANDLER_FAILED')
      t.true(isErrorCode(error.code) && typeof error.message === 'string' && typeof error.disposition === 'string')
    }
  })

test('errors: whatever is thrown has a text, and one that says something says it', (t) => {
  fc.assert(fc.property(fc.anything({ withBigInt: true, withNullPrototype: true, withSparseArray: true }), (thrown) => t.is(typeof thrownText(thrown), 'string')))
  const response: Record<string, unknown> = { status: 500n }
  response['response'] = response
  t.deepEqual([new Error('m'), 'text', response, 7n, Symbol('s'), null, undefined, () => 0, { toJSON: () => undefined }].map(thrownText), [
    'm',
    'text',
    '{"status":"500","response":"…"}',
    '7',
    'Symbol(s)',
    'null',
    'undefined',
    'function',
    'object',
  ])
  t.is(thrownText(Object.defineProperty(new Error('m'), 'message', { get: () => BigInt('x') })), 'object that cannot be described')
  t.deepEqual([new TypeError('m'), Object.assign(new Error('m'), { name: null }), 'text'].map(thrownName), ['TypeError', 'Error', 'string'])
  t.is(thrownCause(new Error('m', { cause: 'why' })), 'why')
})

test('errors: ours is known by its class and its code, not by its class alone', (t) => {
  t.true(isSluiceError(new SluiceError('SLU_USE', '')))
  t.false(isSluiceError(Object.create(SluiceError.prototype)))
  t.false(isSluiceError(Object.assign(new SluiceError('SLU_USE', ''), { code: 'SLU_NOWHERE' })))
})

test('errors: only codes of the table are codes, not what objects inherit', (t) => {
  t.true(isErrorCode('SLU_USE'))
  t.false(isErrorCode('toString'))
  t.false(isErrorCode('__proto__'))
})

test('errors: a limit or a group that a hint speaks of is named by what a user can set', (t) => {
  const keys = siteReference().map((row) => row.key)
  t.true(keys.includes('log.topics.maxMessageBytes') && keys.includes('topicPrefix'))
  t.regex(errors.SLU_LOG_RECORD_TOO_LARGE.fix, /`log\.topics\.maxMessageBytes` of site\.yaml/)
  for (const code of codes) if (/\bgroup\b/.test(errors[code].fix)) t.regex(errors[code].fix, /with the tools of your Kafka|topicPrefix/, code)
  for (const code of ['SLU_WINDOW_PARAMETERS', 'SLU_LOG_TRUNCATED'] as const) t.regex(errors[code].fix, /another name, which has a (?:new )?group/, code)
  t.regex(errors.SLU_WINDOW_PARAMETERS.fix, /another partialsTopic; give a site another topicPrefix/)
})
