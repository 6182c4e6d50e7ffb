/**
 * What a function definition of each kind must and may hold, as a table.
 *
 * Owns: the check of every member of a definition: there, of its type and in its range; and none besides, because a member that is misspelt is
 * one that is missing: `handel` sends a whole topic to the DLQ, a `deadlineMs` that is left out ends every try after 1 ms, `order: 'keys'` is none. Pure.
 * define-function.ts holds table and types together: a member without a row does not compile.
 */
import { distance } from 'fastest-levenshtein'

export interface Field {
  /** What the message says it must be. */
  readonly must: string
  readonly isOptional?: true
  accepts(value: unknown): boolean
  /** Of an object: its own members. */
  readonly fields?: Fields
}
type Fields = Readonly<Record<string, Field>>

/** Kafka's rule for the names of topics. */
const TOPIC = /^[a-zA-Z0-9._-]{1,249}$/
const isTopic = (value: unknown): boolean => typeof value === 'string' && TOPIC.test(value)
const isTopics = (value: unknown): boolean => Array.isArray(value) && value.every(isTopic)

const func: Field = { must: 'be a function', accepts: (value) => typeof value === 'function' }
const flag: Field = { must: 'be true or false', accepts: (value) => typeof value === 'boolean' }
const text: Field = { must: 'be text', accepts: (value) => typeof value === 'string' }
const topic: Field = { must: 'name a topic', accepts: isTopic }
const whole = (low: number, high = Number.MAX_SAFE_INTEGER, of = ''): Field => ({
  must: `be a whole number${of} from ${low}${high === Number.MAX_SAFE_INTEGER ? '' : ` to ${high}`}`,
  accepts: (value) => Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high,
})
const ms = (low: number): Field => whole(low, Number.MAX_SAFE_INTEGER, ' of ms')
const oneOf = (...values: readonly string[]): Field => ({
  must: `be ${values.slice(0, -1).join(', ')}${values.length > 1 ? ' or ' : ''}${values.at(-1)}`,
  accepts: (value) => values.includes(value as string),
})
const object = (fields: Fields): Field => ({ must: 'be an object', accepts: (value) => typeof value === 'object' && value !== null && !Array.isArray(value), fields })
const optional = (field: Field): Field => ({ ...field, isOptional: true })

const NAMED = {
  kind: oneOf('map', 'fold', 'window', 'combine', 'task', 'lambda'),
  name: { must: 'match ^[a-z][a-z0-9-]{0,62}$', accepts: (value: unknown) => typeof value === 'string' && /^[a-z][a-z0-9-]{0,62}$/.test(value) },
  inputs: { must: 'be a list that names at least one topic', accepts: (value: unknown) => isTopics(value) && (value as unknown[]).length > 0 },
  outputs: { must: 'be a list of topics', accepts: isTopics },
  recordBytesMax: optional(whole(1)),
  readsOnly: optional(flag),
}
const DELIVERED = { delivery: optional(oneOf('at-least-once', 'transactional')) }
const PARKING = { park: optional(oneOf('key')), parkedRecordsMax: optional(whole(1)) }

const PARAMETERS = { windowMs: ms(1), graceMs: ms(0), outOfOrdernessMs: ms(0), skewMs: ms(0), maxGapMs: ms(0), idleMs: ms(0) }
const PREDECESSOR = { keyOf: func, of: func }
const TICK = { everyMs: ms(1), run: func }
const ONCE = { resultsTopic: topic, dedupeMs: ms(1), skewMs: ms(0), id: func, createdMs: func, digest: func }

/** By kind. */
export const DEFINITION_FIELDS = {
  map: { ...NAMED, ...DELIVERED, ...PARKING, decode: func, handle: func, alignWithinMs: optional(ms(2)) },
  fold: {
    ...NAMED,
    ...DELIVERED,
    decode: func,
    keyOf: func,
    initial: func,
    fold: func,
    stateTopic: topic,
    restore: func,
    tick: optional(object(TICK)),
    statesMax: whole(1),
  },
  window: {
    ...NAMED,
    parameters: object(PARAMETERS),
    partialsTopic: topic,
    decode: func,
    eventTimeMs: func,
    identity: func,
    sequence: optional(func),
    add: func,
    predecessor: optional(object(PREDECESSOR)),
    encodePartial: func,
    encodeMarker: func,
    decodeMarker: func,
  },
  combine: { ...NAMED, windowMs: ms(1), decode: func, result: func },
  task: {
    ...NAMED,
    ...DELIVERED,
    ...PARKING,
    order: oneOf('partition', 'key', 'unordered'),
    concurrency: whole(1),
    deadlineMs: ms(1),
    decode: func,
    handle: func,
    once: optional(object(ONCE)),
    ready: optional(func),
  },
  lambda: {
    ...NAMED,
    handler: func,
    batchSize: whole(1, 10_000),
    batchWindowMs: whole(0, 300_000),
    timeoutMs: whole(1, 900_000),
    bisectOnError: flag,
    retriesMax: whole(0, 10_000),
    concurrency: whole(1, 10_000),
    bootstrapServers: text,
  },
}

/** Letters that may differ between what was written and what was meant. */
const TYPOS_MAX = 3

function check(given: object, fields: Fields, path: string, fail: (problem: string) => never): void {
  const members = given as Readonly<Record<string, unknown>>
  // Before what is missing: mostly it is the same member.
  for (const name of Object.keys(members)) {
    if (Object.hasOwn(fields, name)) continue
    const [near] = Object.keys(fields)
      .map((known) => ({ known, letters: distance(known.toLowerCase(), name.toLowerCase()) }))
      .sort((a, b) => a.letters - b.letters)
    fail(`${path}${name} is no member of it${near !== undefined && near.letters <= TYPOS_MAX ? `; did you mean ${path}${near.known}?` : ''}`)
  }
  for (const [name, field] of Object.entries(fields)) {
    const value = members[name]
    if (value === undefined && field.isOptional === true) continue
    if (!field.accepts(value)) fail(`${path}${name} must ${field.must}${value === undefined ? ', and is missing' : ''}`)
    if (field.fields !== undefined) check(value as object, field.fields, `${path}${name}.`, fail)
  }
}

/** Calls `fail` with the first member of `definition` that is wrong, missing or too many. */
export function checkFields(definition: object, fields: Fields, fail: (problem: string) => never): void {
  check(definition, fields, '', fail)
}
