/** The machine's clock and randomness as the ports of `schemas/ports.ts`. Owns: the only place besides tests where ambient time enters. */
import type { Clock, Random } from '../schemas/ports.ts'

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  setTimer: (delayMs, run) => {
    const timer = setTimeout(run, Math.max(0, delayMs))
    return () => clearTimeout(timer)
  },
}

/** Not for secrets: choices and jitter only. */
export const systemRandom: Random = () => Math.random()
