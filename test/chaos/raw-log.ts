/**
 * The log as any other client of Kafka sees it: kafkajs' own admin, producer and consumer, nothing of `streams/` or of our driver.
 *
 * Owns: making the raw topic, what groups have committed, and reading topics to their end. The end is a record of ours, appended to every
 * partition: a reader that sees it has seen everything before it, control records and aborted transactions included.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import kafkajs from 'kafkajs'

export interface RawRecord {
  readonly topic: string
  readonly partition: number
  readonly offset: bigint
  readonly timestampMs: number
  readonly key: string | null
  readonly value: Buffer | null
  readonly headers: Readonly<Record<string, string>>
}

export interface RawLog {
  /** A topic that keeps the times its producer states. */
  createSourceTopic(topic: string, partitions: number): Promise<void>
  /** Next offset to read by partition; a partition of which nothing was committed is absent. */
  committed(group: string, topic: string): Promise<Map<number, bigint>>
  ends(topic: string): Promise<Map<number, bigint>>
  /** All topics are led and all their replicas are in sync. */
  isWhole(): Promise<boolean>
  /** Every committed record of the topics up to now, each partition in order. */
  readAll(topics: readonly string[], take: (record: RawRecord) => void): Promise<void>
  /** Reads on until `take` says that it has seen enough. */
  readUntil(topic: string, boundMs: number, take: (record: RawRecord) => boolean): Promise<boolean>
  close(): Promise<void>
}

const END_HEADER = 'chaos.end'
const READ_MS = 180_000
const ASK_AGAIN_MS = 100

function headersOf(headers: kafkajs.IHeaders | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(headers ?? {}).map(([name, value]) => [name, (Array.isArray(value) ? value : [value]).map(String).join(',')]))
}

export async function openRawLog(bootstrap: readonly string[]): Promise<RawLog> {
  const client = new kafkajs.Kafka({
    brokers: [...bootstrap],
    clientId: 'chaos',
    logLevel: kafkajs.logLevel.NOTHING,
    retry: { initialRetryTime: 100, maxRetryTime: 1000, retries: 30 },
  })
  const admin = client.admin()
  await admin.connect()

  /** Reads from the beginning; `take` says whether it is done. */
  const read = async (topics: readonly string[], boundMs: number, take: (record: RawRecord) => boolean): Promise<boolean> => {
    const consumer = client.consumer({ groupId: `chaos-reader-${randomUUID()}`, readUncommitted: false, maxBytesPerPartition: 4 << 20 })
    const { promise: done, resolve } = Promise.withResolvers<boolean>()
    const over = new AbortController()
    try {
      await consumer.connect()
      await consumer.subscribe({ topics: [...topics], fromBeginning: true })
      await consumer.run({
        autoCommit: false,
        eachBatch: ({ batch }) => {
          for (const { offset, timestamp, key, value, headers } of batch.messages)
            if (
              take({
                topic: batch.topic,
                partition: batch.partition,
                offset: BigInt(offset),
                timestampMs: Number(timestamp),
                key: key === null ? null : key.toString('utf8'),
                value,
                headers: headersOf(headers),
              })
            )
              resolve(true)
          return Promise.resolve()
        },
      })
      return await Promise.race([done, delay(boundMs, false, { signal: over.signal })])
    } finally {
      over.abort()
      await consumer.disconnect()
    }
  }

  const ends = async (topic: string): Promise<Map<number, bigint>> => new Map((await admin.fetchTopicOffsets(topic)).map((p) => [p.partition, BigInt(p.offset)]))

  return {
    createSourceTopic: async (topic, partitions) => {
      const configEntries = [
        { name: 'message.timestamp.type', value: 'CreateTime' },
        { name: 'retention.ms', value: '-1' },
      ]
      // Its leaders are awaited by what comes after: a broker that has not heard of the topic yet makes kafkajs give up instead of asking again.
      await admin.createTopics({ topics: [{ topic, numPartitions: partitions, replicationFactor: 3, configEntries }], waitForLeaders: false })
    },
    committed: async (groupId, topic) => {
      const [found] = await admin.fetchOffsets({ groupId, topics: [topic] })
      return new Map((found?.partitions ?? []).flatMap((p) => (Number(p.offset) < 0 ? [] : [[p.partition, BigInt(p.offset)] as const])))
    },
    ends,
    isWhole: async () => {
      try {
        const { topics } = await admin.fetchTopicMetadata()
        return topics.every(({ partitions }) => partitions.every((p) => p.leader >= 0 && p.isr.length === p.replicas.length))
      } catch {
        // A broker on its way out or in: not whole.
        return false
      }
    },
    readAll: async (topics, take) => {
      const producer = client.producer({ idempotent: true, maxInFlightRequests: 1 })
      const mark = randomUUID()
      const left = new Set<string>()
      await producer.connect()
      for (const topic of topics) {
        const partitions = [...(await ends(topic)).keys()]
        for (const partition of partitions) left.add(`${topic}/${partition}`)
        await producer.send({ topic, messages: partitions.map((partition) => ({ partition, key: null, value: null, headers: { [END_HEADER]: mark } })) })
      }
      await producer.disconnect()
      const isRead = await read(topics, READ_MS, (record) => {
        const at = `${record.topic}/${record.partition}`
        // What an earlier reading appended is no record of anybody's; what comes again after a hiccup of this reader is known.
        if (record.headers[END_HEADER] === mark) left.delete(at)
        else if (record.headers[END_HEADER] === undefined && left.has(at)) take(record)
        return left.size === 0
      })
      if (!isRead) throw new Error(`not read to the end within ${READ_MS} ms: ${[...left].join(', ')}`)
    },
    readUntil: (topic, boundMs, take) => read([topic], boundMs, take),
    close: () => admin.disconnect(),
  }
}

/** Asks until it holds; false when the time is over. */
export async function holdsWithin(boundMs: number, signal: AbortSignal, condition: () => Promise<boolean>): Promise<boolean> {
  const untilMs = Date.now() + boundMs
  for (;;) {
    if (await condition()) return true
    if (Date.now() > untilMs) return false
    await delay(ASK_AGAIN_MS, undefined, { signal })
  }
}
