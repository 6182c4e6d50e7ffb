/** A three-broker cluster that loses brokers by SIGKILL while records flow: the group's coordinator, and the leader of a partition that is produced to. */
import test from 'ava'
import kafkajs from 'kafkajs'
import { isKafkaAvailable, startKafka } from '../../infra/deploy/kafka/cluster.ts'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import type { TopicPartition } from '../../schemas/log.ts'
import { until } from '../helpers/until.ts'

const { available, reason } = await isKafkaAvailable()
if (!available && process.env['SLUICE_REQUIRE_KAFKA'] === '1') throw new Error(`SLUICE_REQUIRE_KAFKA is set and Kafka cannot be started: ${reason}`)
const kafkaTest = available ? test : test.skip
const GROUP = 'survivors'

/** Index of the broker that leads the first partition of the topic now, other than `spared`. */
async function leaderOf(bootstrap: readonly string[], topic: string, spared: number): Promise<number> {
  const admin = new kafkajs.Kafka({ brokers: [...bootstrap], logLevel: kafkajs.logLevel.NOTHING }).admin()
  await admin.connect()
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  await admin.disconnect()
  return (topics[0]?.partitions ?? []).map((p) => p.leader - 1).find((index) => index >= 0 && index !== spared) ?? 0
}

/** Index of the broker that coordinates the group now. */
async function coordinatorOf(bootstrap: readonly string[]): Promise<number> {
  const client = new kafkajs.Kafka({ brokers: [...bootstrap], logLevel: kafkajs.logLevel.NOTHING })
  const admin = client.admin()
  await admin.connect()
  const { topics } = await admin.fetchTopicMetadata({ topics: ['__consumer_offsets'] })
  await admin.disconnect()
  // As the broker places a group: Java's String.hashCode modulo the partitions of the offsets topic.
  let hash = 0
  for (const char of GROUP) hash = (Math.imul(hash, 31) + char.charCodeAt(0)) | 0
  const partitions = topics[0]?.partitions ?? []
  const at = (hash & 0x7fffffff) % partitions.length
  return (partitions.find((p) => p.partitionId === at)?.leader ?? 1) - 1
}

kafkaTest(
  'kafka: the coordinator’s broker, then the leader of a partition, is killed while records flow: commits go on, nothing is lost, nothing comes after a revocation (C1, C3, C4)',
  async (t) => {
    t.timeout(240_000)
    const cluster = await startKafka({ brokers: 3 })
    const driver = createKafkaDriver({ brokers: cluster.bootstrap, sessionMs: 10_000 })
    const problems: string[] = []
    try {
      await driver
        .admin()
        .createTopics([{ name: 'flow', partitions: 4, replication: 3, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 }])
      const owned = new Map<string, { tp: TopicPartition; epoch: number }>()
      const next = new Map<string, bigint>()
      const seen = new Set<string>()
      const consumer = driver.consumer({ group: GROUP, topics: ['flow'] })
      await consumer.start({
        assigned: (assignments) => {
          for (const { topic, partition, epoch } of assignments) owned.set(`${topic}/${partition}`, { tp: { topic, partition }, epoch })
          return Promise.resolve(assignments.map(({ topic, partition, committed }) => ({ topic, partition, nextOffset: committed?.nextOffset ?? ('start' as const) })))
        },
        revoked: (partitions) => {
          for (const { topic, partition } of partitions) owned.delete(`${topic}/${partition}`)
          return Promise.resolve()
        },
        records: (tp, epoch, records, readTo) => {
          const key = `${tp.topic}/${tp.partition}`
          if (owned.get(key)?.epoch !== epoch) problems.push(`records of ${key} after its revocation`)
          for (const r of records) seen.add(String(r.value))
          next.set(key, readTo)
        },
        held: (tp, error) => problems.push(`held ${tp.partition}: ${error.message}`),
        failed: (error) => problems.push(`failed: ${error.message}`),
      })
      const producer = driver.producer()
      let sent = 0
      let repeats = 0
      const producingOn = { is: true }
      const producing = (async () => {
        while (producingOn.is) {
          const batch = Array.from({ length: 20 }, () => String(sent++))
          // An unreachable leader is tried again, as the runtime does (C5). What had landed although it was answered with an error is then there twice.
          for (;;) {
            try {
              await producer.send(batch.map((value, i) => ({ topic: 'flow', partition: i % 4, key: null, value: Buffer.from(value) })))
              break
            } catch (error) {
              if (!/SLU_LOG_(UNREACHABLE|NOT_READY|CLOSED)/.test(String(error))) {
                problems.push(`send: ${String(error)} because ${String((error as Error).cause)}`)
                return
              }
              repeats++
            }
          }
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      })()
      const committed = async (): Promise<bigint> => [...(await driver.admin().committed(GROUP, 'flow')).values()].reduce((sum, c) => sum + c.nextOffset, 0n)
      const commit = async (): Promise<boolean> => {
        try {
          await consumer.commit([...owned].map(([key, { tp, epoch }]) => ({ ...tp, epoch, nextOffset: next.get(key) ?? 0n, metadata: 'm' })))
          return true
        } catch {
          return false
        }
      }
      await until(() => seen.size > 200, 60_000)
      await until(commit, 30_000)

      for (let round = 0; round < 2; round++) {
        const coordinator = await coordinatorOf(cluster.bootstrap)
        const victim = round === 0 ? coordinator : await leaderOf(cluster.bootstrap, 'flow', coordinator)
        const before = await committed()
        await cluster.kill(victim)
        const goal = sent + 400
        await until(
          () => seen.size >= goal,
          90_000,
          () => `round ${round}: ${seen.size} of ${goal} seen; ${problems.join('; ')}`,
        )
        await until(
          async () => (await commit()) && (await committed()) > before,
          60_000,
          () => `round ${round}: no commit after a broker was killed`,
        )
        await cluster.restart(victim)
      }
      producingOn.is = false
      await producing
      await until(
        () => seen.size === sent,
        60_000,
        () => `${seen.size} of ${sent} seen`,
      )
      await consumer.stop()
      t.deepEqual(problems, [])
      const ends = await driver.admin().ranges('flow')
      const written = Number(ends.reduce((sum, r) => sum + r.endOffset, 0n))
      t.true(written >= sent && written <= sent + 20 * repeats, `${written} written of ${sent}, ${repeats} sends repeated`)
    } finally {
      await driver.close()
      await cluster.stop()
    }
  },
)
