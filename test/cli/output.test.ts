import { stripVTControlCharacters } from 'node:util'
import test from 'ava'
import { renderError, toJson } from '../../cli/output.ts'
import { SluiceError } from '../../schemas/errors.ts'

test('output: an error shows code, what, which, why, fix and the help command, each once', (t) => {
  const error = new SluiceError('SLU_LOG_UNREACHABLE', '127.0.0.1:1', new Error('connect ECONNREFUSED 127.0.0.1:1'))
  const text = stripVTControlCharacters(renderError(error))
  t.deepEqual(
    text.split('\n').map((l) => l.trim().split(/\s/)[0]),
    ['SLU_LOG_UNREACHABLE', '127.0.0.1:1', 'because', 'fix:'],
  )
  t.is(text.split('ECONNREFUSED').length, 2)
  t.true(text.endsWith('sluice help SLU_LOG_UNREACHABLE'))
})

test('output: offsets are numbers in JSON while they are exact, text beyond, never a throw', (t) => {
  t.is(toJson({ offset: 5n }), '{"offset":5}')
  t.is(toJson({ offset: 2n ** 60n }), '{"offset":"1152921504606846976"}')
})

test('output: what an error quotes of others is shown, never obeyed by the terminal', (t) => {
  const text = stripVTControlCharacters(renderError(new SluiceError('SLU_LOG_FAILED', 'topic \u009b2J\u202e', new Error('\u0007 \rbell'))))
  t.true(text.includes(String.raw`topic \x9b2J\u202e`), text)
  t.true(text.includes(String.raw`because \x07 \x0dbell`), text)
})
