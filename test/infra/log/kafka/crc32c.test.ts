/** The checksum of what is sent. That brokers take it is shown by every test on real Kafka. */
import { createRequire } from 'node:module'
import test from 'ava'
import fc from 'fast-check'
import '../../../../infra/log/kafka/kafkajs.ts'

const require = createRequire(import.meta.url)
const used = require('kafkajs/src/protocol/recordBatch/crc32C') as (bytes: Buffer) => number
const own = require('kafkajs/src/protocol/recordBatch/crc32C/crc32C') as (bytes: Buffer) => number

test('crc32c: the check value of the CRC catalogue', (t) => {
  t.is(used(Buffer.from('123456789')), 0xe306_9283)
})

test('crc32c: the same as that of kafkajs for any bytes, and never negative', (t) => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => used(Buffer.from(bytes)) === own(Buffer.from(bytes)) && used(Buffer.from(bytes)) >= 0))
  t.pass()
})

test('crc32c: where the platform has native code, it stands in the place of that of kafkajs before a batch is made', (t) => {
  const { crc32c } = require('@node-rs/crc32') as { crc32c: typeof used }
  t.is(used, crc32c)
})
