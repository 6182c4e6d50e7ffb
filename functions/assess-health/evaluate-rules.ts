/**
 * What the readings of one device mean under the rules (telemetry.md §3).
 *
 * Owns: one evaluation per rule kind: `code` (sticky gauge and sliding count: acted on when they change, first sight is a baseline), `level`
 * (holds while the signal says so), `rise` (a counter that grew), `graded` (weight steps per evaluation window). Decides nothing about
 * hysteresis or the breaker: it raises, or says that a sign is healthy.
 */
import type { CodeRule, Condition, GradedRule, HealthRule } from '../../schemas/health-rules.ts'
import type { AttributeMap } from '../../schemas/records.ts'
import type { Reading } from './batch-reader.ts'
import { note, noteEnd, raise, XID_SIGNAL, type Assessment, type RuleFacts } from './assessment.ts'
import { devicesOn, takesNoWork, weightKey, type DeviceState, type MutableRule } from './device-state.ts'
import { endRule, holdRule, isInForce, isRaised } from './hysteresis.ts'

/** Stands among the codes of a verdict given for a code that was there when the device was first seen. */
export const FIRST_SIGHT = 'first-sight'

export const XID_COUNT = 'sluice.gpu.xid_count'
const RECOVERY_ACTION = 'sluice.gpu.recovery_action'
const UNLISTED: RuleFacts = { id: 'xid-unlisted', version: 1, check: 'xid', action: 'INVESTIGATE', isExempt: false }

/** Codes by rule, made once. */
export type CodeRules = ReadonlyMap<number, CodeRule>

export function codeRulesOf(rules: readonly HealthRule[]): CodeRules {
  return new Map(rules.flatMap((rule) => (rule.kind === 'code' ? rule.codes.map((code) => [code, rule] as const) : [])))
}

/** Metrics that some rule reads. */
export function signalsOf(rules: readonly HealthRule[]): Set<string> {
  const names = new Set([XID_SIGNAL, XID_COUNT, RECOVERY_ACTION])
  for (const rule of rules) {
    if (rule.kind === 'level' || rule.kind === 'rise') names.add(rule.signal)
    if (rule.kind === 'graded') for (const part of rule.any) names.add(part.signal)
  }
  return names
}

export function holds(when: Condition, value: number): boolean {
  if (when.equals !== undefined) return when.equals.includes(value)
  if (when.noneOf !== undefined) return value > 0 && !when.noneOf.includes(value)
  if (when.below !== undefined) return value < when.below
  if (when.above !== undefined) return value > when.above
  if (!Number.isSafeInteger(value) || value < 0) return false
  if (when.bits !== undefined) return (BigInt(value) & BigInt(when.bits)) !== 0n
  for (let rest = value; rest > 0; rest = Math.floor(rest / 4)) if (rest % 4 === when.packed2) return true
  return false
}

export const hasAll = (have: AttributeMap, want: AttributeMap): boolean => Object.entries(want).every(([name, value]) => have[name] === value)
const isExactly = (have: AttributeMap, want: AttributeMap): boolean => hasAll(have, want) && Object.keys(have).length === Object.keys(want).length

function setSignal(device: DeviceState, key: string, value: number): void {
  if (device.signals.get(key) === value) return
  device.signals.set(key, value)
  device.isDirty = true
}

function dropSignal(device: DeviceState, key: string): void {
  if (device.signals.delete(key)) device.isDirty = true
}

const targets = (a: Assessment, device: DeviceState, scope: 'device' | 'host'): DeviceState[] => (scope === 'host' ? devicesOn(a.state, device.node) : [device])

function level(a: Assessment, device: DeviceState, rule: Extract<HealthRule, { kind: 'level' }>, readings: readonly Reading[]): void {
  const rows = readings.filter((r) => r.metric === rule.signal && hasAll(r.attributes, rule.attributes))
  if (rows.length === 0) return
  const bad = rows.find((r) => holds(rule.when, r.value))
  if (bad !== undefined) return raise(a, rule, rule.verdict, targets(a, device, rule.scope), device, { codes: [String(bad.value)], isOccurrence: false, scope: rule.scope })
  for (const other of targets(a, device, rule.scope)) {
    const entry = other.rules.get(rule.id)
    if (entry === undefined || (other !== device && !entry.codes.includes(device.id))) continue
    holdRule(other, entry, a.atMs, a.rules.hold)
    a.touched.add(other)
  }
}

function rise(a: Assessment, device: DeviceState, rule: Extract<HealthRule, { kind: 'rise' }>, readings: readonly Reading[]): void {
  for (const reading of readings) {
    if (reading.metric !== rule.signal || !isExactly(reading.attributes, rule.attributes)) continue
    const before = device.signals.get(reading.key)
    setSignal(device, reading.key, reading.value)
    if (before === undefined || reading.value <= before) continue
    raise(a, rule, rule.verdict, targets(a, device, rule.scope), device, { codes: [`+${reading.value - before}`], isOccurrence: true, scope: rule.scope })
  }
}

function graded(a: Assessment, device: DeviceState, rule: GradedRule, readings: readonly Reading[]): void {
  const rows = rule.any.flatMap((part) => readings.filter((r) => r.metric === part.signal && hasAll(r.attributes, part.attributes)).map((r) => holds(part.when, r.value)))
  if (rows.length === 0) return
  const [hotKey, windowKey] = [`${rule.id}:hot`, `${rule.id}:windowMs`]
  const isHot = rows.includes(true)
  const windowStart = Math.floor(a.atMs / rule.windowMs) * rule.windowMs
  const evaluated = device.signals.get(windowKey)
  if (evaluated === undefined) {
    if (!isHot) return
    setSignal(device, windowKey, windowStart)
    setSignal(device, hotKey, 1)
    return
  }
  if (windowStart > evaluated) {
    const before = device.signals.get(weightKey(rule.id)) ?? 1
    const step = device.signals.has(hotKey) ? -rule.down : rule.up
    const weight = Math.round(Math.min(1, Math.max(rule.floor, before + step)) * 1000) / 1000
    dropSignal(device, hotKey)
    setSignal(device, windowKey, windowStart)
    setSignal(device, weightKey(rule.id), weight)
    if (weight < 1) raise(a, rule, 'DEPRIORITISE', [device], device, { codes: [], isOccurrence: false, scope: 'device' })
    else if (!isHot) {
      for (const key of [weightKey(rule.id), windowKey]) dropSignal(device, key)
      const entry = device.rules.get(rule.id)
      if (entry !== undefined && isInForce(entry)) {
        endRule(device, entry, a.atMs)
        noteEnd(a, device, entry)
      }
    }
  }
  if (isHot && !device.signals.has(hotKey)) setSignal(device, hotKey, 1)
}

/** Codes that happened since the last look, and codes that were there at first sight. */
function newCodes(device: DeviceState, readings: readonly Reading[], isNew: boolean): { happened: Set<number>; found: Set<number> } {
  const happened = new Set<number>()
  const found = new Set<number>()
  const isCode = (value: number): boolean => Number.isSafeInteger(value) && value >= 0
  const counts = new Set<string>()
  for (const { metric, attributes, key, value } of readings) {
    if (metric === XID_SIGNAL && isCode(value)) {
      const before = device.signals.get(XID_SIGNAL)
      setSignal(device, XID_SIGNAL, value)
      if (value > 0 && before === undefined) found.add(value)
      else if (value > 0 && before !== value) happened.add(value)
    }
    if (metric === XID_COUNT) {
      const code = Number(attributes['xid'])
      if (!isCode(code) || code === 0) continue
      counts.add(key)
      const before = device.signals.get(key)
      setSignal(device, key, value)
      if (value > (before ?? 0)) (isNew ? found : happened).add(code)
    }
  }
  // The count covers a sliding window: a series that left it starts again at 0.
  if (readings.some((r) => r.metric === XID_SIGNAL || r.metric === XID_COUNT))
    for (const key of device.signals.keys()) if (key.startsWith(`${XID_COUNT}{`) && !counts.has(key)) dropSignal(device, key)
  for (const code of happened) found.delete(code)
  return { happened, found }
}

function codeHappened(a: Assessment, device: DeviceState, code: number, codeRules: CodeRules): void {
  const rule = codeRules.get(code)
  const codes = [String(code)]
  if (rule === undefined) return note(a, UNLISTED, device, codes)
  if (rule.verdict === 'RECORD') return note(a, rule, device, codes)
  if (rule.repeat !== undefined) {
    const [countKey, firstKey] = [`${rule.id}:count`, `${rule.id}:firstMs`]
    const firstMs = device.signals.get(firstKey)
    const isWithin = firstMs !== undefined && a.atMs - firstMs <= rule.repeat.withinMs
    if (!isWithin) setSignal(device, firstKey, a.atMs)
    const count = isWithin ? (device.signals.get(countKey) ?? 0) + 1 : 1
    setSignal(device, countKey, count)
    if (count < rule.repeat.count) return note(a, rule, device, codes)
  }
  raise(a, rule, rule.verdict, targets(a, device, rule.scope), device, { codes, isOccurrence: true, scope: rule.scope })
}

function codes(a: Assessment, device: DeviceState, readings: readonly Reading[], isNew: boolean, codeRules: CodeRules): void {
  const { happened, found } = newCodes(device, readings, isNew)
  const isRecovered = readings.some((r) => r.metric === RECOVERY_ACTION && r.value === 0)
  if (isRecovered) {
    const waits = (entry: MutableRule): boolean => {
      const rule = a.ruleById.get(entry.ruleId)
      return entry.codes.includes(FIRST_SIGHT) || (rule?.kind === 'code' && rule.isClearedByRecoveryAction)
    }
    for (const entry of device.rules.values()) if (isRaised(entry) && waits(entry)) holdRule(device, entry, a.atMs, a.rules.hold)
  }
  for (const code of happened) codeHappened(a, device, code, codeRules)
  for (const code of found) {
    const rule = codeRules.get(code)
    if (rule === undefined || rule.verdict === 'RECORD' || !takesNoWork(rule.verdict) || isRecovered) continue
    raise(a, rule, 'DEPRIORITISE', [device], device, { codes: [String(code), FIRST_SIGHT], isOccurrence: true, scope: 'device' })
  }
}

/** All rules on the readings of one device. */
export function evaluateDevice(a: Assessment, device: DeviceState, readings: readonly Reading[], isNew: boolean, codeRules: CodeRules): void {
  a.touched.add(device)
  codes(a, device, readings, isNew, codeRules)
  for (const rule of a.rules.rules) {
    if (rule.kind === 'level') level(a, device, rule, readings)
    else if (rule.kind === 'rise') rise(a, device, rule, readings)
    else if (rule.kind === 'graded') graded(a, device, rule, readings)
  }
}
