/**
 * The accumulator of one cell: pool × metric × kept attributes × window (telemetry.md §4).
 *
 * Owns: count, sum, min, max, last, histogram, contributors, devices; how partials of it merge. Everything but `sum` is independent of the order of
 * samples; sums are added in the order of the log, so a replay gives the same bytes (W3).
 */
import type { ContributorKind, WindowPartial } from '../../schemas/records.ts'
import { contribute, Contributors, type Contributor } from './contributors.ts'
import { bucketIndex, ExponentialHistogram } from './exponential-histogram.ts'

/** Device ids kept per cell; more set the overflow flag. */
export const DEVICE_IDS_MAX = 65_536

/** What a cell is about; the same for all its windows. */
export interface CellFacts {
  readonly key: string
  readonly pool: string
  readonly metric: string
  readonly unit: string
  readonly attributes: Readonly<Record<string, string>>
  readonly contributorKind: ContributorKind
}

export class Cell {
  readonly facts: CellFacts
  count = 0
  sum = 0
  min = Infinity
  max = -Infinity
  last = NaN
  lastMs = -Infinity
  isOverflown = false
  readonly histogram: ExponentialHistogram = new ExponentialHistogram()
  readonly contributors: Contributors
  readonly deviceIds: Set<string> = new Set()
  private readonly slots = new Map<object, (Contributor | undefined)[]>()

  constructor(facts: CellFacts, contributorFactsMax: number) {
    this.facts = facts
    this.contributors = new Contributors(contributorFactsMax)
  }

  /**
   * Per row of a plan's cell: the contributor its values go to, filled by the caller with what `enter` said. Rows of the same plan go the same way for as long as the cell
   * lives, so names are looked up once a plan and not once a sample.
   */
  entered(plan: object): (Contributor | undefined)[] {
    let slots = this.slots.get(plan)
    if (slots === undefined) this.slots.set(plan, (slots = []))
    return slots
  }

  /** The contributor and the device of a value; null where the bound leaves the contributor out. Of no effect the second time. */
  enter(contributor: string, deviceId: string): Contributor | null {
    this.addDevice(deviceId)
    return this.contributors.enter(contributor, this.histogram.scale)
  }

  /** Adds a finite value of a contributor that entered. */
  add(value: number, atMs: number, contributor: Contributor | null): void {
    this.count++
    this.sum += value
    if (value < this.min) this.min = value
    if (value > this.max) this.max = value
    if (atMs >= this.lastMs) {
      this.last = value
      this.lastMs = atMs
    }
    let index: number | null = null
    if (value > 0) {
      index = bucketIndex(value)
      this.histogram.addIndexed(index)
    } else this.histogram.add(value)
    if (contributor !== null) contribute(contributor, value, index, this.histogram.scale)
  }

  /** Slots come sorted by source partition; of equal times the later slot's value is last. */
  merge(partial: WindowPartial): void {
    this.count += partial.count
    this.sum += partial.sum
    if (partial.min < this.min) this.min = partial.min
    if (partial.max > this.max) this.max = partial.max
    if (partial.lastMs >= this.lastMs) {
      this.last = partial.last
      this.lastMs = partial.lastMs
    }
    this.histogram.merge(partial.histogram)
    for (const fact of partial.contributorFacts) this.contributors.merge(fact, partial.histogram.offset, partial.histogram.scale, this.histogram.scale)
    for (const id of partial.deviceIds) this.addDevice(id)
    if (partial.contributorOverflow) this.isOverflown = true
  }

  /** The fields that partials and summaries share. */
  aggregate(): Pick<WindowPartial, 'count' | 'sum' | 'min' | 'max' | 'last' | 'lastMs' | 'histogram' | 'contributorFacts' | 'contributorOverflow'> {
    const histogram = this.histogram.toRecord()
    return {
      count: this.count,
      sum: this.sum,
      min: this.min,
      max: this.max,
      last: this.last,
      lastMs: this.lastMs,
      histogram,
      contributorFacts: this.contributors.toRecord(histogram.offset, histogram.scale),
      contributorOverflow: this.isOverflown || this.contributors.isOverflown,
    }
  }

  private addDevice(id: string): void {
    if (this.deviceIds.size < DEVICE_IDS_MAX) this.deviceIds.add(id)
    else if (!this.deviceIds.has(id)) this.isOverflown = true
  }
}
