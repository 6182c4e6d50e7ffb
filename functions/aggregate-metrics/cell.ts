/**
 * The accumulator of one cell: pool × metric × kept attributes × window (telemetry.md §4).
 *
 * Owns: count, sum, min, max, last, histogram, contributors, devices of what was added. Everything but `sum` is independent of the order of samples;
 * sums are added in the order of the log, so a replay gives the same bytes (W3).
 */
import type { Codecs } from '../../schemas/codec.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { WindowPartial } from '../../schemas/records.ts'
import type { BucketTable } from './bucket-table.ts'
import type { CellFacts } from './cell-key.ts'
import { writeColumns } from './contributor-columns.ts'
import { Contributors } from './contributors.ts'
import { ExponentialHistogram } from './exponential-histogram.ts'
import type { Roster } from './roster.ts'
import type { Taken } from './taken.ts'

/** Devices kept per cell; more set the overflow flag. */
export const DEVICES_MAX = 65_536

type Aggregate = Pick<
  WindowPartial,
  | 'count'
  | 'sum'
  | 'min'
  | 'max'
  | 'last'
  | 'lastMs'
  | 'histogram'
  | 'members'
  | 'contributorSums'
  | 'contributorCounts'
  | 'contributorBuckets'
  | 'bucketIndexes'
  | 'bucketCounts'
  | 'contributorOverflow'
>

export class Cell {
  readonly facts: CellFacts
  readonly roster: Roster
  count = 0
  sum = 0
  min = Infinity
  max = -Infinity
  last = NaN
  lastMs = -Infinity
  private readonly histogram = new ExponentialHistogram()
  /** Null once it was given back. */
  private table: BucketTable | null
  private readonly contributors: Contributors
  /** By number: 1 = has a value here. */
  private hasDevice = new Uint8Array(0)
  private devices = 0
  private isOverflown = false

  constructor(facts: CellFacts, roster: Roster, contributorsMax: number) {
    this.facts = facts
    this.roster = roster
    this.table = roster.takeTable()
    this.contributors = new Contributors(contributorsMax, this.table)
  }

  /** Adds what was taken of a record for this cell, by the numbers of its roster. */
  add(taken: Taken): void {
    const { n, values, indexes, atMs, devices } = taken
    const { roster, histogram, contributors } = this
    const hasDevice = this.devicesFor(roster.devices.list.length)
    let { sum, min, max, last, lastMs } = this
    for (let i = 0; i < n; i++) {
      const value = values[i] as number
      sum += value
      if (value < min) min = value
      if (value > max) max = value
      if ((atMs[i] as number) >= lastMs) {
        last = value
        lastMs = atMs[i] as number
      }
      if (hasDevice[devices[i] as number] === 0) this.enterDevice(devices[i] as number)
    }
    this.count += n
    this.sum = sum
    this.min = min
    this.max = max
    this.last = last
    this.lastMs = lastMs
    histogram.addAll(values, indexes, n)
    contributors.reserve(roster.contributors.list.length)
    contributors.addAll(taken, histogram.scale)
  }

  /** What a partial says of it. Its last act, which throws a second time: the next window of the roster goes on with its table. */
  aggregate(sourcePartition: number, codecs: Codecs): Aggregate {
    const { contributors, roster, table } = this
    if (table === null) throw new SluiceError('SLU_INTERNAL', `${this.facts.key}: a window said twice what it counted`)
    const histogram = this.histogram.toRecord()
    const present = contributors.present(roster.contributors.sorted())
    const devices = roster.devices.sorted().filter((number) => this.hasDevice[number] === 1)
    const said = {
      count: this.count,
      sum: this.sum,
      min: this.min,
      max: this.max,
      last: this.last,
      lastMs: this.lastMs,
      histogram,
      members: roster.members(sourcePartition, present, devices, codecs),
      ...writeColumns(contributors, present, histogram.offset, histogram.scale, histogram.counts.length),
      contributorOverflow: this.isOverflown || contributors.isOverflown,
    }
    this.table = null
    roster.giveTable(table)
    return said
  }

  /** `hasDevice` with room for the numbers below `numbers`. */
  private devicesFor(numbers: number): Uint8Array {
    if (numbers > this.hasDevice.length) {
      const grown = new Uint8Array(Math.max(numbers, this.hasDevice.length * 2))
      grown.set(this.hasDevice)
      this.hasDevice = grown
    }
    return this.hasDevice
  }

  private enterDevice(number: number): void {
    if (this.devices >= DEVICES_MAX) {
      this.isOverflown = true
      return
    }
    this.hasDevice[number] = 1
    this.devices++
  }
}
