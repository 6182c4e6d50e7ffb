/**
 * What contributors contributed, as columns of a WindowPartial (telemetry.md §4).
 *
 * Owns: the columns' layout, writing them, and reading them with the check that they fit together and the histogram beside them (D6: what contradicts
 * itself would ask for memory without bound). Why columns: a cell by device has hundreds of contributors with a few buckets each; as one array of
 * counts from the histogram's offset on, most of it was zeros, each encoded, decoded and checked by itself.
 * Contributor i stands at place i of `sums`, `counts` and `bucketsOf`; its buckets follow those of i − 1 in `bucketIndexes` (from the histogram's offset
 * on) and `bucketCounts`. Little endian. Counts are exact to 2^53, in as few bytes as the largest of a column needs; its first byte says how many.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { CellMembers, ContributorFact, Histogram, WindowPartial } from '../../schemas/records.ts'
import type { Contributors } from './contributors.ts'
import { BUCKETS_MAX } from './exponential-histogram.ts'

export interface ContributorColumns {
  readonly sums: Float64Array
  readonly counts: Float64Array
  readonly bucketsOf: Uint8Array
  readonly bucketIndexes: Uint8Array
  readonly bucketCounts: Float64Array
}

type Fields = Pick<WindowPartial, 'contributorSums' | 'contributorCounts' | 'contributorBuckets' | 'bucketIndexes' | 'bucketCounts'>

const bytesOf = (column: Float64Array | Uint8Array | Uint16Array | Uint32Array): Buffer => Buffer.from(column.buffer, column.byteOffset, column.byteLength)

/** A copy, so that it is aligned. */
const doublesOf = (bytes: Buffer): Float64Array => {
  const column = new Float64Array(bytes.length >> 3)
  bytesOf(column).set(bytes.subarray(0, column.byteLength))
  return column
}

/** Whole numbers ≥ 0, the bytes of each before them. */
function narrowed(column: Float64Array): Buffer {
  let most = 0
  for (let i = 0; i < column.length; i++) if ((column[i] as number) > most) most = column[i] as number
  const width = most < 2 ** 8 ? 1 : most < 2 ** 16 ? 2 : most < 2 ** 32 ? 4 : 8
  const narrow = width === 1 ? Uint8Array.from(column) : width === 2 ? Uint16Array.from(column) : width === 4 ? Uint32Array.from(column) : column
  const bytes = Buffer.allocUnsafe(1 + narrow.byteLength)
  bytes[0] = width
  bytes.set(bytesOf(narrow), 1)
  return bytes
}

/** Null: not `places` numbers. */
function widened(bytes: Buffer, places: number): Float64Array | null {
  const width = bytes[0]
  if (bytes.length !== 1 + places * (width ?? 0)) return null
  if (width === 8) return doublesOf(bytes.subarray(1))
  const column = new Float64Array(places)
  if (width === 1) for (let i = 0; i < places; i++) column[i] = bytes[1 + i] as number
  else if (width === 2) for (let i = 0; i < places; i++) column[i] = bytes.readUInt16LE(1 + 2 * i)
  else if (width === 4) for (let i = 0; i < places; i++) column[i] = bytes.readUInt32LE(1 + 4 * i)
  else return null
  return column
}

/** `numbers` of `contributors`, in that order; `offset` and `scale` are those of the histogram's positive side, `width` its buckets. */
export function writeColumns(contributors: Contributors, numbers: readonly number[], offset: number, scale: number, width: number): Fields {
  const n = numbers.length
  const [sums, counts, bucketsOf] = [new Float64Array(n), new Float64Array(n), new Uint8Array(n)]
  const placeOf: number[] = []
  numbers.forEach((number, place) => {
    placeOf[number] = place
    sums[place] = contributors.sumOf(number)
    counts[place] = contributors.countOf(number)
  })
  // Sorted by bucket, then dealt out to the contributors in that order: each has its own in ascending order, whatever the table's.
  const pairs = contributors.buckets(scale)
  const total = pairs.size
  const order = new Int32Array(total)
  const starts = new Int32Array(width + 1)
  for (let i = 0; i < total; i++) {
    const at = (pairs.buckets[i] as number) - offset + 1
    starts[at] = (starts[at] as number) + 1
    const place = placeOf[pairs.numbers[i] as number] as number
    bucketsOf[place] = (bucketsOf[place] as number) + 1
  }
  for (let at = 0; at < width; at++) starts[at + 1] = (starts[at + 1] as number) + (starts[at] as number)
  for (let i = 0; i < total; i++) {
    const at = (pairs.buckets[i] as number) - offset
    const to = starts[at] as number
    starts[at] = to + 1
    order[to] = i
  }
  const next = new Int32Array(n + 1)
  for (let place = 0; place < n; place++) next[place + 1] = (next[place] as number) + (bucketsOf[place] as number)
  const [bucketIndexes, bucketCounts] = [new Uint8Array(total), new Float64Array(total)]
  for (let i = 0; i < total; i++) {
    const pair = order[i] as number
    const place = placeOf[pairs.numbers[pair] as number] as number
    const to = next[place] as number
    next[place] = to + 1
    bucketIndexes[to] = (pairs.buckets[pair] as number) - offset
    bucketCounts[to] = pairs.counts[pair] as number
  }
  return {
    contributorSums: bytesOf(sums),
    contributorCounts: narrowed(counts),
    contributorBuckets: bytesOf(bucketsOf),
    bucketIndexes: bytesOf(bucketIndexes),
    bucketCounts: narrowed(bucketCounts),
  }
}

/** Throws SLU_RECORD_UNDECODABLE. `contributors` = how many there are. */
export function readColumns(fields: Fields, contributors: number, histogram: Histogram): ContributorColumns {
  const refuse = (why: string): never => {
    throw new SluiceError('SLU_RECORD_UNDECODABLE', `WindowPartial: ${why}`)
  }
  const { contributorBuckets: bucketsOf, bucketIndexes } = fields
  const counted = (bytes: Buffer, places: number, what: string): Float64Array => widened(bytes, places) ?? refuse(`${bytes.length} bytes of ${what} for ${places} places`)
  if (bucketsOf.length !== contributors) refuse(`${bucketsOf.length} contributors, ${contributors} names`)
  if (fields.contributorSums.length !== contributors * 8) refuse(`${fields.contributorSums.length} bytes of sums for ${contributors} places`)
  const columns = {
    sums: doublesOf(fields.contributorSums),
    counts: counted(fields.contributorCounts, contributors, 'counts'),
    bucketsOf,
    bucketIndexes,
    bucketCounts: counted(fields.bucketCounts, bucketIndexes.length, 'bucket counts'),
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
