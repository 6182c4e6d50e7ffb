import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { kafkaForTests } from '../../../helpers/kafka.ts'
import { until } from '../../../helpers/until.ts'

const kafka = await kafkaForTests()
const kafkaTest = kafka === null ? test.skip : test.serial

const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length

kafkaTest('kafka driver: close closes everything it handed out: no connection stays behind', async (t) => {
  const before = sockets()
  const driver = createKafkaDriver({ brokers: kafka?.bootstrap ?? [] })
  const name = `driver.${process.pid}.${Date.now()}`
  await driver.admin().createTopics([{ name, partitions: 2, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  await driver.producer().send([{ topic: name, key: null, value: Buffer.from('x') }])
  await driver.fencedProducer(name)
  await driver.reader().open({ topic: name, partitions: 'all', from: 'start', committedOnly: false, untilEnd: false })
  let delivered = 0
  await driver.consumer({ group: name, topics: [name] }).start({
    assigned: (assignments) => Promise.resolve(assignments.map(({ topic, partition }) => ({ topic, partition, nextOffset: 'start' as const }))),
    revoked: () => Promise.resolve(),
    records: (_tp, _epoch, records) => void (delivered += records.length),
    held: () => undefined,
    failed: (error) => t.fail(String(error)),
  })
  await until(() => delivered === 1, 20_000)
  t.true(sockets() > before)
  await driver.close()
  await until(
    () => sockets() <= before,
    5000,
    () => `${sockets()} sockets, ${before} before`,
  )
  t.pass()
})

kafkaTest('kafka driver: a member that joins while its predecessor’s session still runs can be closed at once, and leaves no connection', async (t) => {
  const before = sockets()
  const name = `joining.${process.pid}.${Date.now()}`
  let letGo = (): void => undefined
  const held = new Promise<void>((resolve) => (letGo = resolve))
  const events = {
    assigned: (assignments: readonly { topic: string; partition: number }[]) =>
      Promise.resolve(assignments.map(({ topic, partition }) => ({ topic, partition, nextOffset: 'start' as const }))),
    revoked: () => held,
    records: () => undefined,
    held: () => undefined,
    failed: () => undefined,
  }
  const stuck = createKafkaDriver({ brokers: kafka?.bootstrap ?? [], sessionMs: 3000 })
  await stuck.admin().createTopics([{ name, partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
  // Does not let go: the next one has to wait in joining until this one's session is over.
  await stuck.consumer({ group: name, topics: [name] }).start(events)
  const of = sockets() + 1
  const next = createKafkaDriver({ brokers: kafka?.bootstrap ?? [], sessionMs: 3000 })
  const joining = next.consumer({ group: name, topics: [name] }).start({ ...events, revoked: () => Promise.resolve() })
  joining.catch(() => undefined)
  await new Promise((resolve) => setImmediate(resolve))
  await next.close()
  // What next had open is closed when its close says so, not some time later.
  t.true(sockets() <= of, `${sockets()} sockets, ${of} of the other driver`)
  letGo()
  await stuck.close()
  await until(
    () => sockets() <= before,
    5000,
    () => `${sockets()} sockets, ${before} before`,
  )
  t.pass()
})

test('kafka driver: something that is no broker is named, within a bound', async (t) => {
  const server = createServer((socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const driver = createKafkaDriver({ brokers: [`127.0.0.1:${(server.address() as AddressInfo).port}`] })
  const error = await t.throwsAsync(driver.admin().topics(''))
  t.regex(error?.message ?? '', /SLU_LOG_(UNREACHABLE|LISTENER|FAILED)/)
  await driver.close()
  server.close()
})
