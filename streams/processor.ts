/**
 * What the runner needs of a synchronous partition processor (map, fold, window, combine).
 *
 * Owns: the types between `streams/runner.ts` (async: driver events, sending, committing) and the pure state machines
 * (`map.ts`, `fold.ts`, `window.ts`, `combine.ts`). A processor never awaits, never sends: it returns effects.
 * Contract: effects of one call are sent batch by batch, each acknowledged before the next (W7: partials, then markers), after its late records and dead letters; a checkpoint
 * taken after the call is committed only after all effects of earlier calls are acknowledged (C1, W5).
 */
import type { Committed, LogHeaders, LogRecord } from '../schemas/log.ts'
import type { SluiceError } from '../schemas/errors.ts'

/** A record to append, with logical topic name. `partition` set = explicit (markers, results, ticks). */
export interface Outgoing {
  readonly topic: string
  readonly partition?: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: LogHeaders
  /** The record it derives from: parked if the log refuses this one as too large. Without it the partition is held. */
  readonly source?: LogRecord
}

export interface Parked {
  readonly record: LogRecord
  readonly error: SluiceError
  readonly stage: 'decode' | 'handle' | 'window' | 'send'
  /** Tries it had, where it was tried again within one call of the processor's; else who writes it knows. */
  readonly attempts?: number
}

/** What the DLQ is told of a record where parking goes by key (D4). */
export type ParkEffect = { readonly kind: 'parked'; readonly parked: Parked; readonly attempts: number } | { readonly kind: 'handled'; readonly record: LogRecord }

export interface Effects {
  /** Sent in order; each list is acknowledged before the next starts. `fenced` lists go through the fenced producer of the partition in one transaction (C8). */
  readonly batches: readonly { readonly fenced: boolean; readonly records: readonly Outgoing[] }[]
  /** W8: written last, and given up where the log forbids it: then there is no idle closing, and nothing else stands still. */
  readonly tick?: Outgoing
  readonly late: readonly LogRecord[]
  readonly deadLetters: readonly Parked[]
  /** In offset order; absent where parking does not go by key. */
  readonly parked?: readonly ParkEffect[]
  /** Counted, for stats: records folded or handled; skipped = dealt with before (W2) or duplicates (W10). */
  readonly handled: number
  readonly skipped: number
  readonly windowsClosed: number
}

export interface Checkpoint {
  readonly nextOffset: bigint
  readonly metadata: string
}

export interface PartitionProcessor {
  /** What the processor must be given before `begin`: fold reads its state topic, a window its last marker when metadata is lost (W6). */
  readonly needs: readonly { readonly topic: string; readonly partitions: 'all' | 'own' }[]
  /** Takes the rows of `needs` one by one while they are read, so that none is kept, instead of all at once in `begin`; called again, it begins anew. */
  restore?(): (row: LogRecord) => void
  /** Decides where to start. Throws SLU_WINDOW_PARAMETERS (W3). `rows` = records of the topics in `needs`, read to their ends. May return effects (W7: a new owner first sends a marker with what it restored). */
  begin(
    committed: Committed | null,
    rows: ReadonlyMap<string, readonly LogRecord[]>,
    /** First offset the log still holds, where a processor may begin below the committed offset (W6). */
    logStart?: bigint,
  ): { readonly nextOffset: bigint | 'start'; readonly effects: Effects }
  readonly process: (records: readonly LogRecord[], readTo: bigint) => Effects
  /** What may be committed once all effects so far are acknowledged. */
  checkpoint(): Checkpoint
  /** Called about every 250 ms. `atEnd` = fetch position = end of log and nothing queued (W8). */
  onTimer?(nowMs: number, atEnd: boolean): Effects
  /** For metrics: event time the watermark stands at; null before any record. */
  watermarkMs?(): number | null
  openWindows?(): number
}

export const NO_EFFECTS: Effects = Object.freeze({ batches: [], late: [], deadLetters: [], handled: 0, skipped: 0, windowsClosed: 0 })
