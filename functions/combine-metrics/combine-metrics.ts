/**
 * combine-metrics: the WindowPartials of all source partitions → one WindowSummary per cell and window (telemetry.md §4), stage 2 (W7).
 *
 * Owns: telling partials from markers, what a summary says beside the merged numbers, its id.
 * The id is a function of site, cell and window alone (W4). A summary is partial if any slot is (W6), or if slots were made with different
 * parameters; partial ones never pass the gate. Site-internal: the gate decides what of it may leave.
 */
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, type CombineFunction } from '../../streams/define-function.ts'
import { createMerge, type CellPartial } from './merge-partials.ts'
import { createPartialReader } from './partial-reader.ts'

export interface CombineMetricsOptions {
  readonly site: string
  /** That of aggregate-metrics. */
  readonly windowMs: number
  readonly contributorFactsMax: number
}

const OUTPUT = 'metrics.windows'

export function combineMetrics(options: CombineMetricsOptions): CombineFunction<CellPartial> {
  const read = createPartialReader()
  const merge = createMerge(options.contributorFactsMax)
  return defineFunction<CombineFunction<CellPartial>>({
    kind: 'combine',
    readsOnly: true,
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
      const value = read(record.value, codecs)
      const { group, partial } = value
      // A partial under another key may lie in another partition: its window would then close without it.
      if (record.key?.toString('utf8') !== group) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'WindowPartial: the record key is not its cell')
      return {
        kind: 'partial',
        sourcePartition: partial.sourcePartition,
        windowStartMs: partial.windowStartMs,
        windowEndMs: partial.windowEndMs,
        group,
        firstOffset: BigInt(partial.firstOffset),
        lastOffset: BigInt(partial.lastOffset),
        partial: partial.partial,
        parametersHash: partial.parametersHash,
        value,
      }
    },
    result: (group, window, slots, { codecs }) => {
      const values = slots.map(({ value }) => value)
      const { pool, metric, unit, attributes, contributorKind, parametersHash } = (values[0] as CellPartial).partial
      const value = codecs.encode('WindowSummary', {
        site: options.site,
        pool,
        metric,
        unit,
        attributes,
        contributorKind,
        windowStartMs: window.startMs,
        windowEndMs: window.endMs,
        ...merge(group, values),
        sources: slots.map((s) => ({ partition: s.sourcePartition, firstOffset: Number(s.firstOffset), lastOffset: Number(s.lastOffset) })),
        partial: slots.some((s) => s.partial || s.value.partial.parametersHash !== parametersHash),
        parametersHash,
        id: `${options.site}/${group}/${window.startMs}-${window.endMs}`,
      })
      return { to: 'topic', topic: OUTPUT, key: group, value }
    },
  })
}
