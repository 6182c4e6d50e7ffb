/**
 * What an attempt came to (routing.md §2, R4): a table from the outcome of a call to what happens next.
 *
 * Owns: the classes of statuses and outcomes. Busy (429, 503, 529) is not failed. A complete error status (408, 5xx, a redirect) is a failed attempt without a
 * result and may be repeated; a broken answer may not, once a byte of it arrived, unless the api is idempotent.
 */
import type { EndpointOutcome, Random } from '../../schemas/ports.ts'
import type { CallEnding } from './breaker.ts'

export type Answered = Extract<EndpointOutcome, { kind: 'answered' }>

export type AttemptEnding =
  | { readonly next: 'answer'; readonly answered: Answered }
  /** 401, 403, 404: one other endpoint may know better. */
  | { readonly next: 'second-opinion'; readonly answered: Answered }
  /** Spends neither attempts nor budget; the endpoint rests. `ending` of `not-sent` is a failure of the endpoint. */
  | { readonly next: 'again'; readonly restMs: number; readonly ending: CallEnding }
  | { readonly next: 'failed'; readonly mayRepeat: boolean }
  | { readonly next: 'too-large' }
  | { readonly next: 'deadline' }
  | { readonly next: 'aborted' }

const BUSY: ReadonlySet<number> = new Set([429, 503, 529])
const DOUBTFUL: ReadonlySet<number> = new Set([401, 403, 404])
const REST_MS_MIN = 500
const REST_MS_MAX = 5000
/** "Retry-After: 0" would be a loop of calls at full speed: busy answers spend no attempts. */
const RETRY_AFTER_MS_MIN = 100
const RETRY_AFTER_MS_MAX = 60_000

/** Not followed: it says that the endpoint is not there, not what it answers. */
const isRedirect = (status: number): boolean => status >= 300 && status < 400

/** How long a busy endpoint rests: `Retry-After` in seconds, else 0.5 to 5 s at random. */
export function restMs(headers: Readonly<Record<string, string>>, random: Random): number {
  const seconds = /^\s*(\d{1,6})\s*$/.exec(headers['retry-after'] ?? '')?.[1]
  if (seconds !== undefined) return Math.min(RETRY_AFTER_MS_MAX, Math.max(RETRY_AFTER_MS_MIN, Number(seconds) * 1000))
  return REST_MS_MIN + random() * (REST_MS_MAX - REST_MS_MIN)
}

export function endingOf(outcome: EndpointOutcome, isIdempotent: boolean, random: Random): AttemptEnding {
  switch (outcome.kind) {
    case 'answered':
      if (BUSY.has(outcome.status)) return { next: 'again', restMs: restMs(outcome.headers, random), ending: 'neutral' }
      if (DOUBTFUL.has(outcome.status)) return { next: 'second-opinion', answered: outcome }
      if (outcome.status < 200 || isRedirect(outcome.status) || outcome.status === 408 || outcome.status >= 500) return { next: 'failed', mayRepeat: true }
      return { next: 'answer', answered: outcome }
    case 'not-sent':
      return { next: 'again', restMs: restMs({}, random), ending: 'failure' }
    case 'failed':
      return { next: 'failed', mayRepeat: outcome.responseBytes === 0 || isIdempotent }
    case 'too-large':
      return { next: 'too-large' }
    case 'timed-out':
      return { next: 'deadline' }
    case 'aborted':
      return { next: 'aborted' }
  }
}

/** How an attempt is named in evidence: an open set. */
export function outcomeName(outcome: EndpointOutcome): string {
  return outcome.kind === 'answered' ? String(outcome.status) : outcome.kind
}
