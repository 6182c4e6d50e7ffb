/**
 * Reading a topic up to its end while a partition is opened.
 *
 * Owns: that it ends when the partition is given up. A tail whose partition has no leader waits for one as long as it is open.
 */
import type { LogTail, TailBatch } from '../schemas/log.ts'
import { staleEpoch } from './partition-sink.ts'

/** Hands over what the tail yields, and closes it. Rejects with SLU_LOG_STALE_EPOCH once `signal` is aborted: what was read is not all. */
export async function readToEnd(tail: LogTail, signal: AbortSignal, each: (batch: TailBatch) => void): Promise<void> {
  const { promise: givenUp, reject } = Promise.withResolvers<never>()
  const giveUp = (): void => reject(staleEpoch())
  if (signal.aborted) giveUp()
  signal.addEventListener('abort', giveUp, { once: true })
  const read = async (): Promise<void> => {
    for await (const batch of tail) {
      if (signal.aborted) return
      each(batch)
    }
  }
  try {
    await Promise.race([givenUp, read()])
  } finally {
    signal.removeEventListener('abort', giveUp)
    await tail.close()
  }
}
