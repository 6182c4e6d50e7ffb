/**
 * The circuit breaker on ourselves (H2): one rule may not quarantine a whole pool.
 *
 * Owns: how many endpoints a rule keeps from work now, per pool, and the limit. Limit: the share of the pool's endpoints that this input
 * partition sees, at least one (each partition sees only its own nodes, so the shares add up to the pool's). Once tripped it stays
 * tripped for that rule and pool until the rule's version rises, which is the acknowledgement.
 */
import type { HealthRules } from '../../schemas/health-rules.ts'
import { takesNoWork, type DeviceState, type PartitionHealth } from './device-state.ts'
import type { EndpointMap } from './endpoint-roll-up.ts'

/** Stands among the codes of a rule that the breaker has weakened. */
export const BREAKER_CODE = 'breaker'

export type BreakerAnswer = 'allowed' | 'tripped-now' | 'tripped'

const latchKey = (ruleId: string, pool: string): string => `${ruleId}\0${pool}`

/** Whether `ruleId` may keep the endpoints of `devices` from work. Latches. */
export function askBreaker(
  state: PartitionHealth,
  map: EndpointMap,
  ruleId: string,
  devices: readonly DeviceState[],
  pool: string,
  breaker: HealthRules['breaker'],
): BreakerAnswer {
  const endpoints = map.byPool.get(pool) ?? []
  const hit = endpoints.filter((e) => devices.some((d) => e.devices.includes(d.id)))
  if (hit.length === 0 || endpoints.length < breaker.endpointsMin) return 'allowed'
  const key = latchKey(ruleId, pool)
  if (state.latched.has(key)) return 'tripped'
  const seen = endpoints.filter((e) => e.devices.some((id) => state.devices.has(id)))
  const isOut = (id: string): boolean => {
    const rule = state.devices.get(id)?.rules.get(ruleId)
    return rule !== undefined && takesNoWork(rule.verdict)
  }
  const out = seen.filter((e) => hit.includes(e) || e.devices.some(isOut))
  if (out.length <= Math.max(1, Math.floor(seen.length * breaker.share))) return 'allowed'
  state.latched.add(key)
  return 'tripped-now'
}

/** What was tripped before a restart, read off the rules it weakened. */
export function restoreLatches(state: PartitionHealth, device: DeviceState, versions: ReadonlyMap<string, number>): void {
  if (device.pool === null) return
  for (const rule of device.rules.values())
    if (rule.codes.includes(BREAKER_CODE) && versions.get(rule.ruleId) === rule.ruleVersion) state.latched.add(latchKey(rule.ruleId, device.pool))
}
