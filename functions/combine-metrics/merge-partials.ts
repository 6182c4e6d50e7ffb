/**
 * The partials of one cell and window, merged into what its summary says (telemetry.md §4).
 *
 * Owns: the merge, exact and at the coarsest scale: histograms, contributors, devices; the bounds and the overflow flag. Slots come sorted by source
 * partition: sums are added in that order, and of equal times the later slot's value is last.
 * Stages: who is there (worked out once for the same members, which mostly come again window after window) → numbers added by place → facts by name.
 */
import { DEVICES_MAX } from '../aggregate-metrics/cell.ts'
import type { ContributorColumns } from '../aggregate-metrics/contributor-columns.ts'
import { ExponentialHistogram } from '../aggregate-metrics/exponential-histogram.ts'
import type { CellMembers, ContributorFact, WindowPartial, WindowSummary } from '../../schemas/records.ts'

const SMALL_MAX = 2 ** 30

/** A partial, read. Equal members of a source are the same object. */
export interface CellPartial {
  /** Its cell. */
  readonly group: string
  readonly partial: WindowPartial
  readonly members: CellMembers
  readonly columns: ContributorColumns
}

/** Everybody in some slots. */
interface Union {
  readonly of: readonly CellMembers[]
  /** Sorted. */
  readonly contributors: readonly string[]
  /** Per slot: place in `contributors` of each of its own; -1 where the bound leaves it out. */
  readonly places: readonly Int32Array[]
  readonly devices: number
  readonly isOverflown: boolean
}

type Merged = Pick<WindowSummary, 'count' | 'sum' | 'min' | 'max' | 'last' | 'lastMs' | 'histogram' | 'contributorFacts' | 'contributorOverflow' | 'contributors' | 'devices'>

export type Merge = (group: string, slots: readonly CellPartial[]) => Merged

function unionOf(of: readonly CellMembers[], contributorsMax: number): Union {
  const places = new Map<string, number>()
  const devices = new Set<string>()
  let isOverflown = false
  for (const members of of) {
    for (const id of members.contributors)
      if (places.size < contributorsMax) places.set(id, 0)
      else if (!places.has(id)) isOverflown = true
    for (const id of members.devices)
      if (devices.size < DEVICES_MAX) devices.add(id)
      else if (!devices.has(id)) isOverflown = true
  }
  const contributors = [...places.keys()].sort()
  contributors.forEach((id, place) => places.set(id, place))
  return { of, contributors, places: of.map((members) => Int32Array.from(members.contributors, (id) => places.get(id) ?? -1)), devices: devices.size, isOverflown }
}

/** A row of buckets per contributor: one memory for all merges, of which each fills as much as it needs. */
let rows = new Float64Array(0)

function emptyRows(places: number): Float64Array {
  if (rows.length < places) rows = new Float64Array(2 * places)
  else rows.fill(0, 0, places)
  return rows
}

/** Contributors' numbers by place: a row of buckets each, from the merged histogram's offset on. */
function factsOf(slots: readonly CellPartial[], { contributors, places }: Union, offset: number, scale: number, width: number): ContributorFact[] {
  const n = contributors.length
  const [sums, counts, ends, buckets] = [new Float64Array(n), new Float64Array(n), new Int32Array(n), emptyRows(n * width)]
  slots.forEach(({ partial, columns }, slot) => {
    const { histogram } = partial
    const shift = histogram.scale - scale
    const placesHere = places[slot] as Int32Array
    let b = 0
    for (let i = 0; i < placesHere.length; i++) {
      const place = placesHere[i] as number
      const end = b + (columns.bucketsOf[i] as number)
      if (place < 0) {
        b = end
        continue
      }
      sums[place] = (sums[place] as number) + (columns.sums[i] as number)
      counts[place] = (counts[place] as number) + (columns.counts[i] as number)
      for (; b < end; b++) {
        const at = ((histogram.offset + (columns.bucketIndexes[b] as number)) >> shift) - offset
        buckets[place * width + at] = (buckets[place * width + at] as number) + (columns.bucketCounts[b] as number)
        if (at >= (ends[place] as number)) ends[place] = at + 1
      }
    }
  })
  return contributors.map((id, place) => {
    const bucketCounts: number[] = []
    bucketCounts.length = ends[place] as number
    const from = place * width
    for (let at = 0; at < bucketCounts.length; at++) {
      const count = buckets[from + at] as number
      // As small integers they need no object each.
      bucketCounts[at] = count <= SMALL_MAX ? count | 0 : count
    }
    return { id, sum: sums[place] as number, count: counts[place] as number, bucketCounts }
  })
}

/** `contributorsMax` = facts a summary holds; `groupsMax` bounds what is remembered, which is worked out again where it was dropped. */
export function createMerge(contributorsMax: number, groupsMax = 100_000): Merge {
  const unions = new Map<string, Union>()
  const union = (group: string, slots: readonly CellPartial[]): Union => {
    const known = unions.get(group)
    if (known !== undefined && known.of.length === slots.length && slots.every(({ members }, i) => members === known.of[i])) return known
    const made = unionOf(
      slots.map(({ members }) => members),
      contributorsMax,
    )
    if (unions.size >= groupsMax) unions.clear()
    unions.set(group, made)
    return made
  }
  return (group, slots) => {
    const everybody = union(group, slots)
    const histogram = new ExponentialHistogram()
    let [count, sum, min, max, last, lastMs] = [0, 0, Infinity, -Infinity, NaN, -Infinity]
    let isOverflown = everybody.isOverflown
    for (const { partial } of slots) {
      count += partial.count
      sum += partial.sum
      if (partial.min < min) min = partial.min
      if (partial.max > max) max = partial.max
      if (partial.lastMs >= lastMs) {
        last = partial.last
        lastMs = partial.lastMs
      }
      histogram.merge(partial.histogram)
      if (partial.contributorOverflow) isOverflown = true
    }
    const merged = histogram.toRecord()
    const contributorFacts = factsOf(slots, everybody, merged.offset, merged.scale, merged.counts.length)
    return {
      count,
      sum,
      min,
      max,
      last,
      lastMs,
      histogram: merged,
      contributorFacts,
      contributorOverflow: isOverflown,
      contributors: contributorFacts.length,
      devices: everybody.devices,
    }
  }
}
