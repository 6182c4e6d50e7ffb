/**
 * combine-metrics: the WindowPartials of all source partitions → one WindowSummary per cell and window (telemetry.md §4), stage 2 (W7).
 *
 * Owns: telling partials from markers, the merge (histograms and contributors at the coarsest scale, exact), the summary's id.
 * The id is a function of site, cell and window alone (W4). A summary is partial if any slot is (W6), or if slots were made with different
 * parameters; partial ones never pass the gate. Site-internal: the gate decides what of it may leave.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { WindowPartial } from '../../schemas/records.ts'
import { defineFunction, type CombinedSlot, type CombineFunction } from '../../streams/define-function.ts'
import { Cell } from '../aggregate-metrics/cell.ts'
import { cellKey } from '../aggregate-metrics/cell-key.ts'
import { BUCKETS_MAX, SCALE_MAX } from '../aggregate-metrics/exponential-histogram.ts'

export interface CombineMetricsOptions {
  readonly site: string
  /** That of aggregate-metrics. */
  readonly windowMs: number
  readonly contributorFactsMax: number
}

const OUTPUT = 'metrics.windows'

export function combineMetrics(options: CombineMetricsOptions): CombineFunction<WindowPartial> {
  return defineFunction<CombineFunction<WindowPartial>>({
    kind: 'combine',
    name: 'combine-metrics',
    inputs: ['metrics.partials'],
    outputs: [OUTPUT],
    windowMs: options.windowMs,
    decode: (record, { codecs }) => {
      if (record.value === null) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'WindowPartial: the record has no value')
      if (codecs.nameOf(record.value) === 'WindowMarker') {
        const { function: functionName, readThrough, neededFrom, ...marker } = codecs.decode('WindowMarker', record.value)
        return { kind: 'marker', ...marker, functionName, readThrough: BigInt(readThrough), neededFrom: BigInt(neededFrom) }
      }
      const value = codecs.decode('WindowPartial', record.value)
      assertConsistent(value)
      const group = cellKey(value.pool, value.metric, value.attributes)
      // A partial under another key may lie in another partition: its window would then close without it.
      if (record.key?.toString('utf8') !== group) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'WindowPartial: the record key is not its cell')
      return {
        kind: 'partial',
        sourcePartition: value.sourcePartition,
        windowStartMs: value.windowStartMs,
        windowEndMs: value.windowEndMs,
        group,
        firstOffset: BigInt(value.firstOffset),
        lastOffset: BigInt(value.lastOffset),
        partial: value.partial,
        parametersHash: value.parametersHash,
        value,
      }
    },
    result: (group, window, slots, { codecs }) => {
      const { value: first } = slots[0] as CombinedSlot<WindowPartial>
      const { pool, metric, unit, attributes, contributorKind, parametersHash } = first
      const cell = new Cell({ key: group, pool, metric, unit, attributes, contributorKind }, options.contributorFactsMax)
      for (const slot of slots) cell.merge(slot.value)
      const aggregate = cell.aggregate()
      const value = codecs.encode('WindowSummary', {
        site: options.site,
        pool,
        metric,
        unit,
        attributes,
        contributorKind,
        windowStartMs: window.startMs,
        windowEndMs: window.endMs,
        ...aggregate,
        contributors: aggregate.contributorFacts.length,
        devices: cell.deviceIds.size,
        sources: slots.map((s) => ({ partition: s.sourcePartition, firstOffset: Number(s.firstOffset), lastOffset: Number(s.lastOffset) })),
        partial: slots.some((s) => s.partial || s.value.parametersHash !== parametersHash),
        parametersHash,
        id: `${options.site}/${group}/${window.startMs}-${window.endMs}`,
      })
      return { to: 'topic', topic: OUTPUT, key: group, value }
    },
  })
}

/** The coarsest scale at which doubles still need more than one bucket a side. */
const SCALE_MIN = -11

/**
 * A partial whose numbers contradict each other is refused before they size anything (D6): buckets of a contributor that the cell's histogram does not
 * have would ask for memory without bound. Throws SLU_RECORD_UNDECODABLE.
 */
function assertConsistent({ histogram: h, contributorFacts, count }: WindowPartial): void {
  const refuse = (why: string): never => {
    throw new SluiceError('SLU_RECORD_UNDECODABLE', `WindowPartial: ${why}`)
  }
  if (!(count > 0)) refuse('it counts nothing')
  if (h.scale > SCALE_MAX || h.scale < SCALE_MIN) refuse('a scale that no histogram has')
  if (h.counts.length > BUCKETS_MAX || h.negativeCounts.length > BUCKETS_MAX) refuse('more buckets than a histogram has')
  if ([...h.counts, ...h.negativeCounts, h.zeroCount].some((n) => n < 0)) refuse('a negative count')
  for (const { bucketCounts } of contributorFacts) if (bucketCounts.some((n, i) => n < 0 || n > (h.counts[i] ?? 0))) refuse('a contributor counts more than its cell')
}
