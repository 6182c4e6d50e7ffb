import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { isKafkaAvailable, startKafka } from '../../../../infra/deploy/kafka/cluster.ts'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { createClient } from '../../../../infra/log/kafka/kafkajs.ts'
import { startProxy } from '../../../chaos/proxy.ts'

const { available } = await isKafkaAvailable()
const kafkaTest = available ? test.serial : test.skip

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

kafkaTest('kafka cluster: a broker answers on a free port; killed and started again it has what it had; stopped, nothing of it is left', async (t) => {
  t.timeout(120_000)
  const cluster = await startKafka({ brokers: 1 })
  const topic = { name: 'kept', partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 } as const
  try {
    const before = createKafkaDriver({ brokers: cluster.bootstrap })
    await before.admin().createTopics([topic])
    await before.producer().send([{ topic: 'kept', key: null, value: Buffer.from('x') }])
    await before.close()
    await cluster.kill(0)
    await cluster.restart(0)
    const after = createKafkaDriver({ brokers: cluster.bootstrap })
    t.is((await after.admin().ranges('kept'))[0]?.endOffset, 1n)
    await after.close()
  } finally {
    await cluster.stop()
  }
  t.false(existsSync(cluster.dir), 'its data is removed')
  for (const pid of cluster.pids) t.false(isAlive(pid))
})

kafkaTest('kafka cluster: clients are told the advertised port, not the one behind it; whoever has the direct address is not', async (t) => {
  t.timeout(120_000)
  const proxy = await startProxy()
  const cluster = await startKafka({ brokers: 1, listeners: [{ name: 'BEHIND', protocol: 'PLAINTEXT', advertisedPorts: [proxy.port] }] })
  const addresses = async (broker: string): Promise<string[]> => {
    const admin = createClient({ brokers: [broker], clientId: 'test' }).admin()
    await admin.connect()
    const { brokers } = await admin.describeCluster()
    await admin.disconnect()
    return brokers.map((b) => `${b.host}:${b.port}`)
  }
  try {
    const [behind] = cluster.listeners.get('BEHIND') as [string]
    proxy.forwardTo(Number(behind.split(':')[1]))
    t.deepEqual(await addresses(behind), [`127.0.0.1:${proxy.port}`])
    t.deepEqual(await addresses(cluster.bootstrap[0] as string), cluster.bootstrap)
  } finally {
    await cluster.stop()
    await proxy.close()
  }
})

kafkaTest('kafka cluster: a port that is taken is named before anything is started', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await t.throwsAsync(startKafka({ port }), { message: new RegExp(`SLU_ENV_PORT.*${port}`) })
  server.close()
})
