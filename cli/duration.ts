/** Durations as people write them on the command line. */
import { SluiceError } from '../schemas/errors.ts'

/** "20s" → 20000 ms; `option` is named in the error. Throws SLU_USE. */
export function parseDuration(text: string, option: string): number {
  const match = /^(\d{1,7})(ms|s|m|h)$/.exec(text)
  if (match === null) throw new SluiceError('SLU_USE', `--${option} ${text}: must be a duration such as 20s, 5m`)
  return Number(match[1]) * { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }[match[2] as 'ms' | 's' | 'm' | 'h']
}
