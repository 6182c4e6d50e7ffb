/**
 * Who contributed what to a cell (egress.md §2): stays inside the site, so that the gate can apply its rules.
 *
 * Owns: sum, count and positive buckets per contributor, at the scale of the cell's histogram; the bound (beyond it the overflow flag holds the cell
 * at the gate); the record form, sorted by id. Buckets are sparse: a contributor has few of a cell's buckets.
 * A contributor's zero and negative values count in `sum` and `count` only: `bucketCounts` are those of the histogram's positive side.
 */
import type { ContributorFact } from '../../schemas/records.ts'

interface Contributor {
  sum: number
  count: number
  scale: number
  readonly indexes: number[]
  readonly counts: number[]
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

  /** `index` of the value at `indexScale`, null for a value that is not positive; `scale` = the cell's now. False if `id` was known before. */
  add(id: string, sum: number, count: number, index: number | null, indexScale: number, scale: number): boolean {
    let c = this.byId.get(id)
    const isNew = c === undefined
    if (c === undefined) {
      if (this.byId.size >= this.max) {
        this.isOverflown = true
        return true
      }
      c = { sum: 0, count: 0, scale, indexes: [], counts: [] }
      this.byId.set(id, c)
    }
    c.sum += sum
    c.count += count
    if (index !== null) bump(lowered(c, scale), index >> (indexScale - c.scale), count)
    return isNew
  }

  /** A fact of a partial whose histogram stands at `offset` and `factScale`. */
  merge(fact: ContributorFact, offset: number, factScale: number, scale: number): void {
    this.add(fact.id, fact.sum, fact.count, null, factScale, scale)
    const c = this.byId.get(fact.id)
    if (c === undefined) return
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
  if (at >= 0) c.counts[at] = (c.counts[at] as number) + count
  else {
    c.indexes.push(index)
    c.counts.push(count)
  }
}
