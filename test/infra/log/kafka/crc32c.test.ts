/** The checksum of what is sent, that brokers look at it, and that nothing looks at that of what is fetched. */
import { createRequire } from 'node:module'
import { Socket } from 'node:net'
import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { kafkaForTests } from '../../../helpers/kafka.ts'
import { valuesOf } from '../../../helpers/read-topic.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test.serial

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

const WHOLE = 'whole value'

/** One bit of the first bytes that hold the value and pass the method of sockets that is named; tells whether they came. */
function damageOnce(t: ExecutionContext, method: 'write' | 'emit'): () => boolean {
  const given = Socket.prototype[method] as (...args: unknown[]) => unknown
  let isDone = false
  const damaging = function damaging(this: Socket, ...args: unknown[]): unknown {
    const bytes = args.find((arg) => Buffer.isBuffer(arg))
    const at = bytes?.indexOf(WHOLE) ?? -1
    if (bytes !== undefined && at >= 0 && !isDone) {
      isDone = true
      bytes[at] = (bytes[at] ?? 0) ^ 1
    }
    return given.apply(this, args)
  }
  Object.assign(Socket.prototype, { [method]: damaging })
  t.teardown(() => {
    Object.assign(Socket.prototype, { [method]: given })
  })
  return () => isDone
}

async function oneRecord(t: ExecutionContext, topic: string) {
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  t.teardown(() => driver.close())
  const name = `${topic}.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  return { send: () => driver.producer().send([{ topic: name, key: null, value: Buffer.from(WHOLE) }]), values: () => valuesOf(driver, name) }
}

kafkaTest('crc32c: a batch that is damaged on its way to the broker is refused by its checksum and sent again whole', async (t) => {
  const { send, values } = await oneRecord(t, 'damaged-there')
  const isDamaged = damageOnce(t, 'write')
  await send()
  t.true(isDamaged())
  t.deepEqual(await values(), [WHOLE])
})

kafkaTest('crc32c: of what is fetched no checksum is looked at: damaged on its way back it is handed over as it came, and is whole when read again', async (t) => {
  const { send, values } = await oneRecord(t, 'damaged-back')
  await send()
  damageOnce(t, 'emit')
  t.deepEqual(await values(), ['vhole value'])
  t.deepEqual(await values(), [WHOLE])
})
