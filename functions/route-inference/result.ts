/**
 * The result of a request (routing.md §1).
 *
 * Owns: results of answered and refused requests, token usage read from an answer, encoding in the encoding of the request, and the size limit:
 * what does not fit becomes a small SLU_ROUTE_RESULT_TOO_LARGE result, never a transaction that aborts for ever.
 */
import type { Codecs } from '../../schemas/codec.ts'
import { errors, SluiceError, type ErrorCode } from '../../schemas/errors.ts'
import { inferenceResultToJson } from '../../schemas/inference-json.ts'
import type { InferenceRequest, InferenceResult, RouteEvidence } from '../../schemas/records.ts'
import { apis, resultHeaders } from './apis.ts'
import type { Answered } from './attempt.ts'

export interface Served {
  readonly model: string
  /** The version called; null where none was asked for, or a substitute served. */
  readonly modelVersion: string | null
  readonly pool: string
  readonly endpoint: string
  readonly accelerator: string
}

const USAGE_BYTES_MAX = 1 << 20
const count = (value: unknown): number | null => (Number.isSafeInteger(value) && (value as number) >= 0 ? (value as number) : null)

/** Tokens an OpenAI answer says it used; null if it says nothing that can be read. */
export function usageOf(api: string, body: Buffer): InferenceResult['usage'] {
  if (apis.get(api)?.spokenBy !== 'openai' || body.length > USAGE_BYTES_MAX) return null
  try {
    const usage = (JSON.parse(body.toString('utf8')) as { usage?: Record<string, unknown> } | null)?.usage
    const inputTokens = count(usage?.['prompt_tokens'])
    return inputTokens === null ? null : { inputTokens, outputTokens: count(usage?.['completion_tokens']) ?? 0 }
  } catch {
    return null // an answer need not be JSON; its bytes go through unread
  }
}

/** A refusal: no endpoint's answer is in it. The body names code and reason. */
export function refusal(request: InferenceRequest, error: SluiceError, timings: InferenceResult['timings'], evidence: RouteEvidence | null): InferenceResult {
  const row: { readonly http?: number | null } = errors[error.code]
  return {
    id: request.id,
    status: row.http ?? 500,
    code: error.code,
    headers: {},
    body: Buffer.from(JSON.stringify({ error: { code: error.code, message: error.message } }), 'utf8'),
    contentType: 'application/json',
    model: null,
    modelVersion: null,
    pool: null,
    endpoint: null,
    accelerator: null,
    timings,
    usage: null,
    evidence,
  }
}

/** What an endpoint said. A 4xx is the caller's: it carries SLU_ROUTE_INVALID and the endpoint's own words. */
export function answer(request: InferenceRequest, answered: Answered, served: Served, timings: InferenceResult['timings'], evidence: RouteEvidence): InferenceResult {
  const code: ErrorCode | null = answered.status >= 400 ? 'SLU_ROUTE_INVALID' : null
  return {
    id: request.id,
    status: answered.status,
    code,
    headers: resultHeaders(answered.headers),
    body: answered.body,
    contentType: answered.headers['content-type'] ?? 'application/octet-stream',
    ...served,
    timings,
    usage: code === null ? usageOf(request.api, answered.body) : null,
    evidence,
  }
}

/** Bytes of the result, at most `bytesMax` unless even the small result is larger. */
export function encodeResult(result: InferenceResult, request: InferenceRequest, encoding: 'avro' | 'json', codecs: Codecs, bytesMax: number): Buffer {
  const encode = (value: InferenceResult): Buffer => (encoding === 'json' ? inferenceResultToJson(value) : codecs.encode('InferenceResult', value))
  const bytes = encode(result)
  if (bytes.length <= bytesMax) return bytes
  return encode(refusal(request, new SluiceError('SLU_ROUTE_RESULT_TOO_LARGE', `${bytes.length} bytes, limit ${bytesMax}`), result.timings, result.evidence))
}
