import fc from 'fast-check'
import test from 'ava'
import { canonicalJson, parseCanonicalJson } from '../../schemas/canonical-json.ts'

test('canonical JSON: members are sorted by code units, without white space, whatever order they were given in (E05)', (t) => {
  t.is(canonicalJson({ b: 1, a_2: 'x', a: [1, -2, ['é']], a1: {} }), '{"a":[1,-2,["é"]],"a1":{},"a_2":"x","b":1}')
})

test('canonical JSON: floats, −0, NaN, infinities and integers beyond 2^53 never get a form (E03)', (t) => {
  for (const n of [1.5, -0, NaN, Infinity, -Infinity, 2 ** 53, 1e300]) t.throws(() => canonicalJson({ n }), { instanceOf: TypeError }, String(n))
  t.is(canonicalJson(Number.MAX_SAFE_INTEGER), '9007199254740991')
})

test('canonical JSON: null, booleans, undefined, dates, bytes and class instances are refused', (t) => {
  for (const value of [null, true, undefined, new Date(0), Buffer.from('x'), new Map(), 1n, () => 1]) t.throws(() => canonicalJson({ value }), { instanceOf: TypeError })
})

test('canonical JSON: odd member names and lone surrogates are refused, not normalised (E02, E03)', (t) => {
  const names = ['constructor', 'A', 'user-id', 'ｕser_id', 'a\u200b', '\u212aelvin', '', 'a'.repeat(65), '9a']
  for (const name of names) t.throws(() => canonicalJson({ [name]: 1 }), { instanceOf: TypeError }, name)
  t.throws(() => canonicalJson(JSON.parse('{"__proto__":1}')), { instanceOf: TypeError })
  t.throws(() => canonicalJson('\ud800'), { instanceOf: TypeError })
})

test('canonical JSON: nesting without end is refused before the stack is', (t) => {
  let deep: unknown = 1
  for (let i = 0; i < 50_000; i++) deep = [deep]
  t.throws(() => canonicalJson(deep), { message: /deeper/ })
})

test('canonical JSON: another spelling of the same value is refused: duplicate members, spaces, escapes, 1e3, order (E03)', (t) => {
  for (const text of ['{"a":1,"a":1}', '{"a": 1}', '{"a":"\\u0041"}', '{"a":1e3}', '{"a":-0}', '{"b":1,"a":1}', '{"a":1}\n', '[1.0]', ''])
    t.throws(() => parseCanonicalJson(text), undefined, text)
  t.deepEqual(parseCanonicalJson('{"a":1}'), { a: 1 })
})

test('canonical JSON: what was written is read back as it was, for every value that has a form', (t) => {
  const name = fc.stringMatching(/^[a-z][a-z0-9_]{0,8}$/).filter((n) => n !== 'constructor')
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.maxSafeInteger().map((n) => n + 0),
      fc.string({ unit: 'binary' }).filter((s) => s.isWellFormed()),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(name, tie('value'), { maxKeys: 4, noNullPrototype: true }),
    ),
  }))
  fc.assert(
    fc.property(value, (v) => {
      const text = canonicalJson(v)
      t.is(canonicalJson(parseCanonicalJson(text)), text)
      t.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(v)))
    }),
  )
})
