/**
 * Rules that cannot act because their signal does not arrive (telemetry.md §3): some exporters do not start with every field configured.
 *
 * Owns: the comparison of the rules with the metrics seen. Decides nothing; `sluice doctor` shows it.
 */
import type { HealthRule } from '../../schemas/health-rules.ts'
import type { AttributeMap } from '../../schemas/records.ts'
import { XID_SIGNAL } from './assessment.ts'
import { hasAll, XID_COUNT } from './evaluate-rules.ts'

export interface SeenMetric {
  readonly name: string
  readonly attributes: AttributeMap
}

/** Any one of them would do. */
function signalsOf(rule: HealthRule): readonly SeenMetric[] {
  if (rule.kind === 'code')
    return [
      { name: XID_SIGNAL, attributes: {} },
      { name: XID_COUNT, attributes: {} },
    ]
  if (rule.kind === 'graded') return rule.any.map((part) => ({ name: part.signal, attributes: part.attributes }))
  return [{ name: rule.signal, attributes: rule.attributes }]
}

/** Ids of the rules of which no signal is among `seen`, by the signals they wait for, in the order of the rules. */
export function unheardRules(rules: readonly HealthRule[], seen: readonly SeenMetric[]): Map<string, string[]> {
  const unheard = new Map<string, string[]>()
  for (const rule of rules) {
    const signals = signalsOf(rule)
    if (signals.some((signal) => seen.some((metric) => metric.name === signal.name && hasAll(metric.attributes, signal.attributes)))) continue
    const waitsFor = signals.map(({ name, attributes }) => [name, ...Object.entries(attributes).map(([k, v]) => `${k}=${v}`)].join(' ')).join(' or ')
    unheard.set(waitsFor, [...(unheard.get(waitsFor) ?? []), rule.id])
  }
  return unheard
}
