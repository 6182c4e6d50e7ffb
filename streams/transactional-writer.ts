/**
 * Exactly-once output of one input partition: records and the partition's committed offset in one transaction (docs/adr/0009).
 *
 * Owns: the fenced producer of the input partition, what the group has committed as read behind the fence, and the order of writes. Stages:
 * open (fences every earlier holder) → committed offset read (nothing of an earlier holder can land any more) → prove (as in `fenced-writer.ts`:
 * commits what is committed, refused when the partition is not ours) → transactions, one at a time.
 * Invariants: C1 (the offset moves with its effects), C3 and C8 (fenced; proven before the first write). A transaction whose outcome is unknown is
 * settled by opening again and looking at the offset: if that has reached where the transaction would have put it, it landed and is not repeated.
 */
import { asSluiceError } from '../schemas/errors.ts'
import type { Committed, FencedProducer, LogDriver, OutRecord, TopicPartition } from '../schemas/log.ts'
import { staleEpoch } from './partition-sink.ts'

export interface TransactionalWriterOptions {
  readonly driver: Pick<LogDriver, 'fencedProducer'>
  /** One per group and input partition. */
  readonly name: string
  readonly group: string
  /** The input partition as the broker knows it. */
  readonly at: TopicPartition
  /** What the group has committed for it now. */
  readonly committed: () => Promise<Committed | null>
  /** Commits `standing` as the owner; rejects with SLU_LOG_STALE_EPOCH when the partition is not ours. */
  readonly prove: (standing: Committed | null) => Promise<void>
  readonly signal: AbortSignal
}

export interface TransactionalWriter {
  /** Where the partition begins. */
  open(): Promise<Committed | null>
  /** Records and offset, or neither; `to` null = records alone. Rejects with what the log said; the same call may be made again. */
  write(records: readonly OutRecord[], to: Committed | null): Promise<void>
  close(): Promise<void>
}

export function createTransactionalWriter(options: TransactionalWriterOptions): TransactionalWriter {
  const { driver, name, group, at, signal } = options
  let producer: FencedProducer | null = null
  let standing: Committed | null = null
  let isProven = false
  let last: Promise<unknown> = Promise.resolve()

  const drop = async (): Promise<void> => {
    const old = producer
    producer = null
    // A fenced producer has nothing left to say; that its closing fails too tells nothing new.
    await old?.close().catch(() => undefined)
  }

  const open = async (): Promise<FencedProducer> => {
    if (producer !== null) return producer
    const opened = await driver.fencedProducer(name)
    try {
      standing = await options.committed()
    } catch (thrown) {
      await opened.close().catch(() => undefined)
      throw thrown
    }
    isProven = false
    producer = opened
    return opened
  }

  const writeOnce = async (records: readonly OutRecord[], to: Committed | null): Promise<void> => {
    if (signal.aborted) throw staleEpoch()
    const opened = await open()
    if (!isProven) await options.prove(standing)
    isProven = true
    if (to !== null && standing !== null && standing.nextOffset >= to.nextOffset) return
    await opened.transaction(records, to === null ? undefined : { group, entries: [{ ...at, ...to }] })
    if (to !== null) standing = to
  }

  return {
    open: async () => {
      await open()
      return standing
    },
    write: (records, to) => {
      const turn = last.then(async () => {
        try {
          await writeOnce(records, to)
        } catch (thrown) {
          // Too large is the record's fault and nothing was written; everything else opens, looks and proves again.
          if (asSluiceError(thrown, 'SLU_LOG_FAILED').code !== 'SLU_LOG_RECORD_TOO_LARGE') await drop()
          throw thrown
        }
      })
      last = turn.catch(() => undefined)
      return turn
    },
    close: drop,
  }
}
