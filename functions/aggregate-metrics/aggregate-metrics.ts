/**
 * aggregate-metrics: NodeBatches → one WindowPartial per pool, metric, kept attributes and window (telemetry.md §4), stage 1 of a window.
 *
 * Owns: identity of a scrape (W10: node, source, observedMs, part), the fold loop, reset-aware counter deltas against the predecessor sample (W5).
 * Stages: read (time and values; the rest by template) → fold rows → partial and marker (W7).
 * Counters: a delta needs a predecessor; a smaller value or a new `startMs` is a reset, and then the value itself is the delta. A counter that was NaN
 * or absent in the predecessor gives no delta: what it rose by meanwhile is not known to lie in this window.
 * Kind delta is summed as it stands; NaN is skipped; kind state is for assess-health.
 * Invariants: W3, W4, W10; one value per sample and no object per sample in the loop.
 */
import { defineFunction, type OpenWindow, type WindowFunction, type WindowParameters } from '../../streams/define-function.ts'
import { createBatchReader, type FoldBatch } from './batch-reader.ts'
import type { CellFacts } from './cell-key.ts'
import { Cell } from './cell.ts'
import type { FoldPlan } from './fold-plan.ts'
import { Roster } from './roster.ts'
import { Taken } from './taken.ts'

export interface AggregateMetricsOptions {
  readonly site: string
  readonly parameters: WindowParameters
  /** Contributors kept per cell; more set `contributorOverflow`, which holds the cell at the gate. */
  readonly contributorFactsMax: number
}

/** What is kept of a scrape for the deltas of the next: counter values in the order of the plan. */
export interface CounterSample {
  readonly plan: FoldPlan
  readonly values: Float64Array
}

const NO_COUNTERS = new Float64Array(0)
const ROSTERS_MAX = 100_000
const PARTIALS = 'metrics.partials'
const NAME = 'aggregate-metrics'

export function aggregateMetrics(options: AggregateMetricsOptions): WindowFunction<FoldBatch, Cell, CounterSample> {
  const read = createBatchReader()
  const taken = new Taken()
  /** Bounded; what is dropped is numbered anew. */
  const rosters = new Map<string, Roster>()
  /** The cell that what was taken goes into. */
  const begin = (): Cell => {
    const facts = taken.facts as CellFacts
    let roster = rosters.get(facts.key)
    if (roster === undefined) {
      if (rosters.size >= ROSTERS_MAX) rosters.clear()
      rosters.set(facts.key, (roster = new Roster()))
    }
    return new Cell(facts, roster, options.contributorFactsMax)
  }
  return defineFunction<WindowFunction<FoldBatch, Cell, CounterSample>>({
    kind: 'window',
    readsOnly: true,
    name: NAME,
    inputs: ['hardware.telemetry'],
    outputs: [PARTIALS],
    partialsTopic: PARTIALS,
    parameters: options.parameters,
    decode: (record, { codecs }) => read(record, codecs),
    eventTimeMs: ({ observedMs }) => observedMs,
    identity: ({ source }) => source,
    sequence: ({ observedMs }) => observedMs,
    add: (window, value, predecessor) => fold(window, value, predecessor, taken, begin),
    predecessor: { keyOf: ({ plan }) => plan.owner, of: countersOf },
    encodePartial: (group, { codecs }) => {
      const { facts, roster } = group.state
      if (roster.isWornOut() && rosters.get(group.key) === roster) rosters.delete(group.key)
      const value = codecs.encode('WindowPartial', {
        site: options.site,
        function: group.functionName,
        sourcePartition: group.sourcePartition,
        pool: facts.pool,
        metric: facts.metric,
        unit: facts.unit,
        attributes: facts.attributes,
        contributorKind: facts.contributorKind,
        windowStartMs: group.startMs,
        windowEndMs: group.endMs,
        firstOffset: Number(group.firstOffset),
        lastOffset: Number(group.lastOffset),
        ...group.state.aggregate(group.sourcePartition, codecs),
        partial: group.partial,
        parametersHash: group.parametersHash,
      })
      return { key: group.key, value }
    },
    encodeMarker: (marker, { codecs }) =>
      codecs.encode('WindowMarker', {
        function: marker.functionName,
        sourcePartition: marker.sourcePartition,
        partitionCount: marker.partitionCount,
        closedThroughMs: marker.closedThroughMs,
        readThrough: Number(marker.readThrough),
        neededFrom: Number(marker.neededFrom),
        suspectMs: marker.suspectMs,
        parametersHash: marker.parametersHash,
      }),
    decodeMarker: (record, { codecs }) => {
      if (record.value === null || codecs.nameOf(record.value) !== 'WindowMarker') return null
      const { function: functionName, readThrough, neededFrom, ...marker } = codecs.decode('WindowMarker', record.value)
      return functionName === NAME ? { ...marker, functionName, readThrough: BigInt(readThrough), neededFrom: BigInt(neededFrom) } : null
    },
  })
}

function countersOf({ plan, values, valuesAt }: FoldBatch): CounterSample {
  const { counterRows } = plan
  if (counterRows.length === 0) return { plan, values: NO_COUNTERS }
  const counters = new Float64Array(counterRows.length)
  for (let i = 0; i < counters.length; i++) counters[i] = values.getFloat64(valuesAt + (counterRows[i] as number) * 8, true)
  return { plan, values: counters }
}

/** Values of the predecessor in the order of this plan; NaN where it has none. A new `startMs` counts from 0. */
function alignedCounters(plan: FoldPlan, before: CounterSample | undefined): Float64Array | null {
  if (before === undefined) return null
  if (before.plan === plan || sameCounters(before.plan, plan)) return before.values
  const known = new Map(before.plan.counterKeys.map((key, i) => [key, i]))
  return Float64Array.from(plan.counterKeys, (key, i) => {
    const at = known.get(key)
    if (at === undefined) return NaN
    return before.plan.counterStartMs[at] === plan.counterStartMs[i] ? (before.values[at] as number) : 0
  })
}

function sameCounters(a: FoldPlan, b: FoldPlan): boolean {
  return a.counterKeys.length === b.counterKeys.length && a.counterKeys.every((key, i) => key === b.counterKeys[i]) && a.counterStartMs.every((ms, i) => ms === b.counterStartMs[i])
}

function fold(window: OpenWindow<Cell>, batch: FoldBatch, predecessor: CounterSample | undefined, taken: Taken, begin: () => Cell): void {
  const { plan } = batch
  const before = alignedCounters(plan, predecessor)
  for (let at = 0; at < plan.cells.length; at++) {
    if (taken.take(batch, at, before) === 0) continue
    const cell = window.group((taken.facts as CellFacts).key, begin)
    cell.roster.number(plan, at)
    taken.identify(plan)
    cell.add(taken)
  }
}
