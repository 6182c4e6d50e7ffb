/**
 * Waiting at a start for a log that does not answer: a member that is restarted while its brokers are away comes up with them.
 *
 * Owns: what is waited for (only what the error table calls `retry`: a wrong password does not get better), how long, and what is told meanwhile.
 */
import { asSluiceError, SluiceError, type ErrorCode } from '../schemas/errors.ts'
import { formatDuration } from '../schemas/units.ts'
import type { Clock } from '../schemas/ports.ts'
import { sleep } from '../streams/retry.ts'

export interface Waiting {
  /** One question that every log answers; tries for a few seconds by itself. */
  readonly ask: () => Promise<unknown>
  /** No new try begins later than this. */
  readonly boundMs: number
  /** Ends the wait with what was met last. */
  readonly signal: AbortSignal
  readonly clock: Clock
  /** Never goes back. */
  readonly steadyMs: () => number
  readonly tell: (line: string) => void
}

const PAUSE_MS = 1000
const TELL_EVERY_MS = 10_000

/** Rejects with what the last try met: when the time is over, when it is given up, and at once where waiting mends nothing. */
export async function untilReachable({ ask, boundMs, signal, clock, steadyMs, tell }: Waiting): Promise<void> {
  const startMs = steadyMs()
  let told: { readonly code: ErrorCode; readonly atMs: number } | null = null
  let last = new SluiceError('SLU_LOG_UNREACHABLE', 'given up before it answered')
  const givenUp = new Promise<never>((_resolve, reject) => signal.addEventListener('abort', () => reject(last), { once: true }))
  givenUp.catch(() => undefined)
  for (;;) {
    try {
      await Promise.race([ask(), givenUp])
      return
    } catch (thrown) {
      last = asSluiceError(thrown, 'SLU_LOG_FAILED')
      const nowMs = steadyMs()
      const leftMs = startMs + boundMs - nowMs
      if (last.disposition !== 'retry' || leftMs <= 0 || signal.aborted) throw last
      if (told === null || told.code !== last.code || nowMs - told.atMs >= TELL_EVERY_MS) {
        told = { code: last.code, atMs: nowMs }
        tell(`${last.message}: waiting for it, at most ${formatDuration(leftMs)} more (log.kafka.startWaitMs)`)
      }
      await sleep(clock, Math.min(PAUSE_MS, leftMs), signal)
    }
  }
}
