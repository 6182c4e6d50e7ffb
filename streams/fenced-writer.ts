/**
 * Fenced writes of one partition (C8): all emits of a fold go through here.
 *
 * Owns: the fenced producer of the input partition and the proof that we still own that partition. Stages: open (fences every earlier holder)
 * → prove (commit what is committed already: refused when the partition is no longer ours) → transactions. Fenced or failed while still
 * assigned: the caller repeats the write, which opens and proves again. C8: without the proof a member that was thrown out, woke late and opened its producer
 * after the new owner could overwrite newer state; with it, whoever owns the partition after the proof opens after it and fences us.
 * A transaction whose outcome is unknown is written again; rows are keyed and carry their version, so a repeat changes nothing.
 */
import { asSluiceError } from '../schemas/errors.ts'
import type { Appended, FencedProducer, LogDriver, OutRecord } from '../schemas/log.ts'
import { staleEpoch } from './partition-sink.ts'

export interface FencedWriter {
  open(): Promise<void>
  /** Rejects with what the log said; the next call opens and proves again. */
  write(records: readonly OutRecord[]): Promise<Appended[]>
  close(): Promise<void>
}

/** `prove` rejects with SLU_LOG_STALE_EPOCH when the partition is not ours. */
export function createFencedWriter(driver: Pick<LogDriver, 'fencedProducer'>, name: string, prove: () => Promise<void>, signal: AbortSignal): FencedWriter {
  let producer: FencedProducer | null = null
  let isProven = false

  const open = async (): Promise<void> => {
    if (producer !== null) return
    producer = await driver.fencedProducer(name)
    isProven = false
  }
  const drop = async (): Promise<void> => {
    const old = producer
    producer = null
    // A fenced producer has nothing left to say; that its closing fails too tells nothing new.
    await old?.close().catch(() => undefined)
  }
  const once = async (records: readonly OutRecord[]): Promise<Appended[]> => {
    if (signal.aborted) throw staleEpoch()
    await open()
    if (!isProven) await prove()
    isProven = true
    return (producer as unknown as FencedProducer).transaction(records)
  }

  return {
    open,
    write: async (records) => {
      try {
        return await once(records)
      } catch (thrown) {
        // Too large is the record's fault, not the producer's; everything else opens and proves again.
        if (asSluiceError(thrown, 'SLU_LOG_FAILED').code !== 'SLU_LOG_RECORD_TOO_LARGE') await drop()
        throw thrown
      }
    },
    close: drop,
  }
}
