/**
 * From devices to endpoints (R10): worst verdict, least weight, and whether the row says something new.
 *
 * Owns: which endpoints stand on a device, the row of an endpoint as this partition sees it, its generation.
 */
import type { EndpointHealth } from '../../schemas/records.ts'
import { severity, type DeviceState, type EndpointRow, type PartitionHealth } from './device-state.ts'

export interface EndpointDevices {
  readonly id: string
  readonly pool: string
  /** Pseudonyms. */
  readonly devices: readonly string[]
}

export interface EndpointMap {
  readonly endpoints: ReadonlyMap<string, EndpointDevices>
  readonly byDevice: ReadonlyMap<string, readonly EndpointDevices[]>
  readonly byPool: ReadonlyMap<string, readonly EndpointDevices[]>
}

export function endpointMap(endpoints: readonly EndpointDevices[]): EndpointMap {
  const byDevice = new Map<string, EndpointDevices[]>()
  const byPool = new Map<string, EndpointDevices[]>()
  for (const endpoint of endpoints) {
    byPool.set(endpoint.pool, [...(byPool.get(endpoint.pool) ?? []), endpoint])
    for (const device of endpoint.devices) byDevice.set(device, [...(byDevice.get(device) ?? []), endpoint])
  }
  return { endpoints: new Map(endpoints.map((e) => [e.id, e])), byDevice, byPool }
}

/** A number that is the same as long as the endpoint stands on the same devices of the same pool: rows of another mapping are told apart by it. */
export function generationOf(endpoint: EndpointDevices): number {
  let hash = 7
  for (const c of `${endpoint.pool}\0${[...endpoint.devices].sort().join('\0')}`) hash = (hash * 31 + (c.codePointAt(0) as number)) % 281_474_976_710_597
  return hash
}

/** Null while none of its devices was seen in this partition. */
export function rollUp(state: PartitionHealth, endpoint: EndpointDevices): Omit<EndpointRow, 'causeAppendMs'> | null {
  const devices = endpoint.devices.map((id) => state.devices.get(id)).filter((device) => device !== undefined)
  if (devices.length === 0) return null
  const worst = devices.reduce((a, b) => (severity(b.verdict) > severity(a.verdict) ? b : a))
  const reasons = new Set<string>()
  for (const device of devices) for (const rule of device.rules.values()) if (rule.verdict !== 'ROUTE_OK') reasons.add(rule.ruleId)
  return { verdict: worst.verdict, weight: Math.min(...devices.map((d) => d.weight)), reasons: [...reasons].sort(), sinceMs: worst.sinceMs }
}

export function isSameRow(a: EndpointRow | undefined, b: Omit<EndpointRow, 'causeAppendMs'>): boolean {
  return a !== undefined && a.verdict === b.verdict && a.weight === b.weight && a.reasons.join() === b.reasons.join()
}

/** The record of a row; expiry counts from `nowMs`. */
export function endpointRecord(state: PartitionHealth, endpoint: EndpointDevices, row: EndpointRow, nowMs: number, expiresMs: number): EndpointHealth {
  const seen = endpoint.devices.map((id) => state.devices.get(id)?.lastSeenMs ?? 0)
  return {
    endpoint: endpoint.id,
    pool: endpoint.pool,
    sourcePartition: state.partition,
    generation: generationOf(endpoint),
    verdict: row.verdict,
    weight: row.weight,
    reasons: row.reasons,
    sinceMs: row.sinceMs,
    observedMs: Math.max(...seen),
    expiresMs: nowMs + expiresMs,
    sourceOffset: state.offset,
    causeAppendMs: row.causeAppendMs,
  }
}

/** Endpoints that stand on any of the devices. */
export function endpointsOf(map: EndpointMap, devices: Iterable<DeviceState>): Set<EndpointDevices> {
  const touched = new Set<EndpointDevices>()
  for (const device of devices) for (const endpoint of map.byDevice.get(device.id) ?? []) touched.add(endpoint)
  return touched
}
