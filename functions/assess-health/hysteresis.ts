/**
 * How a rule of a device is raised, cleared, held and forgotten (H1). Pure arithmetic over one `MutableRule`; time is an argument.
 *
 * Life of a rule: raised (`holdUntilMs` 0) → a healthy sign starts a hold of base × 2^n, at most the cap (n = recurrences) → over: the verdict
 * falls to ROUTE_OK, the entry stays to remember recurrences → forgotten. A recurrence within the hold changes no verdict: a flapping
 * link stays one verdict.
 */
import type { HealthRules } from '../../schemas/health-rules.ts'
import type { Verdict } from '../../schemas/records.ts'
import { severity, type DeviceState, type MutableRule } from './device-state.ts'

export interface Raise {
  readonly ruleId: string
  readonly ruleVersion: number
  readonly verdict: Verdict
  readonly codes: readonly string[]
  readonly atMs: number
  /** Something happened again (a code, a count): the time of the last one moves. A level that merely still holds is no recurrence. */
  readonly isOccurrence: boolean
}

/** Still decides about the device. */
export const isInForce = (rule: MutableRule): boolean => rule.verdict !== 'ROUTE_OK'
export const isRaised = (rule: MutableRule): boolean => isInForce(rule) && rule.holdUntilMs === 0

/** True if the verdict of the rule changed. */
export function raiseRule(device: DeviceState, raise: Raise, hold: HealthRules['hold']): boolean {
  const known = device.rules.get(raise.ruleId)
  if (known === undefined) {
    device.rules.set(raise.ruleId, {
      ruleId: raise.ruleId,
      ruleVersion: raise.ruleVersion,
      verdict: raise.verdict,
      sinceMs: raise.atMs,
      holdUntilMs: 0,
      occurrences: 1,
      codes: raise.codes,
      lastRaisedMs: raise.atMs,
    })
    device.isDirty = true
    return true
  }
  if (isRaised(known)) {
    if (raise.isOccurrence) {
      known.lastRaisedMs = Math.max(known.lastRaisedMs, raise.atMs)
      device.isDirty = true
    }
    if (severity(raise.verdict) <= severity(known.verdict)) return false
    Object.assign(known, { verdict: raise.verdict, codes: raise.codes, ruleVersion: raise.ruleVersion, sinceMs: raise.atMs })
    device.isDirty = true
    return true
  }
  const wasInForce = isInForce(known)
  const hasChanged = !wasInForce || severity(raise.verdict) > severity(known.verdict)
  known.occurrences = raise.atMs - known.lastRaisedMs > hold.forgetMs ? 1 : known.occurrences + 1
  known.holdUntilMs = 0
  known.lastRaisedMs = Math.max(known.lastRaisedMs, raise.atMs)
  if (hasChanged) Object.assign(known, { verdict: raise.verdict, codes: raise.codes, ruleVersion: raise.ruleVersion, sinceMs: raise.atMs })
  device.isDirty = true
  return hasChanged
}

/** A healthy sign: starts the hold. Does nothing to a rule already held or over. */
export function holdRule(device: DeviceState, rule: MutableRule, atMs: number, hold: HealthRules['hold']): void {
  if (!isRaised(rule)) return
  rule.holdUntilMs = atMs + Math.min(hold.capMs, hold.baseMs * 2 ** Math.min(30, rule.occurrences - 1))
  device.isDirty = true
}

/** Ends the verdict at once; recurrences stay remembered. */
export function endRule(device: DeviceState, rule: MutableRule, atMs: number): void {
  rule.verdict = 'ROUTE_OK'
  rule.holdUntilMs = Math.max(rule.holdUntilMs, atMs)
  device.isDirty = true
}

/** Ends what is held long enough, forgets what is over long enough. Returns the rules that ended now. */
export function expireRules(device: DeviceState, atMs: number, hold: HealthRules['hold']): MutableRule[] {
  const ended: MutableRule[] = []
  for (const rule of device.rules.values()) {
    if (isInForce(rule)) {
      if (rule.holdUntilMs === 0 || atMs < rule.holdUntilMs) continue
      endRule(device, rule, atMs)
      ended.push(rule)
    } else if (atMs - rule.lastRaisedMs > hold.forgetMs) {
      device.rules.delete(rule.ruleId)
      device.isDirty = true
    }
  }
  return ended
}
