/**
 * Retry budget of one pool (R4): at most 20 % extra load, with a floor of 3 per 10 s.
 *
 * Owns: calls and retries of the last 10 s in buckets of one second. What was not sent and what was answered "busy" is not counted here at all.
 */
const BUCKET_MS = 1000
const BUCKETS = 10
const SHARE = 0.2
const FLOOR = 3

export interface RetryBudget {
  /** A first attempt was sent. */
  sent(nowMs: number): void
  /** Takes one retry out of the budget; false if none is left. */
  take(nowMs: number): boolean
}

export function createRetryBudget(): RetryBudget {
  let buckets: { readonly index: number; sent: number; retries: number }[] = []
  const bucket = (nowMs: number): { sent: number; retries: number } => {
    const index = Math.floor(nowMs / BUCKET_MS)
    buckets = buckets.filter((b) => b.index > index - BUCKETS && b.index <= index)
    let current = buckets.at(-1)
    if (current?.index !== index) buckets.push((current = { index, sent: 0, retries: 0 }))
    return current
  }
  return {
    sent: (nowMs) => {
      bucket(nowMs).sent++
    },
    take: (nowMs) => {
      const current = bucket(nowMs)
      const [sent, retries] = buckets.reduce(([s, r], b) => [s + b.sent, r + b.retries], [0, 0] as [number, number])
      if (retries >= Math.max(FLOOR, Math.floor(sent * SHARE))) return false
      current.retries++
      return true
    },
  }
}
