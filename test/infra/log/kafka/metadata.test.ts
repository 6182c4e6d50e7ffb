import { createRequire } from 'node:module'
import test from 'ava'
import { withoutGoneTopics } from '../../../../infra/log/kafka/metadata.ts'
import type { Cluster } from '../../../../infra/log/kafka/kafkajs.ts'

const require = createRequire(import.meta.url)
const { parse } = require('kafkajs/src/protocol/requests/metadata/v6/response') as { parse(data: object): Promise<object> }
const UNKNOWN = 3

/** As kafkajs' cluster asks: for all its topics together. */
function world(...topics: string[]) {
  const there = new Set(topics)
  const asked: string[][] = []
  const targetTopics = new Set(topics)
  const brokerPool = {
    metadata: undefined as object | undefined,
    refreshMetadata: async (names: readonly string[]) => {
      asked.push([...names])
      const topicMetadata = names.map((topic) => ({
        topic,
        topicErrorCode: there.has(topic) ? 0 : UNKNOWN,
        partitionMetadata: there.has(topic) ? [{ partitionErrorCode: 0 }] : [],
      }))
      brokerPool.metadata = await parse({ topicMetadata })
    },
  }
  const cluster = withoutGoneTopics({ targetTopics, brokerPool, refreshMetadata: () => brokerPool.refreshMetadata([...targetTopics]) } as unknown as Cluster)
  return { cluster, there, asked, targetTopics }
}

test('kafka metadata: a topic that is gone takes nothing from the others, and is there again when it is', async (t) => {
  const w = world('a', 'b')
  await w.cluster.refreshMetadata()
  w.there.delete('b')
  await w.cluster.refreshMetadata()
  t.deepEqual(w.asked, [['a', 'b'], ['a', 'b'], ['a']])
  w.there.add('b')
  await w.cluster.refreshMetadata()
  t.deepEqual(w.asked.at(-1), ['a', 'b'])
})

test('kafka metadata: a topic that was never there is an error: who asks for it is told', async (t) => {
  const w = world('a')
  await w.cluster.refreshMetadata()
  w.targetTopics.add('never')
  const error = await t.throwsAsync(w.cluster.refreshMetadata())
  t.is((error as { type?: string }).type, 'UNKNOWN_TOPIC_OR_PARTITION')
})
