/**
 * Units of configuration values.
 *
 * Owns: how byte sizes are written and read ("512KiB", "1GiB"; binary units only, so that nobody has to guess what "MB" meant).
 * Durations in configuration carry their unit in the key (`graceMs`) and are plain numbers.
 */
const UNITS: ReadonlyMap<string, number> = new Map([
  ['B', 1],
  ['KiB', 1024],
  ['MiB', 1024 ** 2],
  ['GiB', 1024 ** 3],
  ['TiB', 1024 ** 4],
])

export const BYTE_SIZE = /^(\d{1,15})(B|KiB|MiB|GiB|TiB)$/

/** Bytes of a size such as `1GiB`; null if it is not one, or beyond 2^53. */
export function parseBytes(text: string): number | null {
  const match = BYTE_SIZE.exec(text)
  if (match === null) return null
  const bytes = Number(match[1]) * (UNITS.get(match[2] as string) as number)
  return Number.isSafeInteger(bytes) ? bytes : null
}

/** The largest unit that divides without loss of more than a digit: 1536 → "1.5 KiB". */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 'B'
  for (const [name, size] of UNITS) {
    if (Math.abs(bytes) < size) break
    value = bytes / size
    unit = name
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${unit}`
}

/** 1536 → "1.5 s"; 93000 → "1m 33s". */
export function formatDuration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)}m ${seconds % 60}s`
}
