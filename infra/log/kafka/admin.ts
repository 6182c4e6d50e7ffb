/**
 * Topics, ranges and committed offsets over kafkajs' admin client.
 *
 * Owns: the settings of a topic as our `TopicSpec`/`TopicInfo`, and the question whether we may write to one. The broker looks at our rights before
 * it looks for the partition, so a record for a partition that cannot be is refused for one reason or the other, and never written.
 */
import kafkajs from 'kafkajs'
import type { Admin } from 'kafkajs'
import type { LogAdmin, TopicInfo, TopicSpec } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { kafkaError, typeOf } from './errors.ts'
import { createClient, createCluster, type Connection } from './kafkajs.ts'

const CREATE_TIMEOUT_MS = 15_000
const PROBE_TIMEOUT_MS = 5000
/** No topic has it. */
const NO_PARTITION = 0x7fffffff

const entriesOf = (spec: TopicSpec): { name: string; value: string }[] => [
  { name: 'message.timestamp.type', value: spec.timestampType },
  { name: 'cleanup.policy', value: spec.cleanup },
  { name: 'retention.ms', value: String(spec.retentionMs) },
  { name: 'max.message.bytes', value: String(spec.maxMessageBytes) },
]

async function infos(admin: Admin): Promise<TopicInfo[]> {
  const names = (await admin.listTopics()).filter((name) => !name.startsWith('__'))
  if (names.length === 0) return []
  const [{ topics }, { resources }] = await Promise.all([
    admin.fetchTopicMetadata({ topics: names }),
    admin.describeConfigs({
      includeSynonyms: false,
      resources: names.map((name) => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name, configNames: ['message.timestamp.type', 'cleanup.policy', 'retention.ms'] })),
    }),
  ])
  const settings = new Map(resources.map((r) => [r.resourceName, new Map(r.configEntries.map((c) => [c.configName, c.configValue]))]))
  return topics.map(({ name, partitions }) => {
    const of = settings.get(name)
    return {
      name,
      partitions: partitions.length,
      timestampType: of?.get('message.timestamp.type') === 'LogAppendTime' ? 'LogAppendTime' : 'CreateTime',
      cleanup: of?.get('cleanup.policy') ?? 'delete',
      retentionMs: Number(of?.get('retention.ms') ?? -1),
    }
  })
}

async function mayAppend(connection: Connection, topic: string): Promise<boolean> {
  const cluster = createCluster(connection, 1)
  try {
    await cluster.connect()
    await cluster.addMultipleTargetTopics([topic])
    const leader = cluster.findTopicPartitionMetadata(topic).find((p) => p.leader >= 0)?.leader
    if (leader === undefined) throw new SluiceError('SLU_LOG_UNREACHABLE', `${topic} has no leader`)
    const broker = await cluster.findBroker({ nodeId: leader })
    await broker.produce({ acks: -1, timeout: PROBE_TIMEOUT_MS, topicData: [{ topic, partitions: [{ partition: NO_PARTITION, messages: [{ key: null, value: null }] }] }] })
    throw new SluiceError('SLU_INTERNAL', `${topic} has a partition ${NO_PARTITION}`)
  } catch (error) {
    if (error instanceof SluiceError) throw error
    if (typeOf(error) === 'TOPIC_AUTHORIZATION_FAILED') return false
    // Of the partition if the topic's metadata was had before.
    if (typeOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION' && cluster.findTopicPartitionMetadata(topic).length > 0) return true
    throw error
  } finally {
    await cluster.disconnect().catch(() => {})
  }
}

export function createAdmin(connection: Connection, onClose: () => void): LogAdmin {
  const admin = createClient(connection).admin()
  let connecting: Promise<void> | null = null
  const using = async <T>(detail: string, act: () => Promise<T>): Promise<T> => {
    try {
      connecting ??= admin.connect()
      await connecting.catch((error: unknown) => {
        connecting = null
        throw error
      })
      return await act()
    } catch (error) {
      throw kafkaError(error, connection.brokers, detail)
    }
  }
  return {
    topics: () => using('topics', () => infos(admin)),
    createTopics: (specs) =>
      using('creating topics', async () => {
        const existing = new Set(await admin.listTopics())
        const missing = specs.filter((s) => !existing.has(s.name))
        if (missing.length > 0)
          await admin
            .createTopics({
              waitForLeaders: true,
              timeout: CREATE_TIMEOUT_MS,
              topics: missing.map((s) => ({ topic: s.name, numPartitions: s.partitions, replicationFactor: s.replication, configEntries: entriesOf(s) })),
            })
            .catch((error: unknown) => {
              // Somebody else created it between the look and the request.
              if (typeOf(error) !== 'TOPIC_ALREADY_EXISTS') throw error
            })
        return { created: missing.map((s) => s.name), existing: specs.filter((s) => existing.has(s.name)).map((s) => s.name) }
      }),
    ranges: (topic) =>
      using(topic, async () => {
        const rows = await admin.fetchTopicOffsets(topic)
        if (rows.length === 0) throw new SluiceError('SLU_LOG_TOPIC_MISSING', topic)
        return rows.map((r) => ({ partition: r.partition, startOffset: BigInt(r.low), endOffset: BigInt(r.high) })).sort((a, b) => a.partition - b.partition)
      }),
    committed: (group, topic) =>
      using(`group ${group}`, async () => {
        const [found] = await admin.fetchOffsets({ groupId: group, topics: [topic] })
        return new Map((found?.partitions ?? []).filter((p) => BigInt(p.offset) >= 0n).map((p) => [p.partition, { nextOffset: BigInt(p.offset), metadata: p.metadata ?? '' }]))
      }),
    mayAppend: (topic) => using(topic, () => mayAppend(connection, topic)),
    close: async () => {
      await admin.disconnect().catch(() => {})
      onClose()
    },
  }
}
