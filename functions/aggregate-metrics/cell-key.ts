/**
 * What a cell is about, and its group key: pool, metric and kept attributes as one text.
 *
 * Owns: `pool|metric|k=v,…`, attributes sorted by name, canonical and injective: the separators never stand unescaped in a part (W4: part of an
 * emission's identity; key of `metrics.partials` and `metrics.windows`).
 */
import type { AttributeMap, ContributorKind } from '../../schemas/records.ts'

/** What a cell is about; the same for all its windows. */
export interface CellFacts {
  readonly key: string
  readonly pool: string
  readonly metric: string
  readonly unit: string
  readonly attributes: Readonly<Record<string, string>>
  readonly contributorKind: ContributorKind
}

const escape = (text: string): string => text.replaceAll(/[%|=,]/g, (c) => `%${c.charCodeAt(0).toString(16)}`)

export function cellKey(pool: string, metric: string, attributes: AttributeMap): string {
  const pairs = Object.entries(attributes)
    .map(([name, value]) => `${escape(name)}=${escape(value)}`)
    .sort()
  return `${escape(pool)}|${escape(metric)}|${pairs.join(',')}`
}
