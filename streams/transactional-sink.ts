/**
 * What one chunk or record leaves behind, written together with its offset (docs/adr/0009).
 *
 * Owns: outputs and dead letters of the same source records in one transaction, and its division by source record when the log refuses something
 * in it as too large: then each source record has its own transaction with its own offset, and the one at fault is parked in it (D2, D6). While
 * nothing can be written nothing goes on (D3, C5): no try of a record is spent.
 */
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord, OutRecord } from '../schemas/log.ts'
import { tooLargeFor } from './dead-letter.ts'
import type { PartitionSink } from './partition-sink.ts'
import type { Outgoing, Parked } from './processor.ts'
import type { TransactionalWriter } from './transactional-writer.ts'

export interface Leavings {
  readonly outgoing: readonly Outgoing[]
  readonly deadLetters: readonly Parked[]
}

export interface TransactionalSink {
  /** Resolves when all of it is acknowledged. `to` null = of no source record (ticks of a fold). Rejects with SLU_LOG_STALE_EPOCH once closed. */
  write(leavings: Leavings, to: Committed | null, attempts?: number): Promise<void>
}

/** By source record, in offset order; what has no source comes last. */
function bySource({ outgoing, deadLetters }: Leavings): { readonly source: LogRecord | null; readonly outgoing: Outgoing[]; readonly deadLetters: Parked[] }[] {
  const units = new Map<bigint | null, { source: LogRecord | null; outgoing: Outgoing[]; deadLetters: Parked[] }>()
  const unitOf = (source: LogRecord | null): { outgoing: Outgoing[]; deadLetters: Parked[] } => {
    const known = units.get(source?.offset ?? null)
    if (known !== undefined) return known
    const made = { source, outgoing: [], deadLetters: [] }
    units.set(source?.offset ?? null, made)
    return made
  }
  for (const one of outgoing) unitOf(one.source ?? null).outgoing.push(one)
  for (const parked of deadLetters) unitOf(parked.record).deadLetters.push(parked)
  return [...units.values()].sort((a, b) => (a.source === null ? 1 : b.source === null ? -1 : a.source.offset < b.source.offset ? -1 : 1))
}

function withoutLargest(outgoing: readonly Outgoing[]): Outgoing[] {
  const largest = outgoing.reduce((a, b) => ((b.value?.length ?? 0) > (a.value?.length ?? 0) ? b : a))
  return outgoing.filter((one) => one !== largest)
}

const isTooLarge = (thrown: unknown): boolean => asSluiceError(thrown, 'SLU_LOG_FAILED').code === 'SLU_LOG_RECORD_TOO_LARGE'

/**
 * `holdsState` = a fold: a record too large must not take the state row beside it along, because the state in memory holds the record already (C8): only
 * the largest of what it makes is left out.
 */
export function createTransactionalSink(sink: PartitionSink, writer: Pick<TransactionalWriter, 'write'>, holdsState = false): TransactionalSink {
  const transact = async (leavings: Leavings, to: Committed | null, attempts: number, isShort = false): Promise<void> => {
    const letters = leavings.deadLetters.map((parked): OutRecord => sink.toDeadLetter(parked, attempts, isShort))
    await sink.persist(() => writer.write([...leavings.outgoing.map(sink.toOutRecord), ...letters], to), leavings.outgoing.length === 0 && letters.length > 0)
    sink.wasSent(leavings.outgoing.length)
    for (const parked of leavings.deadLetters) sink.wasParked(parked)
  }

  /** What is left with the dead letters in their short form, smaller and smaller. */
  const transactShort = async (leavings: Leavings, to: Committed, attempts: number): Promise<void> => {
    let left = leavings
    for (;;) {
      try {
        return await transact(left, to, attempts, true)
      } catch (thrown) {
        if (!isTooLarge(thrown) || left.outgoing.length === 0) throw thrown
        left = { ...left, outgoing: withoutLargest(left.outgoing) }
      }
    }
  }

  /** One source record and its offset. */
  const transactOne = async (source: LogRecord, leavings: Leavings, to: Committed, attempts: number): Promise<void> => {
    let left = leavings
    try {
      return await transact(left, to, attempts)
    } catch (thrown) {
      if (!isTooLarge(thrown)) throw thrown
      if (left.outgoing.length > 0) {
        const parked: Parked = { record: source, error: asSluiceError(thrown, 'SLU_LOG_FAILED'), stage: 'send' }
        left = holdsState ? { outgoing: withoutLargest(left.outgoing), deadLetters: [...left.deadLetters, parked] } : { outgoing: [], deadLetters: [parked] }
      }
    }
    try {
      return await transact(left, to, attempts)
    } catch (thrown) {
      if (!isTooLarge(thrown)) throw thrown
    }
    if (left.outgoing.length > 0) return transactShort(left, to, attempts)
    // The short form; if even that does not fit the partition stands rather than lose the record (D3).
    const letters = left.deadLetters.map((parked) => sink.toDeadLetter(parked, attempts, true))
    const unwritable = (cause: unknown): never => {
      throw isTooLarge(cause) ? tooLargeFor(letters[0] as OutRecord, cause) : cause
    }
    await sink.persist(() => writer.write(letters, to).catch(unwritable), true)
    for (const parked of left.deadLetters) sink.wasParked(parked)
  }

  return {
    write: async (leavings, to, attempts = 1) => {
      if (leavings.outgoing.length + leavings.deadLetters.length === 0 && to === null) return
      try {
        return await transact(leavings, to, attempts)
      } catch (thrown) {
        if (!isTooLarge(thrown)) throw thrown
        const units = bySource(leavings)
        for (const { source, ...unit } of units) {
          if (source === null || to === null) throw new SluiceError('SLU_LOG_FAILED', `${unit.outgoing[0]?.topic ?? ''}: a record without source is too large`, thrown)
          await transactOne(source, unit, { ...to, nextOffset: source.offset + 1n }, attempts)
        }
        // What comes behind the last of them left nothing: its offset alone.
        if (to !== null && (units.at(-1)?.source?.offset ?? -1n) + 1n < to.nextOffset) await transact({ outgoing: [], deadLetters: [] }, to, attempts)
      }
    },
  }
}
