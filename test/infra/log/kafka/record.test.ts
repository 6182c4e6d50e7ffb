import { createRequire } from 'node:module'
import fc from 'fast-check'
import test from 'ava'
import { batchOf, type SentMessage } from '../../../../infra/log/kafka/produce-request.ts'
import { decodeRecord, type BatchContext } from '../../../../infra/log/kafka/record.ts'
import type { LogHeaders } from '../../../../schemas/log.ts'
import { BATCH } from '../../../fakes/fetched-record.ts'

const require = createRequire(import.meta.url)
const encodeRecord = require('kafkajs/src/protocol/recordBatch/record/v0') as (record: object) => { readonly buffer: Buffer }
const Decoder = require('kafkajs/src/protocol/decoder') as new (buffer: Buffer) => { readVarIntBytes(): Buffer }

const context = (more: Partial<BatchContext> = {}): BatchContext => ({
  ...BATCH,
  firstOffset: '9007199254740993',
  firstTimestamp: '1760000000000',
  maxTimestamp: '1760000009999',
  ...more,
})

/** As a batch holds it, less its length. */
const bytesOf = (record: object): Buffer => new Decoder(encodeRecord({ key: null, value: null, offsetDelta: 0, timestampDelta: 0, ...record }).buffer).readVarIntBytes()

/** The same of what we write: the first record behind the head of a batch. */
async function sentBytes(message: Partial<SentMessage>): Promise<Buffer> {
  const batch = await batchOf({ messages: [{ key: null, value: null, ...message }] }, { acks: -1, timeout: 1, topicData: [] }, 0)
  return new Decoder(batch.subarray(61)).readVarIntBytes()
}
const bytes = fc.option(fc.uint8Array({ maxLength: 200 }).map((b) => Buffer.from(b)))

test('record: what kafkajs encodes is read back, offsets beyond 2^53 too', (t) => {
  fc.assert(
    fc.property(bytes, bytes, fc.nat(2 ** 30), fc.integer({ min: -(2 ** 40), max: 2 ** 40 }), (key, value, offsetDelta, timestampDelta) => {
      const read = decodeRecord({ buffer: bytesOf({ key, value, offsetDelta, timestampDelta }) }, context())
      t.deepEqual([read.key, read.value, read.headerList], [key, value, []])
      t.is(read.offsetValue, 9_007_199_254_740_993n + BigInt(offsetDelta))
      t.is(read.timestampMs, 1_760_000_000_000 + timestampDelta)
      t.is(read.appendMs, null)
      t.deepEqual([read.offset, read.timestamp], [String(read.offsetValue), String(read.timestampMs)])
    }),
  )
})

test('record: header order, repeated and number-like names survive a record’s encoding and decoding, as no object keeps them', async (t) => {
  const name = fc.constantFrom('b', 'a', '10', '2', '', '__proto__', 'ü')
  const headers: fc.Arbitrary<LogHeaders> = fc.array(
    fc.tuple(
      name,
      fc.uint8Array({ maxLength: 5 }).map((b) => Buffer.from(b)),
    ),
    { minLength: 1, maxLength: 8 },
  )
  await fc.assert(
    fc.asyncProperty(headers, async (given) => {
      t.deepEqual(decodeRecord({ buffer: await sentBytes({ headerList: given }) }, context()).headerList, given)
    }),
  )
  t.deepEqual(
    { ...decodeRecord({ buffer: bytesOf({ headers: { a: ['1', '2'], b: '3' } }) }, context()).headers },
    {
      a: [Buffer.from('1'), Buffer.from('2')],
      b: Buffer.from('3'),
    },
  )
})

test('record: the time is the log’s where the topic says so, whatever the producer claims', (t) => {
  const buffer = bytesOf({ timestampDelta: 5 })
  const ofLog = decodeRecord({ buffer }, context({ timestampType: 1 }))
  t.deepEqual([ofLog.timestampMs, ofLog.appendMs], [1_760_000_009_999, 1_760_000_009_999])
  const next = decodeRecord({ buffer }, context({ firstOffset: '7', isControlBatch: true }))
  t.deepEqual([next.offsetValue, next.timestampMs, next.isControlRecord], [7n, 1_760_000_000_005, true])
})

test('record: a time that no clock has, as of nanoseconds beside milliseconds, is the nearest that a number holds, and keeps nothing from being read (D6)', (t) => {
  const far = 1_760_000_000_000_000_000n
  const varint = (value: bigint): number[] => (value < 0x80n ? [Number(value)] : [Number(value & 0x7fn) | 0x80, ...varint(value >> 7n)])
  const zigzag = (value: bigint): bigint => BigInt.asUintN(64, (value << 1n) ^ (value >> 63n))
  const buffer = (delta: bigint): Buffer => Buffer.from([0, ...varint(zigzag(delta)), 0, 1, 2, 65, 0])
  for (const [delta, timestampMs] of [
    [far, Number.MAX_SAFE_INTEGER],
    [-far, Number.MIN_SAFE_INTEGER],
    [2n ** 63n - 1n, Number.MAX_SAFE_INTEGER],
    [-(2n ** 63n), Number.MIN_SAFE_INTEGER],
    [-3n, 1_759_999_999_997],
  ] as const) {
    const read = decodeRecord({ buffer: buffer(delta) }, context())
    t.is(read.timestampMs, timestampMs, String(delta))
    t.is(read.value?.toString(), 'A')
    t.is(decodeRecord({ buffer: buffer(delta) }, context({ timestampType: 1 })).timestampMs, 1_760_000_009_999)
  }
})

test('record: one that is cut anywhere is refused, never read shorter than it was (D6)', (t) => {
  const whole = bytesOf({ key: Buffer.from('key'), value: Buffer.alloc(300, 1), headers: { h: 'v' }, timestampDelta: 2 ** 35, offsetDelta: 300 })
  t.is(decodeRecord({ buffer: whole }, context()).value?.length, 300)
  for (let length = 1; length < whole.length; length++) t.throws(() => decodeRecord({ buffer: whole.subarray(0, length) }, context()), { instanceOf: RangeError }, String(length))
  const endless = Buffer.alloc(40, 0xff)
  t.throws(() => decodeRecord({ buffer: endless }, context()), { instanceOf: RangeError })
})
