/** A clock that moves only when told to. Timers run in order of time, then of setting; between two of them everything pending settles. */
import type { Clock } from '../../schemas/ports.ts'

export interface VirtualClock extends Clock {
  /** Moves on by `ms`, running each timer at its own time, and lets promises settle before, between and after. */
  advance(ms: number): Promise<void>
  /** Timers not yet run or cancelled. */
  timers(): number
}

interface Timer {
  readonly atMs: number
  readonly order: number
  readonly run: () => void
}

/** Lets all pending promise work run: delivery of the in-memory log included. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise<void>((resolve) => setImmediate(resolve))
}

export function createVirtualClock(startMs = Date.UTC(2026, 0, 1)): VirtualClock {
  let nowMs = startMs
  let order = 0
  const timers = new Set<Timer>()
  const earliest = (): Timer | undefined => [...timers].sort((a, b) => a.atMs - b.atMs || a.order - b.order)[0]
  return {
    nowMs: () => nowMs,
    setTimer: (delayMs, run) => {
      order += 1
      const timer = { atMs: nowMs + Math.max(0, delayMs), order, run }
      timers.add(timer)
      return () => timers.delete(timer)
    },
    advance: async (ms) => {
      const untilMs = nowMs + ms
      await settled()
      for (let next = earliest(); next !== undefined && next.atMs <= untilMs; next = earliest()) {
        timers.delete(next)
        nowMs = next.atMs
        next.run()
        await settled()
      }
      nowMs = untilMs
    },
    timers: () => timers.size,
  }
}
