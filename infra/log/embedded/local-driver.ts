/**
 * A whole LogDriver over any `LogStore` of this process: what `driver.ts` (SQLite) and the in-memory twin of the tests share.
 *
 * Owns: handing out consumers, producers, fenced producers, readers and admins. Stores decide only how bytes are kept.
 */
import { SluiceError } from '../../../schemas/errors.ts'
import {
  COMMIT_METADATA_BYTES_MAX,
  type Appended,
  type Committed,
  type FencedProducer,
  type LogAdmin,
  type LogCapabilities,
  type LogDriver,
  type LogProducer,
  type LogReader,
  type OutRecord,
  type TransactionOffsets,
} from '../../../schemas/log.ts'
import { LocalConsumer } from './consumer.ts'
import { place, topicOf } from './store.ts'
import type { LocalLog } from './local-log.ts'
import { LocalTail } from './tail.ts'

export const LOCAL_CAPABILITIES: LogCapabilities = { transactions: true, commitMetadata: true, perPartitionPause: 'native', codecs: [] }

/** A driver plus what a test may do to it. */
export interface LocalDriver extends LogDriver {
  readonly consumers: ReadonlySet<LocalConsumer>
}

/** `onClose` runs once everything handed out is closed. */
export function createLocalDriver(name: LogDriver['name'], log: LocalLog, onClose: () => Promise<void>): LocalDriver {
  const consumers = new Set<LocalConsumer>()
  const tails = new Set<LocalTail>()
  let isClosed = false
  let turn = 0
  const anyPartition = (partitions: number): number => turn++ % partitions
  const open = (): void => {
    if (isClosed) throw new SluiceError('SLU_LOG_FAILED', 'the log driver is closed')
  }
  const producer = (): LogProducer => {
    let isDone = false
    return {
      send: async (records) => {
        open()
        if (isDone) throw new SluiceError('SLU_LOG_FAILED', 'the producer is closed')
        return append(log, records, null, anyPartition)
      },
      close: async () => {
        isDone = true
      },
    }
  }
  const fencedProducer = async (holder: string): Promise<FencedProducer> => {
    open()
    const fence = await log.store.openFence(holder)
    let isDone = false
    return {
      transaction: async (records, offsets) => {
        open()
        if (isDone) throw new SluiceError('SLU_LOG_FAILED', 'the fenced producer is closed')
        const large = offsets?.entries.find((entry) => Buffer.byteLength(entry.metadata) > COMMIT_METADATA_BYTES_MAX)
        if (large !== undefined) throw new SluiceError('SLU_LOG_METADATA_TOO_LARGE', `${large.topic}/${large.partition}`)
        return append(log, records, fence, anyPartition, offsets)
      },
      close: async () => {
        isDone = true
      },
    }
  }
  const reader = (): LogReader => {
    const own = new Set<LocalTail>()
    return {
      open: async (options) => {
        open()
        const tail = new LocalTail(log, options, () => {
          own.delete(tail)
          tails.delete(tail)
        })
        own.add(tail)
        tails.add(tail)
        return tail
      },
      close: async () => {
        for (const tail of own) await tail.close()
      },
    }
  }
  return {
    name,
    capabilities: LOCAL_CAPABILITIES,
    consumers,
    consumer: (options) => {
      open()
      const consumer = new LocalConsumer(log, options, () => consumers.delete(consumer))
      consumers.add(consumer)
      return consumer
    },
    producer,
    fencedProducer,
    reader,
    admin: () => createAdmin(log),
    close: async () => {
      if (isClosed) return
      await Promise.all([...consumers].map((consumer) => consumer.stop()))
      isClosed = true
      await Promise.all([...tails].map((tail) => tail.close()))
      await onClose()
    },
  }
}

async function append(
  log: LocalLog,
  records: readonly OutRecord[],
  fence: { name: string; epoch: number } | null,
  anyPartition: (partitions: number) => number,
  offsets?: TransactionOffsets,
): Promise<Appended[]> {
  return log.store.append(place(log.store, records, anyPartition), fence, offsets)
}

function createAdmin(log: LocalLog): LogAdmin {
  const { store } = log
  const partitionsOf = (topic: string): number[] => Array.from({ length: topicOf(store, topic).partitions }, (_, partition) => partition)
  return {
    topics: async (prefix) =>
      store
        .topics()
        .filter(({ name }) => name.startsWith(prefix))
        .map(({ name, partitions, timestampType, cleanup, retentionMs, maxMessageBytes }) => ({ name, partitions, timestampType, cleanup, retentionMs, maxMessageBytes })),
    createTopics: async (specs) => {
      const created: string[] = []
      const existing: string[] = []
      for (const spec of specs) (store.createTopic(spec) ? created : existing).push(spec.name)
      return { created, existing }
    },
    ranges: async (topic) => partitionsOf(topic).map((partition) => store.range({ topic, partition })),
    committed: async (group, topic) => {
      const found = new Map<number, Committed>()
      for (const partition of partitionsOf(topic)) {
        const committed = store.committed(group, { topic, partition })
        if (committed !== null) found.set(partition, committed)
      }
      return found
    },
    mayAppend: async (topic) => partitionsOf(topic).length > 0,
    close: async () => {},
  }
}
