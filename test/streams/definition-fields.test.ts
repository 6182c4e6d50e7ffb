import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, LAMBDA_DEFAULTS, type AnyFunction } from '../../streams/define-function.ts'
import { checkFields, DEFINITION_FIELDS, type Field } from '../../streams/definition-fields.ts'

const named = { name: 'f', inputs: ['in'], outputs: ['out'] }
const call = (): void => undefined
/** The least each kind must hold. */
const LEAST: Readonly<Record<AnyFunction['kind'], Readonly<Record<string, unknown>>>> = {
  map: { kind: 'map', ...named, decode: call, handle: call },
  fold: { kind: 'fold', ...named, decode: call, keyOf: call, initial: call, fold: call, restore: call, stateTopic: 'out', statesMax: 1 },
  window: {
    kind: 'window',
    ...named,
    partialsTopic: 'out',
    parameters: { windowMs: 1, graceMs: 0, outOfOrdernessMs: 0, skewMs: 0, maxGapMs: 0, idleMs: 0 },
    decode: call,
    eventTimeMs: call,
    identity: call,
    add: call,
    encodePartial: call,
    encodeMarker: call,
    decodeMarker: call,
  },
  combine: { kind: 'combine', ...named, windowMs: 1, decode: call, result: call },
  task: { kind: 'task', ...named, order: 'key', concurrency: 1, deadlineMs: 1, decode: call, handle: call },
  lambda: { kind: 'lambda', ...named, ...LAMBDA_DEFAULTS, handler: call },
}
const problem = (definition: object): string => {
  try {
    defineFunction(definition as AnyFunction)
    return ''
  } catch (thrown) {
    return thrown instanceof SluiceError && thrown.code === 'SLU_HANDLER_INVALID' ? thrown.detail : String(thrown)
  }
}

for (const [kind, least] of Object.entries(LEAST))
  test(`definition fields: a ${kind} with all it must hold is taken; without any one of it the member is named`, (t) => {
    t.is(problem({ ...least }), '')
    for (const member of Object.keys(least)) {
      const { [member]: _, ...rest } = least
      t.regex(problem(rest), member === 'kind' ? /kind undefined is not/ : new RegExp(`${member} must .*, and is missing`), member)
      t.not(problem({ ...least, [member]: member === 'bisectOnError' ? 'yes' : Symbol.iterator }), '', member)
    }
  })

test('definition fields: a member misspelt is refused with the one that was meant, before what is missing for it; nonsense is refused too', (t) => {
  const { handle: _, ...rest } = LEAST.map
  t.is(problem({ ...rest, handel: call }), 'f: handel is no member of it; did you mean handle?')
  t.is(problem({ ...LEAST.task, deadlineMS: 5 }), 'f: deadlineMS is no member of it; did you mean deadlineMs?')
  t.is(problem({ ...LEAST.map, somethingElse: 1 }), 'f: somethingElse is no member of it')
  t.is(
    problem({ ...LEAST.window, parameters: { ...(LEAST.window['parameters'] as object), gracems: 1 } }),
    'f: parameters.gracems is no member of it; did you mean parameters.graceMs?',
  )
})

test('definition fields: what loses order, time or data is refused by name (D1, T1, T2)', (t) => {
  t.is(problem({ ...LEAST.task, order: 'keys' }), 'f: order must be partition, key or unordered')
  t.is(problem({ ...LEAST.task, deadlineMs: undefined }), 'f: deadlineMs must be a whole number of ms from 1, and is missing')
  t.is(problem({ ...LEAST.task, deadlineMs: '5s' }), 'f: deadlineMs must be a whole number of ms from 1')
  t.is(problem({ ...LEAST.task, concurrency: 1.5 }), 'f: concurrency must be a whole number from 1')
  t.is(problem({ ...LEAST.fold, statesMax: 0 }), 'f: statesMax must be a whole number from 1')
  t.is(problem({ ...LEAST.fold, tick: { everyMs: 0, run: call } }), 'f: tick.everyMs must be a whole number of ms from 1')
  t.is(problem({ ...LEAST.map, inputs: ['a b'] }), 'f: inputs must be a list that names at least one topic')
  t.is(problem({ ...LEAST.map, outputs: 'out' }), 'f: outputs must be a list of topics')
  t.is(problem({ ...LEAST.map, recordBytesMax: 0 }), 'f: recordBytesMax must be a whole number from 1')
  t.is(problem({ ...LEAST.window, predecessor: { keyOf: call } }), 'f: predecessor.of must be a function, and is missing')
  t.is(problem({ ...LEAST.task, once: { resultsTopic: 'out', dedupeMs: 1, skewMs: 0, id: call, createdMs: call } }), 'f: once.digest must be a function, and is missing')
  t.is(problem({ ...LEAST.lambda, batchSize: 10_001 }), 'f: batchSize must be a whole number from 1 to 10000')
})

test('definition fields: optional members may be left out or undefined, and are checked when there', (t) => {
  const optional = Object.entries<Readonly<Record<string, Field>>>(DEFINITION_FIELDS).flatMap(([kind, fields]) =>
    Object.entries(fields)
      .filter(([, field]) => field.isOptional === true)
      .map(([member]) => [kind as AnyFunction['kind'], member] as const),
  )
  t.true(optional.length > 15)
  for (const [kind, member] of optional) {
    t.is(problem({ ...LEAST[kind], [member]: undefined }), '', member)
    t.throws(
      () =>
        checkFields({ ...LEAST[kind], [member]: -1 }, DEFINITION_FIELDS[kind], (text) => {
          throw new Error(text)
        }),
      { message: new RegExp(member) },
    )
  }
})
