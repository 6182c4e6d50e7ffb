/** Known values of Kafka's own tests (UtilsTest.testMurmur2 of Apache Kafka) and bounds. */
import { createRequire } from 'node:module'
import fc from 'fast-check'
import test from 'ava'
import { partitionOf } from '../../../infra/log/partitioner.ts'

const murmur2 = createRequire(import.meta.url)('kafkajs/src/producer/partitioners/default/murmur2') as (key: Buffer) => number

/** Key and murmur2 as Apache Kafka's UtilsTest lists them. */
const KNOWN: readonly (readonly [string, number])[] = [
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
  ['abc', 479470107],
]

test('partitioner: the partition is murmur2 of the key as Apache Kafka computes it, never another hash', (t) => {
  for (const [key, hash] of KNOWN) for (const partitions of [1, 3, 12, 50]) t.is(partitionOf(Buffer.from(key), partitions), (hash & 0x7fffffff) % partitions, key)
})

test('partitioner: of a key of any bytes and length it says what kafkajs says', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), fc.integer({ min: 1, max: 2 ** 31 - 1 }), (bytes, partitions) => {
      t.is(partitionOf(bytes, partitions), (murmur2(Buffer.from(bytes)) & 0x7fffffff) % partitions)
    }),
    { numRuns: 2000 },
  )
})

test('partitioner: a key of any bytes lands inside the topic, the empty one too', (t) => {
  for (let length = 0; length < 40; length += 1) {
    const partition = partitionOf(Buffer.alloc(length, 0xff), 7)
    t.true(partition >= 0 && partition < 7)
  }
})
