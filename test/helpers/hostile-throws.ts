/** What a handler may throw that cannot be read like an error: by what it is, made anew for each use. */
import { SluiceError } from '../../schemas/errors.ts'

const fail = (): never => {
  throw new Error('hostile')
}
const withField = (field: string, value: unknown, error: Error = new Error('m')): Error => Object.defineProperty(error, field, { value })
const withGetter = (field: string, error: Error = new Error('m')): Error => Object.defineProperty(error, field, { get: fail })
const traps = Object.fromEntries(Object.getOwnPropertyNames(Reflect).map((trap) => [trap, fail]))

function holdingItself(): object {
  const response: Record<string, unknown> = { status: 500 }
  response['request'] = { response }
  return response
}

function causingEachOther(): Error {
  const a = new Error('a')
  const b = new Error('b', { cause: a })
  a.cause = b
  return a
}

export const hostileThrows: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  null: () => null,
  text: () => 'text',
  'text of 10 MB': () => 'z'.repeat(10_000_000),
  bigint: () => 7n,
  symbol: () => Symbol('s'),
  function: () => fail,
  'object that holds itself': holdingItself,
  'object that holds a bigint': () => ({ n: 1n }),
  'object without prototype': () => Object.create(null) as unknown,
  'object of many fields': () => Array.from({ length: 100_000 }, () => ({})),
  'toJSON that throws': () => ({ toJSON: fail, toString: fail }),
  'toJSON that gives nothing': () => ({ toJSON: () => undefined }),
  'proxy that throws on everything': () => new Proxy({}, traps),
  'proxy of a function that throws on everything': () => new Proxy(fail, traps),
  'proxy of an error that throws when read': () => new Proxy(new Error('m'), { get: fail }),
  'proxy of our error that throws when read': () => new Proxy(new SluiceError('SLU_HANDLER_RETRY', ''), { get: fail }),
  'our error of no code': () => withField('code', 'SLU_NOWHERE', new SluiceError('SLU_HANDLER_RETRY', '')),
  'what has our prototype alone': () => Object.create(SluiceError.prototype) as unknown,
  'our error whose message throws': () => withGetter('message', new SluiceError('SLU_HANDLER_RETRY', '')),
  'our error whose cause throws': () => withGetter('cause', new SluiceError('SLU_HANDLER_RETRY', '')),
  'our error whose cause holds itself': () => new SluiceError('SLU_RECORD_UNDECODABLE', '', holdingItself()),
  'our error whose name is null': () => withField('name', null, new SluiceError('SLU_RECORD_UNDECODABLE', '')),
  'name null': () => withField('name', null),
  'name undefined': () => withField('name', undefined),
  'name an object': () => withField('name', { a: 1 }),
  'name that throws': () => withGetter('name'),
  'message an object': () => withField('message', { code: 'X' }),
  'message that throws': () => withGetter('message'),
  'message that is the error': () => {
    const error = new Error('m')
    return withField('message', error, error)
  },
  'message of 10 MB': () => new Error('z'.repeat(10_000_000)),
  'stack a number': () => withField('stack', 5),
  'stack that throws': () => withGetter('stack'),
  'cause that throws': () => withGetter('cause'),
  'cause that holds itself': () => new Error('fetch failed', { cause: holdingItself() }),
  'cause a proxy': () => new Error('m', { cause: new Proxy({}, traps) }),
  'causes of each other': causingEachOther,
}
