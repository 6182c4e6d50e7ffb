/**
 * What a running site says of itself: the rows of the live screen and the facts of the final document.
 *
 * Owns: the shape, and the sums over members and partitions. Reads what runners and tables say; decides nothing.
 */
import type { ErrorCode } from '../schemas/errors.ts'
import type { HealthTable } from '../functions/route-inference/health-table.ts'
import type { Site } from '../schemas/site.ts'
import type { PartitionStatus } from '../streams/partition.ts'
import type { Runner } from '../streams/runner.ts'
import type { Observed } from './observe.ts'

export interface NamedRunner {
  readonly name: string
  readonly runner: Runner
}

export interface FunctionStatus {
  readonly name: string
  readonly in: number
  readonly out: number
  readonly late: number
  readonly deadLetters: number
  readonly lag: number
  /** Partition, code and reason of one that stands still. */
  readonly held: string | null
  readonly heldCode: ErrorCode | null
}

export interface SiteStatus {
  readonly site: string
  readonly log: string
  readonly isSimulated: boolean
  readonly durationMs: number
  readonly functions: readonly FunctionStatus[]
  readonly pools: readonly {
    readonly name: string
    readonly accelerator: string
    readonly endpoints: readonly { readonly id: string; readonly verdict: string; readonly weight: number }[]
  }[]
  readonly windowsClosed: number
  /** Null where this process does not watch the site's topics. */
  readonly observed: Observed | null
  readonly ledgerSize: number
  readonly policy: string
  readonly metricsUrl: string | null
  /** Where `/ready` and `/status` answer. */
  readonly healthUrl: string | null
  readonly problems: readonly string[]
}

/** Named one by one. */
const PLACES_MAX = 5

/** The reason is an error's message, which begins with its code. */
const heldText = ({ topic, partition, reason, code }: PartitionStatus): string => `${topic}/${partition} ${reason ?? code ?? ''}`.trim()

/** One row a function, over all its members. */
export function functionStatuses(runners: readonly NamedRunner[]): FunctionStatus[] {
  const by = new Map<string, FunctionStatus>()
  for (const { name, runner } of runners) {
    const stats = runner.stats()
    const partitions = runner.partitions()
    const before = by.get(name)
    const lag = partitions.reduce((sum, p) => sum + (p.end === null || p.position === null ? 0 : Number(p.end - p.position)), 0)
    const held = partitions.find((p) => p.state === 'held')
    by.set(name, {
      name,
      in: stats.in + (before?.in ?? 0),
      out: stats.out + (before?.out ?? 0),
      late: stats.late + (before?.late ?? 0),
      deadLetters: stats.deadLetters + (before?.deadLetters ?? 0),
      lag: lag + (before?.lag ?? 0),
      held: held === undefined ? (before?.held ?? null) : heldText(held),
      heldCode: held?.code ?? before?.heldCode ?? null,
    })
  }
  return [...by.values()]
}

/** What of these functions is under way, as words: what a process that is to end waits for. Empty = nothing that is known of. */
export function underWay(runners: readonly NamedRunner[]): string {
  const by = new Map<string, string[]>()
  for (const { name, runner } of runners)
    for (const { topic, partition, inFlight } of runner.partitions())
      if (inFlight > 0) by.set(name, [...(by.get(name) ?? []), `${topic}/${partition} (${inFlight} ${inFlight === 1 ? 'record' : 'records'})`])
  const shown = (places: readonly string[]): string => [...places.slice(0, PLACES_MAX), ...(places.length > PLACES_MAX ? [`${places.length - PLACES_MAX} more`] : [])].join(', ')
  return [...by].map(([name, places]) => `${name}: ${shown(places)}`).join('; ')
}

/** Every pool with its endpoints as the router sees them; without a router `unknown`. */
export function poolStatuses(site: Site, table: HealthTable | undefined): SiteStatus['pools'] {
  return site.pools.map((p) => ({
    name: p.name,
    accelerator: p.accelerator,
    endpoints: p.endpoints.map((e) => {
      const row = table?.get(e.id)
      return { id: e.id, verdict: row?.verdict ?? 'unknown', weight: row?.weight ?? 0 }
    }),
  }))
}

/** One partition of one member: the three signals (W9) and why it stands still, if it does. Lags in records, null where not known yet. */
export interface PartitionRow {
  readonly function: string
  readonly topic: string
  readonly partition: number
  readonly state: PartitionStatus['state']
  /** From the position to the end: what autoscaling goes by. */
  readonly processingLag: bigint | null
  /** From the committed offset to the end; of a windowed function about a window, for ever. */
  readonly committedLag: bigint | null
  /** Clock minus watermark, ms; null for functions without windows. */
  readonly watermarkLagMs: number | null
  readonly inFlight: number
  readonly code: string | null
  readonly reason: string | null
}

/** What a process of a site answers at `/status`. */
export interface ProcessStatus {
  readonly site: string
  readonly version: string
  readonly pid: number
  readonly upMs: number
  /** Why it is not ready. */
  readonly reasons: readonly string[]
  readonly partitions: readonly PartitionRow[]
}

const lag = (end: bigint | null, at: bigint | null): bigint | null => (end === null || at === null ? null : end - at)

export function partitionRows(runners: readonly NamedRunner[], nowMs: number): PartitionRow[] {
  return runners.flatMap(({ name, runner }) =>
    runner.partitions().map((p) => ({
      function: name,
      topic: p.topic,
      partition: p.partition,
      state: p.state,
      processingLag: lag(p.end, p.position),
      committedLag: lag(p.end, p.committed),
      watermarkLagMs: p.watermarkMs === null ? null : nowMs - p.watermarkMs,
      inFlight: p.inFlight,
      code: p.code ?? null,
      reason: p.reason ?? (p.state === 'paused' ? 'over its limits: resumes by itself when work is done (C5, C6)' : null),
    })),
  )
}
