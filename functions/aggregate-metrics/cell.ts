/**
 * The accumulator of one cell: pool × metric × kept attributes × window (telemetry.md §4).
 *
 * Owns: count, sum, min, max, last, histogram, contributors, devices; how partials of it merge. Everything but `sum` is independent of the order of
 * samples; sums are added in the order of the log, so a replay gives the same bytes (W3).
 */
import type { ContributorKind, WindowPartial } from '../../schemas/records.ts'
import { Contributors } from './contributors.ts'
import { bucketIndex, ExponentialHistogram, SCALE_MAX } from './exponential-histogram.ts'

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

  constructor(facts: CellFacts, contributorFactsMax: number) {
    this.facts = facts
    this.contributors = new Contributors(contributorFactsMax)
  }

  /** Adds a finite value of one device. */
  add(value: number, atMs: number, contributor: string, deviceId: string): void {
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
    const isNew = this.contributors.add(contributor, value, 1, index, SCALE_MAX, this.histogram.scale)
    // Where devices are the contributors, one known as contributor is known as device.
    if (isNew || this.facts.contributorKind !== 'device') this.addDevice(deviceId)
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
