/**
 * Recent latency by endpoint, model and size class (routing.md §3).
 *
 * Owns: an EWMA per key; a value whose newest sample is older than 30 s is no longer known. Keys are bounded by the configuration.
 */
const FRESH_MS = 30_000
const ALPHA = 0.2
const SIZE_CLASS_MAX = 10

/** Size class of a body: each step is four times the bytes, from 1 KiB. */
export function sizeClass(bodyBytes: number): number {
  return Math.min(SIZE_CLASS_MAX, Math.max(0, Math.ceil(Math.log2(Math.max(1, bodyBytes / 1024)) / 2)))
}

export interface Latency {
  add(key: string, totalMs: number, nowMs: number): void
  /** Null without a sample of the last 30 s. */
  get(key: string, nowMs: number): number | null
}

export function createLatency(): Latency {
  const samples = new Map<string, { ewmaMs: number; atMs: number }>()
  const fresh = (key: string, nowMs: number): { ewmaMs: number; atMs: number } | null => {
    const known = samples.get(key)
    return known === undefined || nowMs - known.atMs > FRESH_MS ? null : known
  }
  return {
    add: (key, totalMs, nowMs) => {
      const known = fresh(key, nowMs)
      samples.set(key, { ewmaMs: known === null ? totalMs : known.ewmaMs + ALPHA * (totalMs - known.ewmaMs), atMs: nowMs })
    },
    get: (key, nowMs) => fresh(key, nowMs)?.ewmaMs ?? null,
  }
}
