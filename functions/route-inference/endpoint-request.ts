/**
 * A routed request as the HTTP call of one endpoint.
 *
 * Owns: path, headers and body of the call. Bytes of the body stay as they came; under a contract exactly those of `model` change (R2).
 * The idempotency key is the same in every attempt (R1); the time left is the whole budget of the call (R3).
 */
import type { EndpointRequest } from '../../schemas/ports.ts'
import { isHeaderValue, requestHeaders, type ApiRow } from './apis.ts'
import { withStringAt } from './body-fields.ts'
import type { DecodedRequest } from './request.ts'

export interface Send {
  readonly signal: AbortSignal
  readonly idempotencyKey: string
  /** Trace headers of the span this work runs in. */
  readonly carrier: Readonly<Record<string, string>>
}

export interface Target {
  readonly url: string
  /** The model asked for, or a substitute. */
  readonly model: string
  readonly timeoutMs: number
  readonly responseBytesMax: number
}

/** An id may hold any character; a header may not. */
const headerText = (text: string): string => (isHeaderValue(text) ? text : encodeURIComponent(text.toWellFormed()))

export function endpointRequest({ request, modelRange }: DecodedRequest, send: Send, api: ApiRow, target: Target): EndpointRequest {
  const isSubstitute = target.model !== request.model
  return {
    url: target.url + api.path(target.model, isSubstitute ? null : request.modelVersion),
    method: 'POST',
    headers: {
      ...requestHeaders(request.headers),
      ...Object.fromEntries(Object.entries(send.carrier).filter(([, value]) => isHeaderValue(value))),
      'content-type': request.contentType,
      'idempotency-key': headerText(send.idempotencyKey),
    },
    body: isSubstitute && modelRange !== null ? withStringAt(request.body, modelRange, target.model) : request.body,
    timeoutMs: target.timeoutMs,
    signal: send.signal,
    responseBytesMax: target.responseBytesMax,
  }
}
