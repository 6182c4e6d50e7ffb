/**
 * What contributors contributed, as columns of a WindowPartial (telemetry.md §4).
 *
 * Owns: the columns' layout, writing them, and reading them with the check that they fit together and the histogram beside them (D6: what contradicts
 * itself would ask for memory without bound). Why columns: a cell by device has hundreds of contributors with a few buckets each; as one array of
 * counts from the histogram's offset on, most of it was zeros, and a fifth of the cost of a window went into them.
 * Contributor i stands at place i of `sums`, `counts` and `bucketsOf`; its buckets follow those of i − 1 in `bucketIndexes` (from the histogram's offset
 * on) and `bucketCounts`. Doubles, little endian: exact to 2^53.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { CellMembers, ContributorFact, Histogram, WindowPartial } from '../../schemas/records.ts'
import type { Buckets, Contributors } from './contributors.ts'
import { BUCKETS_MAX } from './exponential-histogram.ts'

export interface ContributorColumns {
  readonly sums: Float64Array
  readonly counts: Float64Array
  readonly bucketsOf: Uint8Array
  readonly bucketIndexes: Uint8Array
  readonly bucketCounts: Float64Array
}

type Fields = Pick<WindowPartial, 'contributorSums' | 'contributorCounts' | 'contributorBuckets' | 'bucketIndexes' | 'bucketCounts'>

const bytesOf = (column: Float64Array | Uint8Array): Buffer => Buffer.from(column.buffer, column.byteOffset, column.byteLength)

/** A copy, so that it is aligned. */
const doublesOf = (bytes: Buffer): Float64Array => {
  const column = new Float64Array(bytes.length >> 3)
  bytesOf(column).set(bytes.subarray(0, column.byteLength))
  return column
}

/** `numbers` of `contributors`, in that order; `offset` and `scale` are those of the histogram's positive side. */
export function writeColumns(contributors: Contributors, numbers: readonly number[], offset: number, scale: number): Fields {
  const n = numbers.length
  const [sums, counts, bucketsOf] = [new Float64Array(n), new Float64Array(n), new Uint8Array(n)]
  const buckets: Buckets[] = []
  let places = 0
  for (let i = 0; i < n; i++) {
    const number = numbers[i] as number
    const own = contributors.bucketsOf(number, scale)
    sums[i] = contributors.sumOf(number)
    counts[i] = contributors.countOf(number)
    bucketsOf[i] = own.indexes.length
    places += own.indexes.length
    buckets.push(own)
  }
  const [bucketIndexes, bucketCounts] = [new Uint8Array(places), new Float64Array(places)]
  let at = 0
  for (const own of buckets)
    for (let b = 0; b < own.indexes.length; b++, at++) {
      bucketIndexes[at] = (own.indexes[b] as number) - offset
      bucketCounts[at] = own.counts[b] as number
    }
  return {
    contributorSums: bytesOf(sums),
    contributorCounts: bytesOf(counts),
    contributorBuckets: bytesOf(bucketsOf),
    bucketIndexes: bytesOf(bucketIndexes),
    bucketCounts: bytesOf(bucketCounts),
  }
}

/** Throws SLU_RECORD_UNDECODABLE. `contributors` = how many there are. */
export function readColumns(fields: Fields, contributors: number, histogram: Histogram): ContributorColumns {
  const refuse = (why: string): never => {
    throw new SluiceError('SLU_RECORD_UNDECODABLE', `WindowPartial: ${why}`)
  }
  const { contributorBuckets: bucketsOf, bucketIndexes } = fields
  const doubles = (bytes: Buffer, places: number, what: string): Float64Array =>
    bytes.length === places * 8 ? doublesOf(bytes) : refuse(`${bytes.length} bytes of ${what} for ${places} places`)
  if (bucketsOf.length !== contributors) refuse(`${bucketsOf.length} contributors, ${contributors} names`)
  const columns = {
    sums: doubles(fields.contributorSums, contributors, 'sums'),
    counts: doubles(fields.contributorCounts, contributors, 'counts'),
    bucketsOf,
    bucketIndexes,
    bucketCounts: doubles(fields.bucketCounts, bucketIndexes.length, 'bucket counts'),
  }
  let buckets = 0
  for (let i = 0; i < contributors; i++) {
    if ((bucketsOf[i] as number) > BUCKETS_MAX) refuse('a contributor with more buckets than a histogram has')
    buckets += bucketsOf[i] as number
    if (!((columns.counts[i] as number) > 0)) refuse('a contributor that counts nothing')
  }
  if (buckets !== bucketIndexes.length) refuse(`${bucketIndexes.length} buckets of contributors that have ${buckets}`)
  for (let b = 0; b < buckets; b++) {
    const count = columns.bucketCounts[b] as number
    if (!(count > 0 && count <= (histogram.counts[bucketIndexes[b] as number] ?? 0))) refuse('a contributor counts more than its cell')
  }
  return columns
}

/** The same as a person reads it, and as a summary says it: an array of counts from the histogram's offset on. */
export function factsOf({ sums, counts, bucketsOf, bucketIndexes, bucketCounts }: ContributorColumns, members: CellMembers): ContributorFact[] {
  let b = 0
  return members.contributors.map((id, i) => {
    const dense: number[] = []
    for (const end = b + (bucketsOf[i] as number); b < end; b++) {
      const at = bucketIndexes[b] as number
      while (dense.length <= at) dense.push(0)
      dense[at] = bucketCounts[b] as number
    }
    return { id, sum: sums[i] as number, count: counts[i] as number, bucketCounts: dense }
  })
}
