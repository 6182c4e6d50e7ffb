/**
 * Statistical disclosure control: the minimum group (egress.md §2).
 *
 * Owns: who counts. Every fact is computed from `contributorFacts`; the counts that the summary carries are never trusted (E06). Only
 * contributors with a value other than zero count; all unattributed devices of a pool are one contributor, under one id. Facts that
 * contradict the cell they belong to are no facts: the gate holds. Dominance, epochs and histograms come with a later release. Pure.
 */
import type { ContributorFact } from '../../schemas/records.ts'

export interface DisclosureFacts {
  /** Contributors with a value other than zero. */
  readonly contributors: number
  /** No contributor has one: a cell of zeros tells of each of them (E06). */
  readonly isAllZero: boolean
}

/** Sums of the same numbers in another order differ in the last bits. */
const SUM_TOLERANCE = 1e-9

export interface Disclosable {
  readonly sum: number
  readonly count: number
  readonly contributorFacts: readonly ContributorFact[]
  readonly contributorOverflow: boolean
}

/** The facts, or what is missing to know them. */
export function disclosureFacts({ sum, count, contributorFacts, contributorOverflow }: Disclosable): DisclosureFacts | string {
  if (contributorOverflow) return 'the summary left out contributors: the group cannot be counted'
  const ids = new Set<string>()
  let facts = 0
  let total = 0
  let magnitude = 0
  let nonZero = 0
  for (const fact of contributorFacts) {
    if (ids.has(fact.id)) return 'a contributor stands twice'
    if (!Number.isSafeInteger(fact.count) || fact.count < 1 || !Number.isFinite(fact.sum)) return 'a contributor has no sound numbers'
    ids.add(fact.id)
    facts += fact.count
    total += fact.sum
    magnitude += Math.abs(fact.sum)
    if (fact.sum !== 0) nonZero++
  }
  if (facts !== count) return 'the contributors do not make up the count'
  if (Math.abs(total - sum) > SUM_TOLERANCE * Math.max(1, magnitude)) return 'the contributors do not make up the sum'
  return { contributors: nonZero, isAllZero: nonZero === 0 }
}
