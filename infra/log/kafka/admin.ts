/**
 * Topics, ranges and committed offsets over kafkajs' admin client.
 *
 * Owns: the settings of a topic as our `TopicSpec`/`TopicInfo`, and the question whether we may write to one. The broker looks at our rights before
 * it looks for the partition, so a record for a partition that cannot be is refused for one reason or the other, and never written.
 */
import type { Admin } from 'kafkajs'
import type { LogAdmin, PartitionRange, TopicInfo, TopicSpec } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { creationRefused, kafkaError, typeOf } from './errors.ts'
import { ConfigResourceTypes, createClient, createCluster, type Cluster, type Connection } from './kafkajs.ts'
import { askLeaders, leaderOffsets, partitionsOf, PASSING_BOUND_MS, whilePassing } from './leaders.ts'

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

/** Only of topics that are ours: on a shared cluster others may be seen, and nothing of them asked. */
async function infos(admin: Admin, prefix: string): Promise<TopicInfo[]> {
  const names = (await admin.listTopics()).filter((name) => name.startsWith(prefix) && !name.startsWith('__'))
  if (names.length === 0) return []
  const [{ topics }, { resources }] = await Promise.all([
    admin.fetchTopicMetadata({ topics: names }),
    admin.describeConfigs({
      includeSynonyms: false,
      resources: names.map((name) => ({
        type: ConfigResourceTypes.TOPIC,
        name,
        configNames: ['message.timestamp.type', 'cleanup.policy', 'retention.ms', 'max.message.bytes'],
      })),
    }),
  ])
  const settings = new Map(resources.filter((r) => r.errorCode === 0).map((r) => [r.resourceName, new Map(r.configEntries.map((c) => [c.configName, c.configValue]))]))
  return topics.map(({ name, partitions }) => {
    const of = settings.get(name)
    if (of === undefined) return { name, partitions: partitions.length, timestampType: null, cleanup: null, retentionMs: null, maxMessageBytes: null }
    return {
      name,
      partitions: partitions.length,
      timestampType: of.get('message.timestamp.type') === 'LogAppendTime' ? 'LogAppendTime' : 'CreateTime',
      cleanup: of.get('cleanup.policy') ?? 'delete',
      retentionMs: Number(of.get('retention.ms') ?? -1),
      maxMessageBytes: of.has('max.message.bytes') ? Number(of.get('max.message.bytes')) : null,
    }
  })
}

/** On connections of its own: metadata that is had for the question, not what another one left. */
async function looking<T>(connection: Connection, act: (cluster: Cluster) => Promise<T>): Promise<T> {
  const cluster = createCluster(connection, 0)
  try {
    await cluster.connect()
    return await act(cluster)
  } finally {
    await cluster.disconnect().catch(() => {})
  }
}

/** Resolves when the leader of every partition of `specs` answers: what comes next then meets no topic that is there and yet not. */
const untilServed = (connection: Connection, specs: readonly TopicSpec[]): Promise<void> =>
  looking(connection, (cluster) =>
    askLeaders(
      cluster,
      specs.map((s) => s.name),
      async () => {
        for (const { name, partitions } of specs) {
          const served = await leaderOffsets(cluster, name, partitionsOf(cluster, name), 'end')
          if (served.size < partitions) throw new SluiceError('SLU_LOG_NOT_READY', `${name}: ${served.size} of ${partitions} partitions are served`)
        }
      },
      { explain: (error) => kafkaError(error, connection.brokers, 'creating topics'), boundMs: CREATE_TIMEOUT_MS, soonMs: CREATE_TIMEOUT_MS },
    ),
  )

const ranges = (connection: Connection, topic: string): Promise<PartitionRange[]> =>
  looking(connection, (cluster) =>
    askLeaders(
      cluster,
      [topic],
      async () => {
        const partitions = partitionsOf(cluster, topic)
        if (partitions.length === 0) throw new SluiceError('SLU_LOG_TOPIC_MISSING', topic)
        const [starts, ends] = await Promise.all([leaderOffsets(cluster, topic, partitions, 'start'), leaderOffsets(cluster, topic, partitions, 'end')])
        return partitions
          .map((partition) => ({ partition, startOffset: starts.get(partition) ?? 0n, endOffset: ends.get(partition) ?? 0n }))
          .sort((a, b) => a.partition - b.partition)
      },
      { explain: (error) => kafkaError(error, connection.brokers, topic), boundMs: PASSING_BOUND_MS },
    ),
  )

const mayAppend = (connection: Connection, topic: string): Promise<boolean> =>
  looking(connection, async (cluster) => {
    let isThere = false
    try {
      await cluster.addMultipleTargetTopics([topic])
      isThere = true
      const leader = cluster.findTopicPartitionMetadata(topic).find((p) => p.leader >= 0)?.leader
      if (leader === undefined) throw new SluiceError('SLU_LOG_NOT_READY', `${topic} has no leader`)
      const broker = await cluster.findBroker({ nodeId: leader })
      await broker.produce({ acks: -1, timeout: PROBE_TIMEOUT_MS, topicData: [{ topic, partitions: [{ partition: NO_PARTITION, messages: [{ key: null, value: null }] }] }] })
      throw new SluiceError('SLU_INTERNAL', `${topic} has a partition ${NO_PARTITION}`)
    } catch (error) {
      if (error instanceof SluiceError) throw error
      if (typeOf(error) === 'TOPIC_AUTHORIZATION_FAILED') return false
      // Of the partition, if the topic was there before.
      if (isThere && typeOf(error) === 'UNKNOWN_TOPIC_OR_PARTITION') return true
      throw error
    }
  })

export function createAdmin(connection: Connection, onClose: () => void): LogAdmin {
  const admin = createClient(connection).admin()
  let connecting: Promise<void> | null = null
  const explained = async <T>(detail: string, act: () => Promise<T>): Promise<T> => {
    try {
      return await act()
    } catch (error) {
      throw kafkaError(error, connection.brokers, detail)
    }
  }
  const using = <T>(detail: string, act: () => Promise<T>): Promise<T> =>
    explained(detail, async () => {
      connecting ??= admin.connect()
      await connecting.catch((error: unknown) => {
        connecting = null
        throw error
      })
      return act()
    })
  return {
    topics: (prefix) => using('topics', () => infos(admin, prefix)),
    createTopics: (specs) =>
      using('creating topics', async () => {
        const existing = new Set(await admin.listTopics())
        const missing = specs.filter((s) => !existing.has(s.name))
        if (missing.length > 0) {
          await admin
            .createTopics({
              // It would ask one broker for the metadata only, which has a leader before that serves.
              waitForLeaders: false,
              timeout: CREATE_TIMEOUT_MS,
              topics: missing.map((s) => ({ topic: s.name, numPartitions: s.partitions, replicationFactor: s.replication, configEntries: entriesOf(s) })),
            })
            .catch((thrown: unknown) => {
              // Somebody else may have created some between the look and the request; what else was refused is not to hide behind that.
              const refused = creationRefused(thrown)
              if (refused !== null) throw kafkaError(refused.error, connection.brokers, `creating ${refused.topic ?? 'topics'}`)
            })
          await untilServed(connection, missing)
        }
        return { created: missing.map((s) => s.name), existing: specs.filter((s) => existing.has(s.name)).map((s) => s.name) }
      }),
    ranges: (topic) => explained(topic, () => ranges(connection, topic)),
    committed: (group, topic) =>
      using(`group ${group}`, async () => {
        // The first group of a cluster meets a coordinator that is not ready.
        const [found] = await whilePassing(() => admin.fetchOffsets({ groupId: group, topics: [topic] }), {
          explain: (error) => kafkaError(error, connection.brokers, `group ${group}`),
          boundMs: PASSING_BOUND_MS,
        })
        return new Map((found?.partitions ?? []).filter((p) => BigInt(p.offset) >= 0n).map((p) => [p.partition, { nextOffset: BigInt(p.offset), metadata: p.metadata ?? '' }]))
      }),
    mayAppend: (topic) => explained(topic, () => mayAppend(connection, topic)),
    close: async () => {
      await admin.disconnect().catch(() => {})
      onClose()
    },
  }
}
