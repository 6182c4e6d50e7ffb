/**
 * The JSON encoding of inference requests and results (routing.md §1): what a producer without Avro sends and reads.
 *
 * Owns: field names as in the Avro records, defaults of absent fields, and `body`: a string holding the exact text, or base64 with
 * `bodyEncoding: "base64"`. The body is never parsed here: its bytes go through as they came.
 */
import { SluiceError } from './errors.ts'
import type { InferenceRequest, InferenceResult } from './records.ts'

type JsonObject = Readonly<Record<string, unknown>>

/** A request as far as it could be read; `problem` names the first field that is wrong. */
export interface JsonRequest {
  readonly request: InferenceRequest
  readonly problem: string | null
}

/** Throws SLU_RECORD_UNDECODABLE: not UTF-8, not JSON, not an object. */
function objectOf(bytes: Uint8Array): JsonObject {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  } catch (cause) {
    throw new SluiceError('SLU_RECORD_UNDECODABLE', 'not JSON in UTF-8', cause)
  }
  throw new SluiceError('SLU_RECORD_UNDECODABLE', 'not a JSON object')
}

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/

/** Bytes of a `body`; null if it is not one of its two forms. */
function bodyOf(value: JsonObject): Buffer | null {
  if (typeof value['body'] !== 'string') return null
  const encoding = value['bodyEncoding'] ?? null
  if (encoding === null) return Buffer.from(value['body'], 'utf8')
  if (encoding !== 'base64' || value['body'].length % 4 !== 0 || !BASE64.test(value['body'])) return null
  return Buffer.from(value['body'], 'base64')
}

/** Exact text where the bytes are UTF-8, else base64. */
function bodyFields(body: Buffer): { readonly body: string; readonly bodyEncoding?: 'base64' } {
  const text = body.toString('utf8')
  return Buffer.from(text, 'utf8').equals(body) ? { body: text } : { body: body.toString('base64'), bodyEncoding: 'base64' }
}

/** Reads fields one by one and remembers the first that is wrong. */
class FieldReader {
  readonly #value: JsonObject
  problem: string | null = null

  constructor(value: JsonObject) {
    this.#value = value
  }

  #wrong<T>(problem: string, fallback: T): T {
    this.problem ??= problem
    return fallback
  }

  text(name: string, fallback?: string): string {
    const value = this.#value[name]
    if (value === undefined && fallback !== undefined) return fallback
    return typeof value === 'string' ? value : this.#wrong(`${name} must be a string`, '')
  }

  textOrNull(name: string): string | null {
    const value = this.#value[name] ?? null
    return value === null || typeof value === 'string' ? value : this.#wrong(`${name} must be a string`, null)
  }

  timeOrNull(name: string): number | null {
    const value = this.#value[name] ?? null
    if (value === null) return null
    return Number.isSafeInteger(value) ? (value as number) : this.#wrong(`${name} must be whole epoch milliseconds`, null)
  }

  map(name: string): Readonly<Record<string, string>> {
    const value = this.#value[name] ?? {}
    const isMap = typeof value === 'object' && !Array.isArray(value) && Object.values(value).every((v) => typeof v === 'string')
    return isMap ? (value as Record<string, string>) : this.#wrong(`${name} must map names to strings`, {})
  }

  body(): Buffer {
    return bodyOf(this.#value) ?? this.#wrong('body must be a string holding the exact text, or base64 with bodyEncoding "base64"', Buffer.alloc(0))
  }

  bodyRef(): InferenceRequest['bodyRef'] {
    return (this.#value['bodyRef'] ?? null) === null ? null : this.#wrong('bodyRef is reserved', null)
  }
}

/** Throws SLU_RECORD_UNDECODABLE where not even an object can be read; all else is a `problem`. A missing `createdMs` reads as 0. */
export function inferenceRequestFromJson(bytes: Uint8Array): JsonRequest {
  const fields = new FieldReader(objectOf(bytes))
  const request: InferenceRequest = {
    id: fields.text('id'),
    model: fields.text('model'),
    modelVersion: fields.textOrNull('modelVersion'),
    api: fields.text('api'),
    headers: fields.map('headers'),
    body: fields.body(),
    bodyRef: fields.bodyRef(),
    contentType: fields.text('contentType', 'application/json'),
    createdMs: fields.timeOrNull('createdMs') ?? 0,
    deadlineMs: fields.timeOrNull('deadlineMs'),
    priority: fields.text('priority', 'default'),
    tenant: fields.text('tenant', ''),
    affinityKey: fields.textOrNull('affinityKey'),
    contract: fields.textOrNull('contract'),
    replyTopic: fields.textOrNull('replyTopic'),
  }
  return { request, problem: fields.problem }
}

/** The result as one JSON object in UTF-8. */
export function inferenceResultToJson(result: InferenceResult): Buffer {
  return Buffer.from(JSON.stringify({ ...result, ...bodyFields(result.body) }), 'utf8')
}

/** Reads what `inferenceResultToJson` wrote. Throws SLU_RECORD_UNDECODABLE. */
export function inferenceResultFromJson(bytes: Uint8Array): InferenceResult {
  const { bodyEncoding: _, ...value } = objectOf(bytes)
  const body = bodyOf({ ...value, bodyEncoding: _ })
  if (body === null || typeof value['id'] !== 'string' || !Number.isSafeInteger(value['status'])) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'not an inference result')
  return { ...(value as unknown as InferenceResult), body }
}
