/**
 * One look at a partition: rules raise and clear through here, and at its end everything that changed goes out.
 *
 * Owns: raising with the breaker in between (H2), the end of holds and of `clearAfter` (H1), and the emits: `hardware.health` for every
 * change of a rule, `device.health` for every changed row (C8), `pool.health` for endpoints whose row says something new (R10).
 */
import type { HealthRule, HealthRules } from '../../schemas/health-rules.ts'
import type { HealthEvent, Verdict } from '../../schemas/records.ts'
import type { Emit, FunctionContext } from '../../streams/define-function.ts'
import { askBreaker, BREAKER_CODE } from './breaker.ts'
import { deviceRow, settleDevice, stateOf, takesNoWork, type DeviceState, type MutableRule, type PartitionHealth } from './device-state.ts'
import { endpointRecord, endpointsOf, isSameRow, rollUp, type EndpointDevices, type EndpointMap } from './endpoint-roll-up.ts'
import { endRule, expireRules, isRaised, raiseRule } from './hysteresis.ts'

export const XID_SIGNAL = 'sluice.gpu.xid'

/** What any rule says of itself in an event. */
export interface RuleFacts {
  readonly id: string
  readonly version: number
  readonly check: string
  readonly action: string
  readonly isExempt: boolean
}

interface PendingEvent {
  /** null = about a pool, not a device. */
  readonly device: DeviceState | null
  readonly subject: string
  readonly pool: string | null
  readonly scope: string
  readonly rule: RuleFacts
  readonly verdict: Verdict
  readonly codes: readonly string[]
  readonly isHealthy: boolean
}

export interface Assessment {
  readonly site: string
  readonly state: PartitionHealth
  readonly rules: HealthRules
  readonly ruleById: ReadonlyMap<string, HealthRule>
  readonly map: EndpointMap
  /** Event time of the record, or the clock's in a tick. */
  readonly atMs: number
  /** Append time of the record at hand; null in a tick. */
  readonly appendMs: number | null
  readonly touched: Set<DeviceState>
  /** Devices forgotten in this look. */
  readonly removed: DeviceState[]
  readonly events: PendingEvent[]
}

export interface RaiseOptions {
  readonly codes: readonly string[]
  readonly isOccurrence: boolean
  readonly scope: 'device' | 'host'
}

/** Raises `rule` on the devices (one, or all of a host). */
export function raise(a: Assessment, rule: RuleFacts, verdict: Verdict, devices: readonly DeviceState[], origin: DeviceState, options: RaiseOptions): void {
  let effective = verdict
  let codes = options.codes
  if (takesNoWork(verdict) && !rule.isExempt && origin.pool !== null) {
    const answer = askBreaker(a.state, a.map, rule.id, devices, origin.pool, a.rules.breaker)
    if (answer !== 'allowed') {
      effective = 'DEPRIORITISE'
      codes = [...codes, BREAKER_CODE]
    }
    if (answer === 'tripped-now') alarm(a, { ...rule, check: 'breaker', action: 'ACKNOWLEDGE' }, origin.pool, [rule.id])
  }
  for (const device of devices) {
    const own = device === origin ? codes : [...codes, origin.id]
    a.touched.add(device)
    if (!raiseRule(device, { ruleId: rule.id, ruleVersion: rule.version, verdict: effective, codes: own, atMs: a.atMs, isOccurrence: options.isOccurrence }, a.rules.hold)) continue
    a.events.push({ device, subject: device.id, pool: device.pool, scope: options.scope, rule, verdict: effective, codes: own, isHealthy: false })
  }
}

/** Written down; routing unchanged. */
export function note(a: Assessment, rule: RuleFacts, device: DeviceState, codes: readonly string[]): void {
  a.events.push({ device, subject: device.id, pool: device.pool, scope: 'device', rule, verdict: 'ROUTE_OK', codes, isHealthy: false })
}

/** Something about a whole pool that a person must look at; routing unchanged. */
export function alarm(a: Assessment, rule: RuleFacts, pool: string, codes: readonly string[]): void {
  a.events.push({ device: null, subject: `pool/${pool}`, pool, scope: 'domain', rule, verdict: 'ROUTE_OK', codes, isHealthy: false })
}

export function factsOf(a: Assessment, entry: MutableRule): RuleFacts {
  const rule = a.ruleById.get(entry.ruleId)
  const isSilence = entry.ruleId === a.rules.silence.id
  return { id: entry.ruleId, version: entry.ruleVersion, check: rule?.check ?? (isSilence ? 'silence' : 'withdrawn'), action: 'NONE', isExempt: rule?.isExempt ?? false }
}

/** Says that a rule is over. */
export function noteEnd(a: Assessment, device: DeviceState, entry: MutableRule): void {
  a.events.push({ device, subject: device.id, pool: device.pool, scope: 'device', rule: factsOf(a, entry), verdict: 'ROUTE_OK', codes: entry.codes, isHealthy: true })
}

/** `clearAfter`: no recurrence for long enough and, for codes, the gauge of the device it came from was seen reset. A rule no longer in the file ends too. */
function isOver(a: Assessment, device: DeviceState, entry: MutableRule): boolean {
  if (!isRaised(entry)) return false
  const rule = a.ruleById.get(entry.ruleId)
  if (rule === undefined) return entry.ruleId !== a.rules.silence.id
  if ((rule.kind !== 'code' && rule.kind !== 'rise') || rule.clearAfterMs === undefined) return false
  if (a.atMs - entry.lastRaisedMs < rule.clearAfterMs) return false
  if (rule.kind === 'rise') return true
  const origin = entry.codes.map((code) => a.state.devices.get(code)).find((d) => d !== undefined) ?? device
  return origin.signals.get(XID_SIGNAL) === 0
}

function settle(a: Assessment, device: DeviceState): void {
  for (const entry of device.rules.values())
    if (isOver(a, device, entry)) {
      endRule(device, entry, a.atMs)
      noteEnd(a, device, entry)
    }
  for (const entry of expireRules(device, a.atMs, a.rules.hold)) noteEnd(a, device, entry)
  settleDevice(device, a.rules, a.atMs)
}

function eventRecord(a: Assessment, event: PendingEvent): HealthEvent {
  return {
    site: a.site,
    device: event.subject,
    pool: event.pool,
    scope: event.scope,
    check: event.rule.check,
    codes: event.codes,
    state: stateOf(event.device?.verdict ?? 'ROUTE_OK'),
    verdict: event.verdict,
    ruleId: event.rule.id,
    ruleVersion: event.rule.version,
    isHealthy: event.isHealthy,
    recommendedAction: event.isHealthy ? 'NONE' : event.rule.action,
    detectedMs: a.atMs,
    evidence: { topic: 'hardware.telemetry', partition: a.state.partition, offset: a.state.offset },
  }
}

function endpointEmit(a: Assessment, endpoint: EndpointDevices, nowMs: number, isRefresh: boolean, context: FunctionContext): Emit[] {
  const key = `${endpoint.id}/${a.state.partition}`
  const held = a.state.endpoints.get(endpoint.id)
  const next = rollUp(a.state, endpoint)
  if (next === null) {
    if (!a.state.endpoints.delete(endpoint.id)) return []
    return [{ to: 'topic', topic: 'pool.health', key, value: null }]
  }
  const isSame = isSameRow(held, next)
  if (isSame && !isRefresh) return []
  const row = isSame ? { ...next, causeAppendMs: held?.causeAppendMs ?? null } : { ...next, causeAppendMs: a.appendMs }
  a.state.endpoints.set(endpoint.id, row)
  return [{ to: 'topic', topic: 'pool.health', key, value: context.codecs.encode('EndpointHealth', endpointRecord(a.state, endpoint, row, nowMs, a.rules.expiresMs)) }]
}

/** Settles what was touched and returns what changed. `isRefresh` rewrites every endpoint row. */
export function finish(a: Assessment, nowMs: number, isRefresh: boolean, context: FunctionContext): Emit[] {
  for (const device of a.touched) settle(a, device)
  const emits: Emit[] = []
  const changed: DeviceState[] = [...a.removed]
  for (const event of a.events) emits.push({ to: 'topic', topic: 'hardware.health', key: event.subject, value: context.codecs.encode('HealthEvent', eventRecord(a, event)) })
  for (const device of a.touched) {
    if (!device.isDirty || !a.state.devices.has(device.id)) continue
    device.isDirty = false
    changed.push(device)
    emits.push({ to: 'topic', topic: 'device.health', key: device.id, value: context.codecs.encode('DeviceHealth', deviceRow(a.site, a.state, device)) })
  }
  for (const device of a.removed) emits.push({ to: 'topic', topic: 'device.health', key: device.id, value: null })
  const endpoints = isRefresh ? new Set(a.map.endpoints.values()) : endpointsOf(a.map, changed)
  for (const endpoint of endpoints) emits.push(...endpointEmit(a, endpoint, nowMs, isRefresh, context))
  return emits
}
