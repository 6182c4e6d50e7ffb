/**
 * OpenTelemetry exponential histogram, base 2^(2^-scale) (data model of OTLP metrics, "ExponentialHistogram").
 *
 * Owns: value → bucket, the fall of the scale when buckets do not fit, exact merge, the record form.
 * Every value is placed at scale 20 once and shifted right from there: `index(scale) = index(20) >> (20 − scale)`. So the buckets of a merge are those
 * of the union, whatever the order, and partials of any partitions give the same bytes. Bucket i holds (base^i, base^(i+1)].
 */
import type { Histogram } from '../../schemas/records.ts'

export const SCALE_MAX = 20
export const BUCKETS_MAX = 160

const PER_OCTAVE = 2 ** SCALE_MAX

/** Stands for the index of a value that has none: zero or negative. No index is as large. */
export const NOT_POSITIVE = 0x7fff_ffff

/** Values placed lately, direct mapped by their bits: a sensor says the same few hundred values again and again, and a logarithm is dear. */
const RECENT_BITS = 10
const recentValues = new Float64Array(1 << RECENT_BITS)
const recentIndexes = new Int32Array(1 << RECENT_BITS)

/** Index at scale 20 of a positive finite value; within ±2^30·1.05, so an int32. */
export const bucketIndex = (value: number): number => Math.ceil(Math.log2(value) * PER_OCTAVE) - 1

/** Indexes at scale 20 of the first `n` of `values`, all finite, into `out`. `bits` = the same memory as `values`. */
export function bucketIndexes(values: Float64Array, bits: Int32Array, n: number, out: Int32Array): void {
  for (let i = 0; i < n; i++) {
    const value = values[i] as number
    if (value <= 0) {
      out[i] = NOT_POSITIVE
      continue
    }
    const place = Math.imul((bits[2 * i] as number) ^ (bits[2 * i + 1] as number), 0x9e37_79b1) >>> (32 - RECENT_BITS)
    if (recentValues[place] !== value) {
      recentValues[place] = value
      recentIndexes[place] = bucketIndex(value)
    }
    out[i] = recentIndexes[place] as number
  }
}

/** Dense counts from `offset` on, at a scale kept outside. */
interface Side {
  offset: number
  counts: number[]
}

/** Halves the resolution `steps` times. */
function coarsen(side: Side, steps: number): void {
  if (steps === 0 || side.counts.length === 0) return
  const offset = side.offset >> steps
  const counts: number[] = []
  side.counts.forEach((count, i) => {
    const at = ((side.offset + i) >> steps) - offset
    while (counts.length <= at) counts.push(0)
    counts[at] = (counts[at] as number) + count
  })
  side.offset = offset
  side.counts = counts
}

function put(side: Side, index: number, count: number): void {
  if (side.counts.length === 0) side.offset = index
  while (index < side.offset) {
    side.counts.unshift(0)
    side.offset--
  }
  while (index >= side.offset + side.counts.length) side.counts.push(0)
  side.counts[index - side.offset] = (side.counts[index - side.offset] as number) + count
}

/** Steps by which the scale must fall so that `low` to `high` fit beside what is there. */
function stepsToFit(side: Side, low: number, high: number): number {
  let first = low
  let last = high
  if (side.counts.length > 0) {
    first = Math.min(first, side.offset)
    last = Math.max(last, side.offset + side.counts.length - 1)
  }
  let steps = 0
  while (last - first >= BUCKETS_MAX) {
    first >>= 1
    last >>= 1
    steps++
  }
  return steps
}

export class ExponentialHistogram {
  scale: number = SCALE_MAX
  zeroCount = 0
  private readonly positive: Side = { offset: 0, counts: [] }
  private readonly negative: Side = { offset: 0, counts: [] }

  /** Adds a finite value. */
  add(value: number): void {
    if (value > 0) this.count(this.positive, bucketIndex(value), SCALE_MAX, 1)
    else if (value < 0) this.count(this.negative, bucketIndex(-value), SCALE_MAX, 1)
    else this.zeroCount++
  }

  /** Adds the first `n` of `values`, whose `indexes` are known. The scale falls once for all of them. */
  addAll(values: Float64Array, indexes: Int32Array, n: number): void {
    let [low, high] = [NOT_POSITIVE, -NOT_POSITIVE]
    for (let i = 0; i < n; i++) {
      const index = indexes[i] as number
      if (index === NOT_POSITIVE) {
        this.add(values[i] as number)
        continue
      }
      if (index < low) low = index
      if (index > high) high = index
    }
    if (low > high) return
    const side = this.positive
    this.fall(stepsToFit(side, low >> (SCALE_MAX - this.scale), high >> (SCALE_MAX - this.scale)))
    const shift = SCALE_MAX - this.scale
    for (let i = 0; i < n; i++) {
      const index = indexes[i] as number
      if (index === NOT_POSITIVE) continue
      const at = (index >> shift) - side.offset
      if (at >= 0 && at < side.counts.length) side.counts[at] = (side.counts[at] as number) + 1
      else put(side, index >> shift, 1)
    }
  }

  merge(other: Histogram): void {
    this.zeroCount += other.zeroCount
    this.fall(this.scale - other.scale)
    other.counts.forEach((count, i) => count > 0 && this.count(this.positive, other.offset + i, other.scale, count))
    other.negativeCounts.forEach((count, i) => count > 0 && this.count(this.negative, other.negativeOffset + i, other.scale, count))
  }

  /** As it stands in a record; the first and last count of a side are never 0. */
  toRecord(): Histogram {
    return {
      scale: this.scale,
      zeroCount: this.zeroCount,
      offset: this.positive.offset,
      counts: this.positive.counts,
      negativeOffset: this.negative.offset,
      negativeCounts: this.negative.counts,
    }
  }

  private count(side: Side, index: number, scale: number, count: number): void {
    const here = index >> (scale - this.scale)
    const steps = stepsToFit(side, here, here)
    if (steps > 0) this.fall(steps)
    put(side, here >> steps, count)
  }

  private fall(steps: number): void {
    if (steps <= 0) return
    this.scale -= steps
    coarsen(this.positive, steps)
    coarsen(this.negative, steps)
  }
}
