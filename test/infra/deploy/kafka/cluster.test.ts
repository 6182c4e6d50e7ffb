import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { isKafkaAvailable, startKafka, type ClusterOptions } from '../../../../infra/deploy/kafka/cluster.ts'
import { createKafkaDriver } from '../../../../infra/log/kafka/driver.ts'
import { createClient } from '../../../../infra/log/kafka/kafkajs.ts'
import { causeChain, errors, SluiceError } from '../../../../schemas/errors.ts'
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

/** A start that fails: what it leaves under its root, and how it reads. */
async function failedStart(t: ExecutionContext, options: ClusterOptions): Promise<{ error: SluiceError; left: string[] }> {
  const root = mkdtempSync(join(tmpdir(), 'sluice-kafka-'))
  const error = (await t.throwsAsync(startKafka({ ...options, root }), { instanceOf: SluiceError })) as SluiceError
  const left = readdirSync(root)
  rmSync(root, { recursive: true, force: true })
  return { error, left }
}

kafkaTest('kafka cluster: a port that is taken is named before anything is started, and nothing is left behind', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const { error, left } = await failedStart(t, { port })
  server.close()
  t.regex(error.message, new RegExp(`SLU_ENV_PORT.*${port}`))
  t.regex(errors.SLU_ENV_PORT.fix, /--port/)
  t.deepEqual(left, [])
})

kafkaTest('kafka cluster: a formatting and a broker that fail say why in the words of their log, which is gone with the data', async (t) => {
  t.timeout(120_000)
  const formatting = await failedStart(t, { formatArgs: ['--no-such-option'] })
  t.regex(formatting.error.message, /SLU_ENV_SERVER.*formatting/)
  t.regex(causeChain(formatting.error.cause).join(), /no-such-option/)
  const broker = await failedStart(t, {
    listeners: [{ name: 'SECURE', protocol: 'SSL' }],
    settings: { 'ssl.keystore.type': 'PEM', 'ssl.keystore.location': join(tmpdir(), 'no-such-keystore.pem') },
  })
  t.regex(broker.error.message, /SLU_ENV_SERVER.*broker/)
  t.regex(causeChain(broker.error.cause).join(), /no-such-keystore/)
  t.deepEqual([formatting.left, broker.left], [[], []])
})
