/**
 * One partition as the runner sees it, whatever the kind of its function.
 *
 * Owns: the types shared by `partition-loop.ts` (map, fold, window, combine), `task.ts` and `runner.ts`. C3: a partition object lives for one
 * epoch; closing it voids everything it still does.
 */
import type { ErrorCode, SluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord } from '../schemas/log.ts'
import type { Clock, Random, Telemetry } from '../schemas/ports.ts'
import type { RetryPolicy } from './retry.ts'

/** Why work waits that could start: other work of the function has all places that it might take (C5). */
export const NO_PLACE = 'every place that it may have is taken: it goes on in its turn (C5)'

/** For `sluice ps` (W9). `topic` is logical. */
export interface PartitionStatus {
  readonly topic: string
  readonly partition: number
  /** Next offset to be handed to the handler. */
  readonly position: bigint | null
  readonly committed: bigint | null
  readonly end: bigint | null
  readonly watermarkMs: number | null
  readonly state: 'running' | 'paused' | 'held'
  /** Of what holds it, or of what it waits for. */
  readonly code?: ErrorCode
  readonly reason?: string
  /** Records taken whose effects are not all acknowledged. */
  readonly inFlight: number
}

/** Counters of a runner since it started. `in` counts records taken, `out` records written for the handler. */
export interface RunnerStats {
  in: number
  out: number
  late: number
  deadLetters: number
  skipped: number
  windowsClosed: number
  retries: number
  rebalances: number
}

/** What every partition of a runner is given. */
export interface PartitionEnvironment {
  readonly functionName: string
  readonly group: string
  readonly clock: Clock
  readonly random: Random
  readonly telemetry: Telemetry
  readonly retry: RetryPolicy
  readonly stats: RunnerStats
  /** The process must stop; the partition commits nothing more. */
  onFatal(error: SluiceError): void
  /** Something was acknowledged or the load changed: limits and commits are looked at again. */
  onProgress(): void
}

export interface RunningPartition {
  /** Records of the log, topic names logical, in order; `readTo` = position after them. */
  take(records: readonly LogRecord[], readTo: bigint): void
  /** C4: nothing new is started. */
  stopIntake(): void
  /** Resolves when nothing is in flight; never rejects. */
  settled(): Promise<void>
  /** C3: drop everything; in-flight handlers are aborted. Idempotent. */
  close(): Promise<void>
  /** What may be committed now; null while nothing new was acknowledged. */
  uncommitted(): Committed | null
  committed(entry: Committed): void
  /** The newest commit known to have succeeded, or what the assignment said. */
  lastCommitted(): Committed | null
  /** About every 250 ms. `steadyMs` = time passed since the member started, told by its timers and so never too much, whatever is done to its clock. */
  onTimer(nowMs: number, steadyMs: number): void
  /** At `steadyMs` the log ended at our position with nothing in flight: every record to come is appended later (R1, `resultsFrom`). */
  idleSince?(steadyMs: number): void
  /** A place in the member's pool came free (tasks). */
  pump(): void
  /** C6: what memory holds. */
  load(): { readonly records: number; readonly bytes: number; readonly tracked: number }
  hold(error: SluiceError): void
  status(): Omit<PartitionStatus, 'topic' | 'partition' | 'end' | 'state'> & { readonly isHeld: boolean; readonly isIdle: boolean }
  openWindows(): number | null
}
