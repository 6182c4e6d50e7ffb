/**
 * The fenced producer (C8, R1): one transactional id, one holder.
 *
 * Owns: opening (connect, begin, abort: `connect()` alone fences nobody, the first transaction does), transactions one at a time, and what
 * their failures mean. A plain `send()` would still be accepted from a fenced holder, so there is none.
 */
import type { Appended, FencedProducer, OutRecord } from '../../../schemas/log.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { kafkaError } from './errors.ts'
import { createClient, TRANSACTION_RETRY, type Connection } from './kafkajs.ts'
import { createPartitioner, requestsOf, writeAll } from './producer.ts'

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

  const write = async (records: readonly OutRecord[]): Promise<Appended[]> => {
    const transaction = await producer.transaction()
    const appended: Appended[] = []
    try {
      for (const request of requestsOf(records)) appended.push(...(await writeAll(request, (topicMessages) => transaction.sendBatch({ acks: -1, topicMessages }))))
      await transaction.commit()
      return appended
    } catch (error) {
      // The outcome may be unknown (a commit whose answer was lost): the caller opens anew and looks.
      if (transaction.isActive()) await transaction.abort().catch(() => {})
      throw error
    }
  }

  return {
    transaction: (records) => {
      if (isClosed) return Promise.reject(new SluiceError('SLU_LOG_FENCED', `${name} is closed`))
      if (records.length === 0) return Promise.resolve([])
      const turn = last.then(() => write(records)).catch((error: unknown) => Promise.reject(explain(error)))
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
