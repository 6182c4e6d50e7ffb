import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, type AnyFunction } from '../../streams/define-function.ts'

const map = { kind: 'map', name: 'hello', inputs: ['a'], outputs: ['b'], decode: () => 1, handle: () => [] } as const

const problem = (definition: unknown): string => {
  try {
    defineFunction(definition as AnyFunction)
    return ''
  } catch (error) {
    return error instanceof SluiceError && error.code === 'SLU_HANDLER_INVALID' ? error.detail : String(error)
  }
}

test('defineFunction: a sound definition is returned frozen', (t) => {
  const f = defineFunction({ ...map })
  t.is(f.name, 'hello')
  t.true(Object.isFrozen(f))
})

test('defineFunction: each wrong field is named, nothing is started with it', (t) => {
  t.regex(problem({ ...map, name: 'Hello!' }), /name must match/)
  t.regex(problem({ ...map, inputs: [] }), /inputs/)
  t.regex(problem({ ...map, outputs: undefined }), /outputs/)
  t.regex(problem({ ...map, kind: 'cron' }), /kind cron/)
  t.regex(problem({ ...map, decode: undefined }), /decode/)
  const parameters = { windowMs: 10, graceMs: 1, outOfOrdernessMs: 1, skewMs: 1, maxGapMs: 1, idleMs: 1 }
  const call = () => null as never
  const { handle: _, ...rest } = map
  const window = {
    ...rest,
    kind: 'window',
    partialsTopic: 'p',
    outputs: ['p'],
    parameters,
    eventTimeMs: call,
    identity: call,
    add: call,
    encodePartial: call,
    encodeMarker: call,
    decodeMarker: call,
  }
  t.is(problem(window), '')
  t.regex(problem({ ...window, parameters: { ...parameters, windowMs: 0 } }), /parameters.windowMs/)
  t.regex(problem({ ...window, parameters: { ...parameters, graceMs: 1.5 } }), /parameters.graceMs/)
  t.regex(problem({ ...window, outputs: ['q'] }), /outputs must hold partialsTopic/)
})

test('defineFunction: transactional delivery is for kinds whose offsets move in order; each other combination is named', (t) => {
  const task = { ...map, kind: 'task', order: 'partition', concurrency: 1, deadlineMs: 1, handle: () => Promise.resolve([]), delivery: 'transactional' } as const
  t.is(problem({ ...map, delivery: 'transactional' }), '')
  t.is(problem(task), '')
  t.regex(problem({ ...map, delivery: 'exactly-once' }), /delivery must be at-least-once or transactional/)
  t.regex(problem({ ...task, order: 'key' }), /order: partition/)
  t.regex(problem({ ...task, once: {} }), /once/)
  t.regex(problem({ ...map, kind: 'combine', delivery: 'transactional' }), /not combine/)
})

test('defineFunction: parking by key is for map and for tasks that keep order; each other combination is named (D4)', (t) => {
  const task = { ...map, kind: 'task', order: 'key', concurrency: 1, deadlineMs: 1, handle: () => Promise.resolve([]), park: 'key' } as const
  t.is(problem({ ...map, park: 'key', parkedRecordsMax: 5 }), '')
  t.is(problem(task), '')
  t.is(problem({ ...task, order: 'partition' }), '')
  t.regex(problem({ ...map, park: 'partition' }), /park must be key/)
  t.regex(problem({ ...map, park: 'key', parkedRecordsMax: 0 }), /parkedRecordsMax/)
  t.regex(problem({ ...task, order: 'unordered' }), /order: key or partition/)
  t.regex(problem({ ...task, once: {} }), /once/)
  t.regex(problem({ ...map, park: 'key', delivery: 'transactional' }), /exclude each other/)
  t.regex(problem({ ...map, kind: 'fold', park: 'key' }), /not fold/)
})
