/**
 * The endpoints of a site as the router holds them: configuration joined with leases, breakers, rests and latency.
 *
 * Owns: the live state of each endpoint and its view as a `Candidate`. Decides nothing.
 */
import { createBreaker, type Breaker } from './breaker.ts'
import type { EndpointApi } from './apis.ts'
import type { Candidate } from './choose.ts'
import type { HealthTable } from './health-table.ts'
import type { Latency } from './latency.ts'
import type { Leases } from './leases.ts'

export interface PoolOptions {
  readonly name: string
  readonly accelerator: string
  readonly endpoints: readonly { readonly id: string; readonly url: string; readonly api: EndpointApi; readonly models: readonly string[]; readonly slots: number }[]
}

export interface Endpoint {
  readonly id: string
  readonly url: string
  readonly api: EndpointApi
  readonly models: readonly string[]
  readonly slots: number
  readonly pool: string
  readonly accelerator: string
  readonly breaker: Breaker
  /** Busy or unreachable until then, epoch ms. */
  restUntilMs: number
}

export function endpointsOf(pools: readonly PoolOptions[]): Map<string, Endpoint> {
  const all = pools.flatMap((pool) =>
    pool.endpoints.map((e): Endpoint => ({ ...e, url: e.url.replace(/\/+$/, ''), pool: pool.name, accelerator: pool.accelerator, breaker: createBreaker(), restUntilMs: 0 })),
  )
  return new Map(all.map((endpoint) => [endpoint.id, endpoint]))
}

export const latencyKey = (endpoint: string, model: string, size: number): string => `${endpoint}\0${model}\0${size}`

/** The endpoints as they stand now, for requests of these models and this size. */
export function candidatesOf(
  endpoints: Iterable<Endpoint>,
  models: readonly string[],
  size: number,
  nowMs: number,
  state: { readonly health: Pick<HealthTable, 'get'>; readonly leases: Leases; readonly latency: Latency },
): Candidate[] {
  return [...endpoints].map((endpoint) => {
    const model = models.find((m) => endpoint.models.includes(m))
    return {
      id: endpoint.id,
      pool: endpoint.pool,
      api: endpoint.api,
      models: endpoint.models,
      slots: endpoint.slots,
      inFlight: state.leases.inFlight(endpoint.id),
      standing: state.health.get(endpoint.id),
      isBreakerOpen: endpoint.breaker.isOpen(nowMs),
      isResting: endpoint.restUntilMs > nowMs,
      latencyMs: model === undefined ? null : state.latency.get(latencyKey(endpoint.id, model, size), nowMs),
    }
  })
}
