/**
 * A Kafka cluster as the group member sees it: kafkajs' protocol layer with one partitioned topic, whose answers a test scripts.
 *
 * Owns: a group of one member, its committed offsets, and a script per kind of request: what stands next in it (an error name, a plain error, a promise to
 * wait for) comes instead of the usual answer. Hostile on demand: it answers late, never, or with any error of the protocol.
 */
import { createRequire } from 'node:module'
import type { Broker, Cluster } from '../../infra/log/kafka/kafkajs.ts'

const { MemberAssignment } = createRequire(import.meta.url)('kafkajs/src/consumer/assignerProtocol') as {
  MemberAssignment: { encode(value: { version: number; assignment: Record<string, number[]>; userData: Buffer }): Buffer }
}

export type Request = 'join' | 'sync' | 'heartbeat' | 'commit' | 'offsets' | 'leave' | 'coordinator' | 'connect'

/** The name of a protocol error, an error without one (the transport's), or what must resolve before the usual answer comes. */
export type Step = string | Error | Promise<unknown>

export interface FakeCluster {
  readonly cluster: Cluster
  readonly requests: { readonly kind: Request; readonly memberId?: string; readonly generation?: number }[]
  readonly committed: Map<number, { offset: string; metadata: string }>
  /** What the next requests of a kind meet. */
  script(kind: Request, ...steps: Step[]): void
  count(kind: Request): number
  isConnected(): boolean
}

const protocolError = (type: string): Error => Object.assign(new Error(type), { name: 'KafkaJSProtocolError', type })

export function fakeCluster(topic: string, partitions: readonly number[]): FakeCluster {
  const requests: FakeCluster['requests'] = []
  const scripts = new Map<Request, Step[]>()
  const committed: FakeCluster['committed'] = new Map()
  let generation = 0
  let members = 0
  let isConnected = false

  const meet = async (kind: Request, seen: { memberId?: string; generation?: number } = {}): Promise<void> => {
    requests.push({ kind, ...seen })
    const step = scripts.get(kind)?.shift()
    if (typeof step === 'string') throw protocolError(step)
    if (step instanceof Error) throw step
    await step
  }

  const broker: Broker = {
    nodeId: 1,
    // Nothing to read: the fetch loop waits as it would at the end of a partition.
    fetch: () => new Promise((resolve) => setTimeout(() => resolve({ responses: [] }), 20)),
    joinGroup: async ({ memberId }) => {
      await meet('join', { memberId })
      return { memberId: memberId === '' ? `member-${++members}` : memberId, leaderId: 'another', generationId: ++generation, members: [] }
    },
    syncGroup: async ({ memberId, generationId }) => {
      await meet('sync', { memberId, generation: generationId })
      return { memberAssignment: MemberAssignment.encode({ version: 1, assignment: { [topic]: [...partitions] }, userData: Buffer.alloc(0) }) }
    },
    heartbeat: ({ memberId, groupGenerationId }) => meet('heartbeat', { memberId, generation: groupGenerationId }),
    leaveGroup: ({ memberId }) => meet('leave', { memberId }),
    produce: () => Promise.reject(new Error('nothing is produced through this cluster')),
    offsetFetch: async () => {
      await meet('offsets')
      return { responses: [{ topic, partitions: partitions.map((partition) => ({ partition, ...(committed.get(partition) ?? { offset: '-1', metadata: null }) })) }] }
    },
    offsetCommit: async ({ memberId, groupGenerationId, topics }) => {
      await meet('commit', { memberId, generation: groupGenerationId })
      for (const { partitions: of } of topics) for (const { partition, offset, metadata } of of) committed.set(partition, { offset, metadata })
      return {}
    },
  }
  const cluster: Cluster = {
    connect: async () => {
      await meet('connect')
      isConnected = true
    },
    disconnect: () => {
      isConnected = false
      return Promise.resolve()
    },
    refreshMetadata: () => Promise.resolve(),
    addMultipleTargetTopics: () => Promise.resolve(),
    findBroker: () => Promise.resolve(broker),
    findGroupCoordinator: async () => {
      await meet('coordinator')
      return broker
    },
    findTopicPartitionMetadata: () => partitions.map((partitionId) => ({ partitionId, leader: 1 })),
    fetchTopicsOffset: (topics) => Promise.resolve(topics.map((x) => ({ topic: x.topic, partitions: x.partitions.map(({ partition }) => ({ partition, offset: '0' })) }))),
  }
  return {
    cluster,
    requests,
    committed,
    script: (kind, ...steps) => void scripts.set(kind, [...(scripts.get(kind) ?? []), ...steps]),
    count: (kind) => requests.filter((r) => r.kind === kind).length,
    isConnected: () => isConnected,
  }
}
