import test from 'ava'
import fc from 'fast-check'
import { decodeHeaders, encodeHeaders } from '../../../../infra/log/embedded/headers.ts'

test('headers: names and values of any content come back in their order, repeated names too', (t) => {
  const header = fc.tuple(
    fc.string({ unit: 'grapheme' }),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
  )
  fc.assert(
    fc.property(fc.array(header, { minLength: 1 }), (headers) => {
      t.deepEqual(decodeHeaders(encodeHeaders(headers)), headers)
    }),
    { numRuns: 200 },
  )
  t.is(encodeHeaders([]), null)
  t.deepEqual(decodeHeaders(null), [])
})

test('headers: a blob cut short is an error, never a header too few', (t) => {
  const blob = encodeHeaders([['name', Buffer.from('value')]]) as Buffer
  for (let length = 1; length < blob.length; length += 1) t.throws(() => decodeHeaders(blob.subarray(0, length)), { instanceOf: RangeError })
})
