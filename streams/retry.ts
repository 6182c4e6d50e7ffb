/**
 * When and whether to try again (D1, D6).
 *
 * Owns: the delay (exponential, full jitter, capped) and what a thrown error means for the record that met it. The error table decides by
 * disposition; what is not ours is the handler's failure. Pure: randomness is an argument.
 */
import { asSluiceError, isSluiceError, SluiceError, type ErrorCode } from '../schemas/errors.ts'
import type { Clock, Random } from '../schemas/ports.ts'

export interface RetryPolicy {
  /** Tries of one record, the first included, before it is parked. */
  readonly attemptsMax: number
  readonly baseMs: number
  readonly capMs: number
}

export const RETRY_DEFAULT: RetryPolicy = { attemptsMax: 5, baseMs: 100, capMs: 10_000 }

/** Delay before try `attempt + 1`, in [1, min(cap, base × 2^(attempt−1))] ms: full jitter. `attempt` starts at 1. */
export function retryDelayMs(attempt: number, policy: RetryPolicy, random: Random): number {
  const ceiling = Math.min(policy.capMs, policy.baseMs * 2 ** Math.min(attempt - 1, 40))
  return Math.max(1, Math.round(random() * ceiling))
}

/** `park`: dead letter, go on. `retry`: again, counted. `hold`: again, never counted, alarm. `fatal`: stop the process, commit nothing. */
export interface Outcome {
  readonly action: 'park' | 'retry' | 'hold' | 'fatal'
  readonly error: SluiceError
}

/**
 * What becomes of a record whose handler threw. SLU_INTERNAL out of a handler is the handler's failure on this record (a value the codec
 * cannot write): it is parked, because stopping the process would meet the same record again (D6).
 */
export function outcomeOf(thrown: unknown, fallback: ErrorCode): Outcome {
  if (!isSluiceError(thrown)) return { action: 'park', error: asSluiceError(thrown, fallback) }
  if (thrown.code === 'SLU_INTERNAL') return { action: 'park', error: new SluiceError('SLU_HANDLER_FAILED', '', thrown) }
  const { disposition } = thrown
  if (disposition === 'dead-letter' || disposition === 'reject') return { action: 'park', error: thrown }
  return { action: disposition, error: thrown }
}

/** Resolves after `delayMs`, or at once when `signal` aborts; never rejects. */
export function sleep(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const wake = (): void => {
      cancel()
      signal.removeEventListener('abort', wake)
      resolve()
    }
    const cancel = clock.setTimer(delayMs, wake)
    signal.addEventListener('abort', wake, { once: true })
  })
}
