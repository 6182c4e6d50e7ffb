/**
 * `route-inference`: requests of `inference.requests` → exactly one result per id on `inference.results`.
 *
 * Owns: the function definition around the router. R1 (one visible result, fencing, results tail) is the runtime's: this states id, time, digest
 * and horizon. R10: nothing is dispatched before the health table was read to the end seen at start.
 */
import type { Hashing } from '../../schemas/ports.ts'
import { defineFunction, type TaskFunction } from '../../streams/define-function.ts'
import { DEADLINE_MS_MAX, decodeRequest, type DecodedRequest } from './request.ts'
import { encodeResult } from './result.ts'
import { createRouter, type RouterOptions } from './router.ts'

export interface RouteInferenceOptions extends RouterOptions {
  readonly site: string
  readonly defaultDeadlineMs: number
  readonly dedupeMs: number
  readonly skewMs: number
  /** Requests in hand at once, waiting ones included: bounds the memory of bodies. */
  readonly maxInFlight: number
  readonly requestBytesMax: number
  readonly ports: RouterOptions['ports'] & { readonly hashing: Hashing }
}

const REQUESTS = 'inference.requests'
const RESULTS = 'inference.results'
/** Fields beside the body. */
const ENVELOPE_BYTES_MAX = 64 * 1024

/** The function of a site. Pools, contracts and limits are fixed for its life. */
export function routeInference(options: RouteInferenceOptions): TaskFunction<DecodedRequest> {
  const router = createRouter(options)
  return defineFunction<TaskFunction<DecodedRequest>>({
    kind: 'task',
    readsOnly: true,
    name: 'route-inference',
    inputs: [REQUESTS],
    outputs: [RESULTS],
    order: 'unordered',
    concurrency: options.maxInFlight,
    deadlineMs: DEADLINE_MS_MAX,
    // Base64 in JSON is a third longer; what is over the body's limit but still readable is answered, not parked.
    recordBytesMax: Math.max(8 * 1024 * 1024, options.requestBytesMax * 2 + ENVELOPE_BYTES_MAX),
    decode: (record, context) => decodeRequest(record, context, options.ports.hashing, options),
    handle: async (decoded, record, context) => {
      const result = await router.route(decoded, context)
      const value = encodeResult(result, decoded.request, decoded.encoding, context.codecs, options.resultBytesMax)
      return [{ to: 'topic', topic: RESULTS, key: decoded.request.id, value, partition: record.partition }]
    },
    once: {
      resultsTopic: RESULTS,
      dedupeMs: options.dedupeMs,
      skewMs: options.skewMs,
      id: (decoded) => decoded.request.id,
      createdMs: (decoded) => decoded.request.createdMs,
      digest: (decoded) => decoded.digest,
    },
    ready: () => options.ports.health.ready,
  })
}
