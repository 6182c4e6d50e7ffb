import { existsSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import test from 'ava'
import { isKafkaAvailable, startKafka } from '../../../../infra/deploy/kafka/cluster.ts'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'

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

kafkaTest('kafka cluster: a port that is taken is named before anything is started', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await t.throwsAsync(startKafka({ port }), { message: new RegExp(`SLU_ENV_PORT.*${port}`) })
  server.close()
})
