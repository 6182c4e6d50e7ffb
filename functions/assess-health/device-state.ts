/**
 * The state of one device and of one input partition.
 *
 * Owns: the order of verdicts, what a device's rules amount to (verdict, weight, state), and the translation to and from `DeviceHealth`
 * rows, which are the only memory that survives a restart (C8). Everything a later decision rests on stands in a row; a row is written
 * whenever that changes.
 */
import type { HealthRules } from '../../schemas/health-rules.ts'
import type { ActiveRule, DeviceHealth, HealthState, Verdict } from '../../schemas/records.ts'

export type MutableRule = { -readonly [K in keyof ActiveRule]: ActiveRule[K] }

export interface DeviceState {
  readonly id: string
  node: string
  pool: string | null
  lastSeenMs: number
  sinceMs: number
  verdict: Verdict
  weight: number
  /** Sticky signals and counters as last seen; weights of graded rules. */
  readonly signals: Map<string, number>
  readonly rules: Map<string, MutableRule>
  /** Something of the row changed since it was written. */
  isDirty: boolean
}

/** One periodic source of one node. `heardMs` is clock time, null until heard since the partition was opened: it is never stored. */
export interface SourceState {
  observedMs: number
  part: number
  heardMs: number | null
}

export interface EndpointRow {
  readonly verdict: Verdict
  readonly weight: number
  readonly reasons: readonly string[]
  readonly sinceMs: number
  readonly causeAppendMs: number | null
}

export interface PartitionHealth {
  readonly partition: number
  readonly devices: Map<string, DeviceState>
  readonly devicesOfNode: Map<string, Set<string>>
  /** node → source kind → state */
  readonly sources: Map<string, Map<string, SourceState>>
  /** `rule\0pool` of breakers that have tripped (H2). */
  readonly latched: Set<string>
  /** Pools whose source is taken as lost. */
  readonly lostPools: Set<string>
  readonly endpoints: Map<string, EndpointRow>
  refreshedMs: number | null
  /** Last offset folded. */
  offset: number
}

const ORDER: readonly Verdict[] = ['ROUTE_OK', 'DEPRIORITISE', 'DO_NOT_ROUTE', 'DRAIN', 'ISOLATE_DOMAIN']
const STATES: Readonly<Record<Verdict, HealthState>> = {
  ROUTE_OK: 'healthy',
  DEPRIORITISE: 'suspect',
  DRAIN: 'draining',
  DO_NOT_ROUTE: 'quarantined',
  ISOLATE_DOMAIN: 'quarantined',
}

export const severity = (verdict: Verdict): number => ORDER.indexOf(verdict)
export const worse = (a: Verdict, b: Verdict): Verdict => (severity(a) >= severity(b) ? a : b)
export const stateOf = (verdict: Verdict): HealthState => STATES[verdict]
export const takesNoWork = (verdict: Verdict): boolean => severity(verdict) >= severity('DO_NOT_ROUTE')

/** Key of a graded rule's weight among the signals. */
export const weightKey = (ruleId: string): string => `${ruleId}:weight`

export function newPartition(partition: number): PartitionHealth {
  return {
    partition,
    devices: new Map(),
    devicesOfNode: new Map(),
    sources: new Map(),
    latched: new Set(),
    lostPools: new Set(),
    endpoints: new Map(),
    refreshedMs: null,
    offset: -1,
  }
}

export function addDevice(state: PartitionHealth, device: DeviceState): void {
  removeDevice(state, device.id)
  state.devices.set(device.id, device)
  const ids = state.devicesOfNode.get(device.node)
  if (ids === undefined) state.devicesOfNode.set(device.node, new Set([device.id]))
  else ids.add(device.id)
}

export function removeDevice(state: PartitionHealth, id: string): void {
  const device = state.devices.get(id)
  if (device === undefined) return
  state.devices.delete(id)
  const ids = state.devicesOfNode.get(device.node)
  ids?.delete(id)
  if (ids?.size !== 0) return
  state.devicesOfNode.delete(device.node)
  state.sources.delete(device.node)
}

/** Sorted: the order must not depend on how the state came to be. */
export function devicesOn(state: PartitionHealth, node: string): DeviceState[] {
  return [...(state.devicesOfNode.get(node) ?? [])].sort().map((id) => state.devices.get(id) as DeviceState)
}

export function newDevice(id: string, node: string, pool: string | null, atMs: number): DeviceState {
  return { id, node, pool, lastSeenMs: atMs, sinceMs: atMs, verdict: 'ROUTE_OK', weight: 1, signals: new Map(), rules: new Map(), isDirty: true }
}

/** Worst verdict of its rules and the least weight; never the product (R10). */
export function settleDevice(device: DeviceState, rules: HealthRules, atMs: number): void {
  let verdict: Verdict = 'ROUTE_OK'
  let weight = 1
  for (const rule of device.rules.values()) {
    verdict = worse(verdict, rule.verdict)
    if (takesNoWork(rule.verdict)) weight = 0
    else if (rule.verdict === 'DEPRIORITISE') weight = Math.min(weight, device.signals.get(weightKey(rule.ruleId)) ?? rules.deprioritisedWeight)
  }
  if (verdict !== device.verdict) device.sinceMs = atMs
  if (verdict !== device.verdict || weight !== device.weight) device.isDirty = true
  device.verdict = verdict
  device.weight = weight
}

export function deviceRow(site: string, state: PartitionHealth, device: DeviceState): DeviceHealth {
  return {
    site,
    device: device.id,
    node: device.node,
    pool: device.pool,
    state: stateOf(device.verdict),
    verdict: device.verdict,
    weight: device.weight,
    sinceMs: device.sinceMs,
    lastSeenMs: device.lastSeenMs,
    sourcePartition: state.partition,
    sourceOffset: state.offset,
    signals: Object.fromEntries(device.signals),
    activeRules: [...device.rules.values()].map((rule) => ({ ...rule })),
  }
}

export function deviceFromRow(row: DeviceHealth): DeviceState {
  return {
    id: row.device,
    node: row.node,
    pool: row.pool,
    lastSeenMs: row.lastSeenMs,
    sinceMs: row.sinceMs,
    verdict: row.verdict,
    weight: row.weight,
    signals: new Map(Object.entries(row.signals)),
    rules: new Map(row.activeRules.map((rule) => [rule.ruleId, { ...rule }])),
    isDirty: false,
  }
}
