/**
 * Kind `map`: one record in, emits out, no state.
 *
 * Owns: the processor of one partition. Stages per record: tick? → size → decode → handle → emits checked. Whatever a record does wrong ends
 * as a dead letter and the next record goes on (D6). A `hold` or `fatal` error, or a `retry` while the record has tries left (D1), is thrown to the loop:
 * nothing of the call was sent, so the same call is made again (C1). With parking by key a record behind a parked one of its key is not handled but follows it (D4).
 */
import type { LogRecord } from '../schemas/log.ts'
import { assertRecordSize, handed, sortEmits, synchronous, type PartitionCountOf } from './emits.ts'
import { isForAnother } from './redrive.ts'
import { isTick } from './tick.ts'
import type { Retries } from './retries.ts'
import { outcomeOf } from './retry.ts'
import type { FunctionContext, MapFunction } from './define-function.ts'
import { behind, type Parking } from './parking.ts'
import { NO_EFFECTS, type Effects, type Outgoing, type ParkEffect, type Parked, type PartitionProcessor } from './processor.ts'

/** Throws only errors whose disposition is `hold`, `fatal` or, with `retries`, `retry`; every other ending is an effect. */
export function createMapProcessor<T>(
  definition: MapFunction<T>,
  context: FunctionContext,
  parking: Parking | null = null,
  partitionCountOf?: PartitionCountOf,
  retries: Retries | null = null,
): PartitionProcessor {
  let nextOffset = 0n

  /** What becomes of a record that is not handled; the effect of it. Throws SLU_RECORD_PARKED_FULL. */
  const parked = (one: Parked, attempts: number): ParkEffect => {
    parking?.park(one)
    return { kind: 'parked', parked: one, attempts }
  }

  /** What its handler makes of the record, or what it is parked with. */
  const handleOne = (record: LogRecord): ReturnType<typeof sortEmits> | Parked => {
    const spent = retries?.spent(record) ?? null
    if (spent !== null) return spent
    let stage: Parked['stage'] = 'decode'
    try {
      assertRecordSize(record, definition)
      const given = handed(record, definition)
      const value = synchronous(definition.decode(given, context), definition, 'decode')
      stage = 'handle'
      const emits = sortEmits(synchronous(definition.handle(value, given, context), definition, 'handle'), record, definition, partitionCountOf)
      retries?.over(record)
      return emits
    } catch (thrown) {
      const { action, error } = outcomeOf(thrown, stage === 'decode' ? 'SLU_RECORD_UNDECODABLE' : 'SLU_HANDLER_FAILED')
      if (action === 'hold' || action === 'fatal') throw error
      const one = { record, error, stage }
      return action === 'retry' ? (retries?.again(one) ?? one) : one
    }
  }

  const processAll = (records: readonly LogRecord[], readTo: bigint): Effects => {
    const out: Outgoing[] = []
    const deadLetters: Parked[] = []
    const parkedInTurn: ParkEffect[] = []
    let handled = 0
    let skipped = 0
    for (const record of records) {
      if (isTick(record) || isForAnother(record, definition.name)) {
        skipped++
        continue
      }
      const look = parking?.look(record) ?? 'handle'
      if (look === 'settled') skipped++
      if (look === 'divert') parkedInTurn.push(parked(behind(record), 0))
      if (look !== 'handle') continue
      const made = handleOne(record)
      if (!('error' in made)) {
        // Not spread: arguments lie on the stack, and a handler may emit more than it holds.
        for (const one of made.outgoing) out.push(one)
        for (const one of made.parked) deadLetters.push(one)
        if (parking?.handled(record) === true) parkedInTurn.push({ kind: 'handled', record })
        handled++
      } else if (parking === null) deadLetters.push(made)
      else parkedInTurn.push(parked(made, made.attempts ?? 1))
    }
    nextOffset = readTo
    const effects = effectsOf(out, deadLetters, handled, skipped)
    return parking === null ? effects : { ...effects, parked: parkedInTurn }
  }

  return {
    needs: [],
    begin: (committed) => {
      nextOffset = committed?.nextOffset ?? 0n
      return { nextOffset: committed?.nextOffset ?? 'start', effects: NO_EFFECTS }
    },
    process: (records, readTo) => {
      parking?.begin()
      try {
        return processAll(records, readTo)
      } catch (thrown) {
        parking?.undo()
        throw thrown
      }
    },
    checkpoint: () => ({ nextOffset, metadata: '' }),
  }
}

function effectsOf(out: Outgoing[], deadLetters: Parked[], handled: number, skipped: number): Effects {
  return { batches: out.length === 0 ? [] : [{ fenced: false, records: out }], late: [], deadLetters, handled, skipped, windowsClosed: 0 }
}
