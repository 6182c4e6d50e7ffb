/**
 * Breaker of one endpoint (R5).
 *
 * Owns: closed → open (5 failures in a row, or more than half of at least 20 in 30 s) → half-open after 5 s, doubling to 60 s → closed after two
 * successes. Half-open lets one request through at a time; every ending releases that place, busy and cancel included.
 */
const CONSECUTIVE_MAX = 5
const RATIO_WINDOW_MS = 30_000
const RATIO_CALLS_MIN = 20
const OPEN_MS = 5000
const OPEN_MS_MAX = 60_000
const SUCCESSES_TO_CLOSE = 2

/** `neutral`: says nothing about the endpoint (busy, cancelled, past the client's deadline). */
export type CallEnding = 'success' | 'failure' | 'neutral'

export interface Breaker {
  isOpen(nowMs: number): boolean
  /** Epoch ms at which it lets a request through again; null when closed or half-open. */
  opensAtMs(nowMs: number): number | null
  /** Returns what to call once with the ending. */
  begin(nowMs: number): (ending: CallEnding, endMs: number) => void
  /** What a call that ended `neutral` has turned out to be. */
  note(ending: CallEnding, nowMs: number): void
}

export function createBreaker(): Breaker {
  let state: 'closed' | 'open' | 'half-open' = 'closed'
  let untilMs = 0
  let openMs = OPEN_MS
  let consecutive = 0
  let successes = 0
  let isProbing = false
  let calls: { readonly atMs: number; readonly isFailure: boolean }[] = []

  const open = (nowMs: number): void => {
    state = 'open'
    untilMs = nowMs + openMs
    openMs = Math.min(OPEN_MS_MAX, openMs * 2)
    calls = []
    consecutive = 0
  }
  const close = (): void => {
    state = 'closed'
    openMs = OPEN_MS
    calls = []
    consecutive = 0
  }
  const inClosed = (ending: CallEnding, nowMs: number): void => {
    if (ending === 'neutral') return
    const isFailure = ending === 'failure'
    consecutive = isFailure ? consecutive + 1 : 0
    calls = calls.filter((call) => call.atMs > nowMs - RATIO_WINDOW_MS)
    calls.push({ atMs: nowMs, isFailure })
    const failures = calls.filter((call) => call.isFailure).length
    if (consecutive >= CONSECUTIVE_MAX || (calls.length >= RATIO_CALLS_MIN && failures * 2 > calls.length)) open(nowMs)
  }
  const inHalfOpen = (ending: CallEnding, nowMs: number): void => {
    if (ending === 'failure') open(nowMs)
    else if (ending === 'success' && ++successes >= SUCCESSES_TO_CLOSE) close()
  }

  return {
    isOpen: (nowMs) => (state === 'open' && nowMs < untilMs) || (state === 'half-open' && isProbing),
    opensAtMs: (nowMs) => (state === 'open' && nowMs < untilMs ? untilMs : null),
    begin: (nowMs) => {
      if (state === 'open' && nowMs >= untilMs) {
        state = 'half-open'
        successes = 0
      }
      const isProbe = state === 'half-open'
      if (isProbe) isProbing = true
      return (ending, endMs) => {
        if (isProbe) isProbing = false
        if (state === 'closed') inClosed(ending, endMs)
        else if (isProbe) inHalfOpen(ending, endMs)
      }
    },
    note: (ending, nowMs) => {
      if (state === 'closed') inClosed(ending, nowMs)
      else if (state === 'half-open') inHalfOpen(ending, nowMs)
    },
  }
}
