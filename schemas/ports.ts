/**
 * Ports that both sides of the core share: time, randomness, hashing, measurement, the endpoint call, the object store.
 *
 * Owns: structural types only. The core (`schemas/`, `streams/`, `functions/`) receives implementations as arguments and never
 * reaches for an ambient clock, random source, hash or network; `infra/` implements them; `cli/` hands them over.
 */
import type { CellDecision, CellIdentity, IntentState, LeafDraft } from './ledger.ts'

/** Time as an argument. Timers are one-shot; the returned function cancels. */
export interface Clock {
  /** Epoch milliseconds. */
  nowMs(): number
  setTimer(delayMs: number, run: () => void): () => void
}

/** Uniform in [0, 1). */
export type Random = () => number

export interface Hashing {
  sha256(bytes: Uint8Array): Buffer
  hmacSha256(key: Uint8Array, bytes: Uint8Array): Buffer
}

export type Attributes = Readonly<Record<string, string | number | boolean>>

/** Spans of one trace. `carrier` = W3C headers (`traceparent`, `tracestate`) as they ride in record headers. */
export interface Span {
  readonly carrier: Readonly<Record<string, string>>
  set(attributes: Attributes): void
  end(error?: { readonly code: string }): void
}

export interface SpanStart {
  readonly name: string
  readonly kind: 'producer' | 'consumer' | 'client' | 'internal'
  /** Parent context as carried in record headers; none = a new root. */
  readonly parent?: Readonly<Record<string, string>>
  readonly links?: readonly Readonly<Record<string, string>>[]
  readonly attributes?: Attributes
}

/** Measurements by the names of `telemetry-names.ts`; implementations must never throw. */
export interface Telemetry {
  count(name: string, value: number, attributes?: Attributes): void
  record(name: string, value: number, attributes?: Attributes): void
  /** Last value wins per attribute set. */
  gauge(name: string, value: number, attributes?: Attributes): void
  span(start: SpanStart): Span
  log(severity: 'debug' | 'info' | 'warn' | 'error', message: string, attributes?: Attributes): void
}

/** One HTTP call to a model endpoint: bytes in, bytes out; bodies are never parsed (routing.md §1). */
export interface EndpointRequest {
  readonly url: string
  readonly method: 'GET' | 'POST'
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | null
  /** Total budget; past it the call is aborted. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
  readonly responseBytesMax: number
}

/** What came of a call. `not-sent` = no byte reached the endpoint (connection refused, DNS): repeating is safe. */
export type EndpointOutcome =
  | {
      readonly kind: 'answered'
      readonly status: number
      readonly headers: Readonly<Record<string, string>>
      readonly body: Buffer
      readonly firstByteMs: number
      readonly totalMs: number
    }
  | { readonly kind: 'not-sent'; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string; readonly responseBytes: number }
  | { readonly kind: 'too-large'; readonly responseBytes: number }
  | { readonly kind: 'aborted' }
  | { readonly kind: 'timed-out' }

/** Never rejects: every ending is an outcome. */
export type EndpointCall = (request: EndpointRequest) => Promise<EndpointOutcome>

/** What came of a PUT of exactly these bytes (egress.md §7). `exists-same`: an earlier try arrived. `hold`: nothing may be assumed (403, expired credentials, wrong owner…). */
export type PutOutcome =
  | { readonly kind: 'stored'; readonly etag: string; readonly checksum: string }
  | { readonly kind: 'exists-same'; readonly etag: string; readonly checksum: string }
  | { readonly kind: 'exists-other'; readonly reason: string }
  | { readonly kind: 'retry'; readonly reason: string }
  | { readonly kind: 'hold'; readonly reason: string }

export type HeadOutcome =
  | { readonly kind: 'absent' }
  | { readonly kind: 'present'; readonly bytes: number; readonly sha256: string | null }
  | { readonly kind: 'unknown'; readonly reason: string }

/** A place summaries go to: first write wins, never overwritten (W11). Neither call rejects. */
export interface ObjectStore {
  readonly name: string
  readonly kind: 'carry' | 's3'
  put(object: { readonly key: string; readonly bytes: Buffer; readonly sha256: Buffer }, signal: AbortSignal): Promise<PutOutcome>
  head(key: string, signal: AbortSignal): Promise<HeadOutcome>
  close(): Promise<void>
}

/** The append-only record of everything that left or was refused (egress.md §6). Calls reject with SLU_LEDGER_* or SLU_EGRESS_HOLD. */
export interface LedgerPort {
  /** Leaves acknowledged. */
  readonly size: number
  /** The latest time any leaf carries, epoch ms: time never runs back behind it. */
  readonly highestMs: number
  /** The latest policy leaf, and the highest version ever seen. */
  readonly policy: { readonly bundle: string; readonly version: number; readonly versionMax: number } | null
  decisionFor(cell: CellIdentity): CellDecision | null
  openIntents(): readonly IntentState[]
  /** The exact bytes of an intent's object, checked against their hash. */
  object(sha256: string): Promise<Buffer>
  /**
   * Resolves with the indices once leaves and the bytes of `objects` are durable and the checkpoint is published. A second decision for a
   * cell, or a second outcome for an intent, rejects with SLU_EGRESS_HOLD and writes nothing.
   */
  append(leaves: readonly LeafDraft[], objects?: readonly Buffer[]): Promise<readonly { readonly index: number }[]>
  /** Reserved by intents in the UTC day and hour of `atMs`, those not yet durable included; never refunded. */
  usage(atMs: number): { readonly bytesToday: number; readonly objectsThisHour: number }
}
