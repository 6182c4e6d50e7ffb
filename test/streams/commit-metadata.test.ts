import test from 'ava'
import fc from 'fast-check'
import { COMMIT_METADATA_BYTES_MAX } from '../../schemas/log.ts'
import { decodeCombineMetadata, decodeWindowMetadata, encodeCombineMetadata, encodeWindowMetadata } from '../../streams/commit-metadata.ts'

const time = fc.option(fc.integer({ min: 0, max: 2 ** 44 }), { nil: null })

test('commit metadata: what stage 1 writes it reads back, whatever the values (C2)', (t) => {
  fc.assert(
    fc.property(fc.string({ maxLength: 64 }), time, time, fc.bigInt({ min: 0n, max: 2n ** 62n }), time, (hash, closedThroughMs, maxEventMs, readThrough, suspectMs) => {
      const m = { hash, closedThroughMs, maxEventMs, readThrough, suspectMs }
      t.deepEqual(decodeWindowMetadata(encodeWindowMetadata(m)), m)
    }),
  )
})

test('commit metadata: marks of 512 source partitions come back and stay within 3,500 bytes (C2, W7)', (t) => {
  const windowMs = 60_000
  fc.assert(
    fc.property(fc.array(fc.option(fc.integer({ min: 0, max: 5000 }), { nil: null }), { minLength: 512, maxLength: 512 }), (windows) => {
      const marks = new Map(windows.flatMap((w, i) => (w === null ? [] : [[i, (28_000_000 + w) * windowMs] as const])))
      const m = { closedThroughMs: 28_000_000 * windowMs, suspectMs: 28_000_000 * windowMs + 1, partitionCount: 512, marks }
      const text = encodeCombineMetadata(m, windowMs)
      t.true(Buffer.byteLength(text) <= COMMIT_METADATA_BYTES_MAX)
      t.deepEqual(decodeCombineMetadata(text, windowMs), m)
    }),
    { numRuns: 50 },
  )
})

test('commit metadata: too many sources are a named error before anything is sent', (t) => {
  const marks = new Map(Array.from({ length: 3000 }, (_, i) => [i, i * 10]))
  t.throws(() => encodeCombineMetadata({ closedThroughMs: 0, suspectMs: null, partitionCount: 3000, marks }, 10), { message: /SLU_LOG_METADATA_TOO_LARGE/ })
})

test('commit metadata: garbage, another tool’s text and another window length are lost metadata, never an error (W6)', (t) => {
  fc.assert(fc.property(fc.string(), (text) => decodeWindowMetadata(text) === null && decodeCombineMetadata(text, 10) === null))
  for (const text of [
    '',
    '{}',
    '{"v":1}',
    '{"v":2,"hash":"a"}',
    '{"v":1,"hash":"a","closedThroughMs":"x","maxEventMs":1,"readThrough":"1"}',
    '{"v":1,"hash":"a","closedThroughMs":1,"maxEventMs":1,"readThrough":"-1"}',
  ])
    t.is(decodeWindowMetadata(text), null, text)
  const text = encodeCombineMetadata({ closedThroughMs: 10, suspectMs: null, partitionCount: 1, marks: new Map([[0, 10]]) }, 10)
  t.is(decodeCombineMetadata(text, 20), null)
  t.is(decodeCombineMetadata(text.replace(/"marks":"[^"]*"/, '"marks":""'), 10), null)
  t.is(decodeCombineMetadata(text.replace(/"marks":"[^"]*"/, '"marks":"AQE="'), 10), null, 'a mark more than there are sources')
})
