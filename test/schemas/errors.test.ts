import test from 'ava'
import { asSluiceError, causeChain, errors, isErrorCode, SluiceError, type ErrorCode } from '../../schemas/errors.ts'
import { siteReference } from '../../schemas/site.ts'

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
