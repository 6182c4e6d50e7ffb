/**
 * The fenced producer (C8, R1): one transactional id, one holder.
 *
 * Owns: opening (connect, begin, abort: `connect()` alone fences nobody, the first transaction does), transactions one at a time, and what
 * their failures mean. A plain `send()` would still be accepted from a fenced holder, so there is none. Committed offsets may go along; the
 * group coordinator checks the producer's epoch, not the member's generation (no KIP-447 in kafkajs): the name is the fence.
 * A broker measures a batch: records that are too large only together go one by one, in a transaction of their own making. Only where all that was refused
 * was for one partition: of several, some may have been taken, and the client's sequence numbers would be behind.
 */
import { COMMIT_METADATA_BYTES_MAX, type Appended, type FencedProducer, type OutRecord, type TransactionOffsets } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { kafkaError } from './errors.ts'
import { createClient, TRANSACTION_RETRY, type Connection } from './kafkajs.ts'
import { createPartitioner, isTooLarge, requestsOf, writeFitting } from './producer.ts'

type SentOffsets = Parameters<Awaited<ReturnType<ReturnType<ReturnType<typeof createClient>['producer']>['transaction']>>['sendOffsets']>[0]

/** As kafkajs takes them: its types leave the metadata out, its request writes it. */
function sentOffsets({ group, entries }: TransactionOffsets): SentOffsets & { consumerGroupId: string } {
  const topics = [...Map.groupBy(entries, (entry) => entry.topic)].map(([topic, ofTopic]) => ({
    topic,
    partitions: ofTopic.map(({ partition, nextOffset, metadata }) => ({ partition, offset: String(nextOffset), metadata })),
  }))
  return { consumerGroupId: group, topics }
}

function isForOnePartition(records: readonly OutRecord[]): boolean {
  const [first] = records
  return records.every(({ topic, partition, key }) => {
    if (topic !== first?.topic || partition !== first.partition) return false
    return partition !== undefined || (key !== null && first.key !== null && key.equals(first.key))
  })
}

/** Resolves once every earlier holder of `name` is refused. */
export async function openFencedProducer(connection: Connection, name: string, onClose: () => void): Promise<FencedProducer> {
  const explain = (error: unknown): SluiceError => kafkaError(error, connection.brokers, `fenced producer ${name}`)
  const producer = createClient(connection).producer({
    transactionalId: name,
    idempotent: true,
    maxInFlightRequests: 1,
    allowAutoTopicCreation: false,
    createPartitioner,
    retry: TRANSACTION_RETRY,
  })
  let last: Promise<unknown> = Promise.resolve()
  let isClosed = false
  try {
    await producer.connect()
    const opening = await producer.transaction()
    await opening.abort()
  } catch (error) {
    await producer.disconnect().catch(() => {})
    throw explain(error)
  }

  const write = async (records: readonly OutRecord[], offsets: TransactionOffsets | undefined, isOneByOne = false): Promise<Appended[]> => {
    const transaction = await producer.transaction()
    const appended: Appended[] = []
    let asked: readonly OutRecord[] = []
    try {
      for (const request of isOneByOne ? records.map((record) => [record]) : requestsOf(records)) {
        asked = request
        const written = await writeFitting(request, (topicMessages, compression) =>
          transaction.sendBatch({ acks: -1, topicMessages, ...(compression === undefined ? {} : { compression }) }),
        )
        for (const one of written) appended.push(one)
      }
      if (offsets !== undefined) await transaction.sendOffsets(sentOffsets(offsets))
      await transaction.commit()
      return appended
    } catch (error) {
      // The outcome may be unknown (a commit whose answer was lost): the caller opens anew and looks.
      if (transaction.isActive()) await transaction.abort().catch(() => {})
      if (isTooLarge(error) && asked.length > 1 && isForOnePartition(asked)) return write(records, offsets, true)
      throw error
    }
  }

  return {
    transaction: (records, offsets) => {
      if (isClosed) return Promise.reject(new SluiceError('SLU_LOG_FENCED', `${name} is closed`))
      if (records.length === 0 && offsets === undefined) return Promise.resolve([])
      const large = offsets?.entries.find((entry) => Buffer.byteLength(entry.metadata) > COMMIT_METADATA_BYTES_MAX)
      if (large !== undefined) return Promise.reject(new SluiceError('SLU_LOG_METADATA_TOO_LARGE', `${large.topic}/${large.partition}`))
      const turn = last.then(() => write(records, offsets)).catch((error: unknown) => Promise.reject(explain(error)))
      last = turn.catch(() => {})
      return turn
    },
    close: async () => {
      if (isClosed) return
      isClosed = true
      await last
      await producer.disconnect().catch(() => {})
      onClose()
    },
  }
}
