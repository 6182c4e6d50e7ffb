/** The machine's clock and randomness as the ports of `schemas/ports.ts`. Owns: the only place besides tests where ambient time enters. */
import type { Clock, Random } from '../schemas/ports.ts'

const TIMER_MS_MAX = 2 ** 31 - 1

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  setTimer: (delayMs, run) => {
    if (delayMs <= TIMER_MS_MAX) {
      const timer = setTimeout(run, Math.max(0, delayMs))
      return () => clearTimeout(timer)
    }
    // Node fires a longer timer at once.
    let cancel = systemClock.setTimer(TIMER_MS_MAX, () => {
      cancel = systemClock.setTimer(delayMs - TIMER_MS_MAX, run)
    })
    return () => cancel()
  },
}

/** Not for secrets: choices and jitter only. */
export const systemRandom: Random = () => Math.random()
