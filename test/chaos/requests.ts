/**
 * The inference requests that go in, made from a seed, and what becomes of each (R1).
 *
 * Owns: the n-th request, its encoding, and what applications do wrong: the same request published again, an id used again for another body, a key
 * that is not the id, bytes that are no request, a model nobody serves.
 */
import type { Codecs } from '../../schemas/codec.ts'
import type { InferenceRequest } from '../../schemas/records.ts'
import { drawBelow, isDrawn } from './draw.ts'

export const MODELS = { openai: 'chaos-chat', oip: 'chaos-net' } as const
const UNKNOWN_MODEL = 'chaos-nobody-serves-this'
const DEADLINE_MS = 3_600_000

/** `plain` may be answered; `other-body`, `other-key` and `garbage` are parked; `unknown-model` is refused. */
export type RequestKind = 'plain' | 'other-body' | 'other-key' | 'garbage' | 'unknown-model'

export interface PlannedRequest {
  readonly n: number
  readonly kind: RequestKind
  readonly id: string
  /** ms from the start of the run. */
  readonly createdAt: number
  readonly publishAt: number
}

export function planRequests(seed: number, count: number, spanMs: number): PlannedRequest[] {
  const planned: PlannedRequest[] = []
  for (let n = 0; n < count; n++) {
    const createdAt = Math.floor((n * spanMs) / count)
    const is = (every: number, what: number): boolean => isDrawn(every, seed, what, n)
    const kind = is(60, 20) ? 'unknown-model' : is(60, 21) ? 'garbage' : is(60, 22) ? 'other-key' : 'plain'
    const one: PlannedRequest = { n, kind, id: `r-${seed}-${n}`, createdAt, publishAt: createdAt }
    planned.push(one)
    if (kind !== 'plain') continue
    if (is(6, 23)) planned.push({ ...one, publishAt: createdAt + drawBelow(500, seed, 24, n) })
    if (is(8, 25)) planned.push({ ...one, publishAt: createdAt + 5000 + drawBelow(20_000, seed, 26, n) })
    if (is(12, 27)) planned.push({ ...one, kind: 'other-body', publishAt: createdAt + 1000 + drawBelow(20_000, seed, 28, n) })
  }
  return planned.sort((a, b) => a.publishAt - b.publishAt || a.n - b.n)
}

const isOip = (n: number): boolean => n % 2 === 1

/** Exactly what the endpoint must be sent. */
export function bodyOf({ n, kind, id }: PlannedRequest): Buffer {
  const text = `${kind === 'other-body' ? 'something else' : 'something'} about ${id}`
  if (isOip(n)) return Buffer.from(JSON.stringify({ inputs: [{ name: 'text', shape: [1], datatype: 'BYTES', data: [text] }] }))
  const model = kind === 'unknown-model' ? UNKNOWN_MODEL : MODELS.openai
  return Buffer.from(JSON.stringify({ model, messages: [{ role: 'user', content: text }], max_tokens: 16 }))
}

/** Key and value as published; the encoding alternates between Avro and JSON. */
export function requestRecord(planned: PlannedRequest, startMs: number, codecs: Codecs): { readonly key: string; readonly value: Buffer } {
  const { n, kind, id, createdAt } = planned
  if (kind === 'garbage') return { key: id, value: Buffer.from([0xc3, 0x01, 1, 2, 3, n & 0xff]) }
  const model = kind === 'unknown-model' ? UNKNOWN_MODEL : isOip(n) ? MODELS.oip : MODELS.openai
  const createdMs = startMs + createdAt
  const request: InferenceRequest = {
    id,
    model,
    modelVersion: null,
    api: isOip(n) ? 'oip.infer' : 'openai.chat',
    headers: {},
    body: bodyOf(planned),
    bodyRef: null,
    contentType: 'application/json',
    createdMs,
    deadlineMs: createdMs + DEADLINE_MS,
    priority: 'default',
    tenant: `tenant-${n % 12}`,
    affinityKey: null,
    contract: null,
    replyTopic: null,
  }
  const value = n % 4 < 2 ? codecs.encode('InferenceRequest', request) : Buffer.from(JSON.stringify({ ...request, body: request.body.toString('utf8') }))
  return { key: kind === 'other-key' ? `${id}-other` : id, value }
}
