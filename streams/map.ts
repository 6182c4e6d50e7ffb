/**
 * Kind `map`: one record in, emits out, no state.
 *
 * Owns: the processor of one partition. Stages per record: tick? → size → decode → handle → emits checked. Whatever a record does wrong ends
 * as a dead letter and the next record goes on (D6). A `hold` or `fatal` error is thrown to the loop: nothing of the call was sent, so the
 * same call is made again (C1).
 */
import { assertRecordSize, sortEmits } from './emits.ts'
import { isTick } from './tick.ts'
import { outcomeOf } from './retry.ts'
import type { FunctionContext, MapFunction } from './define-function.ts'
import { NO_EFFECTS, type Effects, type Outgoing, type Parked, type PartitionProcessor } from './processor.ts'

/** Throws only errors whose disposition is `hold` or `fatal`; every other ending is an effect. */
export function createMapProcessor<T>(definition: MapFunction<T>, context: FunctionContext): PartitionProcessor {
  let nextOffset = 0n

  return {
    needs: [],
    begin: (committed) => {
      nextOffset = committed?.nextOffset ?? 0n
      return { nextOffset: committed?.nextOffset ?? 'start', effects: NO_EFFECTS }
    },
    process: (records, readTo) => {
      const out: Outgoing[] = []
      const deadLetters: Parked[] = []
      let handled = 0
      let skipped = 0
      for (const record of records) {
        if (isTick(record)) {
          skipped++
          continue
        }
        let stage: Parked['stage'] = 'decode'
        try {
          assertRecordSize(record, definition)
          const value = definition.decode(record, context)
          stage = 'handle'
          const { outgoing, parked } = sortEmits(definition.handle(value, record, context), record, definition)
          out.push(...outgoing)
          deadLetters.push(...parked)
          handled++
        } catch (thrown) {
          const { action, error } = outcomeOf(thrown, stage === 'decode' ? 'SLU_RECORD_UNDECODABLE' : 'SLU_HANDLER_FAILED')
          if (action === 'hold' || action === 'fatal') throw error
          deadLetters.push({ record, error, stage })
        }
      }
      nextOffset = readTo
      return effectsOf(out, deadLetters, handled, skipped)
    },
    checkpoint: () => ({ nextOffset, metadata: '' }),
  }
}

function effectsOf(out: Outgoing[], deadLetters: Parked[], handled: number, skipped: number): Effects {
  return { batches: out.length === 0 ? [] : [{ fenced: false, records: out }], late: [], deadLetters, handled, skipped, windowsClosed: 0 }
}
