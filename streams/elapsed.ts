/**
 * Time that has passed by a clock that people and time servers set.
 *
 * Owns: what a clock set back means for whoever waits. A wait of seconds must not become one of an hour: a clock that stands before the moment it once
 * showed tells nothing of how long it was, so the time counts as over. Pure.
 */

/** Whether `forMs` have passed since `sinceMs` (epoch ms), or the clock was set back behind it. */
export function hasElapsed(sinceMs: number, forMs: number, nowMs: number): boolean {
  return nowMs < sinceMs || nowMs - sinceMs >= forMs
}
