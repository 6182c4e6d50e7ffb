/**
 * What is measured and said about pools while requests are routed.
 *
 * Owns: the gauges of a pool (in flight, slots that may get work, requests that wait) and the alarms about health that is not known (R10): an
 * expired row, once per endpoint until it is fresh again, and rows that could not be read, once for each more. Decides nothing.
 */
import type { Clock, Telemetry } from '../../schemas/ports.ts'
import { attributeNames, metricNames } from '../../schemas/telemetry-names.ts'
import { mayServe } from './choose.ts'
import type { Endpoint } from './endpoints.ts'
import type { HealthTable } from './health-table.ts'
import type { Leases } from './leases.ts'
import type { Waiting } from './waiting.ts'

export interface PoolMeasures {
  measure(pool: string): void
  measureAll(): void
  /** Says which endpoints have an expired row, and whether rows were unreadable. */
  alarm(): void
}

export interface PoolMeasuresOptions {
  readonly endpoints: ReadonlyMap<string, Endpoint>
  readonly health: Pick<HealthTable, 'get' | 'undecodable'>
  readonly leases: Pick<Leases, 'inFlight'>
  readonly waiting: Pick<Waiting, 'depth'>
  readonly clock: Clock
  readonly telemetry: Telemetry
}

export function createPoolMeasures({ endpoints, health, leases, waiting, clock, telemetry }: PoolMeasuresOptions): PoolMeasures {
  const pools = Map.groupBy(endpoints.values(), (endpoint) => endpoint.pool)
  const alarmed = new Set<string>()
  let undecodable = 0

  const measure = (pool: string): void => {
    const members = pools.get(pool) ?? []
    const attributes = { [attributeNames.pool]: pool }
    const nowMs = clock.nowMs()
    const open = members.filter((e) => mayServe(health.get(e.id)) && !e.breaker.isOpen(nowMs))
    const inFlight = members.reduce((sum, e) => sum + leases.inFlight(e.id), 0)
    const slots = open.reduce((sum, e) => sum + e.slots, 0)
    telemetry.gauge(metricNames.poolInFlight, inFlight, attributes)
    telemetry.gauge(metricNames.poolSlots, slots, attributes)
    telemetry.gauge(metricNames.poolQueueDepth, waiting.depth())
  }
  return {
    measure,
    measureAll: () => {
      for (const pool of pools.keys()) measure(pool)
    },
    alarm: () => {
      const isMore = health.undecodable() > undecodable
      undecodable = health.undecodable()
      if (isMore) telemetry.log('warn', `${undecodable} rows of pool.health could not be read so far; the verdicts before them hold`)
      for (const id of endpoints.keys()) {
        const isExpired = health.get(id)?.isExpired === true
        if (isExpired && !alarmed.has(id)) telemetry.log('warn', `health of endpoint ${id} is unknown: its row expired; the last verdict holds`)
        if (isExpired) alarmed.add(id)
        else alarmed.delete(id)
      }
    },
  }
}
