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
    let timer: NodeJS.Timeout
    const wait = (restMs: number): void => {
      // Node fires a longer timer at once.
      timer = restMs > TIMER_MS_MAX ? setTimeout(() => wait(restMs - TIMER_MS_MAX), TIMER_MS_MAX) : setTimeout(run, Math.max(0, restMs))
    }
    wait(delayMs)
    return () => clearTimeout(timer)
  },
}

/** Not for secrets: choices and jitter only. */
export const systemRandom: Random = () => Math.random()
