/**
 * Who contributed what to a cell (egress.md §2): stays inside the site, so that the gate can apply its rules.
 *
 * Owns: sum, count and positive buckets per contributor, at the scale of the cell's histogram; the bound (beyond it the overflow flag holds the cell
 * at the gate); the record form, sorted by id. Buckets are sparse: a contributor has few of a cell's buckets.
 * A contributor's zero and negative values count in `sum` and `count` only: `bucketCounts` are those of the histogram's positive side.
 */
import type { ContributorFact } from '../../schemas/records.ts'
import { SCALE_MAX } from './exponential-histogram.ts'

export interface Contributor {
  sum: number
  count: number
  scale: number
  readonly indexes: number[]
  readonly counts: number[]
  /** Where the last value went: the next one often goes there too. */
  lastAt: number
}

export class Contributors {
  isOverflown = false
  private readonly byId = new Map<string, Contributor>()
  private readonly max: number

  constructor(max: number) {
    this.max = max
  }

  get size(): number {
    return this.byId.size
  }

  /** The contributor of `id`, made on first use at the cell's scale; null and the flag beyond the bound. */
  enter(id: string, scale: number): Contributor | null {
    const known = this.byId.get(id)
    if (known !== undefined) return known
    if (this.byId.size >= this.max) {
      this.isOverflown = true
      return null
    }
    const made: Contributor = { sum: 0, count: 0, scale, indexes: [], counts: [], lastAt: 0 }
    this.byId.set(id, made)
    return made
  }

  /** A fact of a partial whose histogram stands at `offset` and `factScale`. */
  merge(fact: ContributorFact, offset: number, factScale: number, scale: number): void {
    const c = this.enter(fact.id, scale)
    if (c === null) return
    c.sum += fact.sum
    c.count += fact.count
    lowered(c, scale)
    fact.bucketCounts.forEach((count, i) => count > 0 && bump(c, (offset + i) >> (factScale - c.scale), count))
  }

  /** Facts sorted by id; `bucketCounts` start at `offset` and end with the contributor's last bucket (later ones are 0). */
  toRecord(offset: number, scale: number): ContributorFact[] {
    const facts: ContributorFact[] = []
    for (const [id, c] of this.byId) {
      const { indexes, counts } = lowered(c, scale)
      let buckets = 0
      for (const index of indexes) buckets = Math.max(buckets, index - offset + 1)
      const bucketCounts: number[] = []
      for (let i = 0; i < buckets; i++) bucketCounts.push(0)
      for (let i = 0; i < indexes.length; i++) bucketCounts[(indexes[i] as number) - offset] = counts[i] as number
      facts.push({ id, sum: c.sum, count: c.count, bucketCounts })
    }
    return facts.sort((a, b) => (a.id < b.id ? -1 : 1))
  }
}

/** Adds one value; `index` of it at `SCALE_MAX`, null where it is not positive; `scale` = the cell's now. */
export function contribute(c: Contributor, value: number, index: number | null, scale: number): void {
  c.sum += value
  c.count++
  if (index === null) return
  if (c.scale > scale) lowered(c, scale)
  const at = index >> (SCALE_MAX - c.scale)
  if (c.indexes[c.lastAt] === at) c.counts[c.lastAt] = (c.counts[c.lastAt] as number) + 1
  else bump(c, at, 1)
}

/** Brings a contributor down to `scale`, merging buckets that fall together. */
function lowered(c: Contributor, scale: number): Contributor {
  const steps = c.scale - scale
  if (steps <= 0) return c
  c.scale = scale
  const { indexes, counts } = c
  const before = indexes.length
  const old = indexes.splice(0, before)
  const oldCounts = counts.splice(0, before)
  old.forEach((index, i) => bump(c, index >> steps, oldCounts[i] as number))
  return c
}

function bump(c: Contributor, index: number, count: number): void {
  const at = c.indexes.indexOf(index)
  if (at >= 0) {
    c.counts[at] = (c.counts[at] as number) + count
    c.lastAt = at
  } else {
    c.lastAt = c.indexes.push(index) - 1
    c.counts.push(count)
  }
}
