/**
 * The requests SIMULATED applications make: several tenants and models, and now and then what real ones do wrong.
 *
 * Owns: the n-th request as a function of n, time and a random source: every `unknownModelEvery`-th names a model nobody serves, every
 * `expiredEvery`-th a deadline that has passed, every `duplicateEvery`-th is published twice under its id with the same bytes (R1).
 */
import type { Random } from '../../../schemas/ports.ts'
import type { InferenceRequest } from '../../../schemas/records.ts'

export interface ServedModel {
  readonly model: string
  readonly api: 'openai' | 'oip'
}

export interface RequestScript {
  /** 0 = never. */
  readonly unknownModelEvery: number
  readonly expiredEvery: number
  readonly duplicateEvery: number
}

export const DEFAULT_SCRIPT: RequestScript = { unknownModelEvery: 97, expiredEvery: 71, duplicateEvery: 43 }

const PROMPTS = ['Say hello.', 'Summarise the shift log.', 'Translate: cold aisle.', 'Name a prime above 100.']
const PRIORITIES = ['interactive', 'default', 'default', 'bulk']
const isNth = (n: number, every: number): boolean => every > 0 && n % every === 0
const pick = <T>(list: readonly T[], random: Random): T => list[Math.floor(random() * list.length)] as T

function bodyOf(model: string, api: 'openai' | 'oip', random: Random): string {
  if (api === 'oip') return JSON.stringify({ inputs: [{ name: 'input0', shape: [1, 4], datatype: 'FP32', data: [1, 2, 3, 4].map((x) => Math.round(x * random() * 1000) / 1000) }] })
  return JSON.stringify({ model, messages: [{ role: 'user', content: pick(PROMPTS, random) }], max_tokens: 8 + Math.floor(random() * 24) })
}

export interface MadeRequest {
  readonly request: InferenceRequest
  readonly isDuplicated: boolean
}

/** `n` counts from 1; `run` tells one run's ids from another's. */
export function makeRequest(n: number, run: string, nowMs: number, random: Random, models: readonly ServedModel[], tenants: readonly string[], script: RequestScript): MadeRequest {
  const served = pick(models, random)
  const model = isNth(n, script.unknownModelEvery) ? 'simulated-unknown-model' : served.model
  const request: InferenceRequest = {
    id: `sim-${run}-${n}`,
    model,
    modelVersion: null,
    api: served.api === 'oip' ? 'oip.infer' : 'openai.chat',
    headers: {},
    body: Buffer.from(bodyOf(model, served.api, random)),
    bodyRef: null,
    contentType: 'application/json',
    createdMs: nowMs,
    deadlineMs: isNth(n, script.expiredEvery) ? nowMs - 1 : null,
    priority: pick(PRIORITIES, random),
    tenant: pick(tenants, random),
    affinityKey: null,
    contract: null,
    replyTopic: null,
  }
  return { request, isDuplicated: isNth(n, script.duplicateEvery) }
}
