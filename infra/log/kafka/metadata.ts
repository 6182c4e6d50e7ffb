/**
 * The metadata of a cluster's topics, without one that is gone: kafkajs asks for all its topics together, and one that was deleted refuses the whole
 * answer. Leaders that moved were never found again then, of no topic, and no group could join.
 *
 * Owns: that repair. A topic that this client has never seen is an error as before: who asks for it is told that it is missing. One that was there and
 * is gone has no partitions until it is there again.
 */
import { createRequire } from 'node:module'

const require = createRequire(import.meta.url)

interface Topic {
  readonly topic: string
  readonly topicErrorCode: number
}
interface Metadata {
  readonly topicMetadata: readonly Topic[]
}
/** What kafkajs' cluster has beside what we use of it elsewhere. */
interface Insides {
  readonly targetTopics: ReadonlySet<string>
  readonly brokerPool: { readonly metadata?: Metadata; refreshMetadata(topics: readonly string[]): Promise<void> }
}

const UNKNOWN_TOPIC = 3

for (const version of [0, 1, 2, 3, 4, 5, 6]) {
  const response = require(`kafkajs/src/protocol/requests/metadata/v${version}/response`) as { parse(data: Metadata): Promise<Metadata> }
  const { parse } = response
  response.parse = (data) =>
    parse(data).catch((error: unknown) => {
      throw Object.assign(error as Error, { gone: data.topicMetadata.filter((topic) => topic.topicErrorCode === UNKNOWN_TOPIC).map(({ topic }) => topic) })
    })
}

export function withoutGoneTopics<C extends { refreshMetadata(): Promise<void> }>(cluster: C): C {
  const seen = new Set<string>()
  const refresh = cluster.refreshMetadata.bind(cluster)
  const insides = cluster as unknown as Insides
  cluster.refreshMetadata = async () => {
    try {
      await refresh()
    } catch (error) {
      const gone = (error as { gone?: readonly string[] }).gone ?? []
      if (gone.length === 0 || gone.some((topic) => !seen.has(topic))) throw error
      await insides.brokerPool.refreshMetadata([...insides.targetTopics].filter((topic) => !gone.includes(topic)))
    }
    for (const { topic } of insides.brokerPool.metadata?.topicMetadata ?? []) seen.add(topic)
  }
  return cluster
}
