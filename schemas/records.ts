/**
 * Typed views of the Avro records in `schemas/avro/` (namespace `sluice.v1`).
 *
 * Owns: one interface per record, field for field (`test/schemas/records.test.ts` compares both). Names are frozen (design.md §4.2):
 * fields may be added, never renamed. Times are epoch ms. `null` = the Avro null branch.
 */

export type AttributeMap = Readonly<Record<string, string>>

export interface LayoutDevice {
  readonly id: string
  readonly type: string
  readonly vendor: string | null
  readonly model: string | null
  readonly parent: string | null
  readonly tenant: string | null
  readonly pool: string | null
}

export type MetricKind = 'gauge' | 'counter' | 'delta' | 'state'

export interface LayoutMetric {
  readonly name: string
  readonly unit: string
  readonly kind: MetricKind
  readonly attributes: AttributeMap
  readonly startMs: number | null
}

export interface NodeLayout {
  readonly devices: readonly LayoutDevice[]
  readonly metrics: readonly LayoutMetric[]
}

export interface NodeBatch {
  readonly site: string
  readonly node: string
  readonly rack: string | null
  readonly source: { readonly kind: string; readonly version: string | null }
  readonly observedMs: number
  readonly part: number
  readonly layout: Buffer
  readonly deviceIndex: Buffer
  readonly metricIndex: Buffer
  readonly value: Buffer
  readonly offsetMs: Buffer | null
}

export type HealthState = 'healthy' | 'suspect' | 'draining' | 'quarantined'
export type Verdict = 'ROUTE_OK' | 'DEPRIORITISE' | 'DO_NOT_ROUTE' | 'DRAIN' | 'ISOLATE_DOMAIN'

export interface HealthEvent {
  readonly site: string
  readonly device: string
  readonly pool: string | null
  readonly scope: string
  readonly check: string
  readonly codes: readonly string[]
  readonly state: HealthState
  readonly verdict: Verdict
  readonly ruleId: string
  readonly ruleVersion: number
  readonly isHealthy: boolean
  readonly recommendedAction: string
  readonly detectedMs: number
  readonly evidence: { readonly topic: string; readonly partition: number; readonly offset: number }
}

export interface ActiveRule {
  readonly ruleId: string
  readonly ruleVersion: number
  readonly verdict: Verdict
  readonly sinceMs: number
  readonly holdUntilMs: number
  readonly occurrences: number
  readonly codes: readonly string[]
  readonly lastRaisedMs: number
}

export interface DeviceHealth {
  readonly site: string
  readonly device: string
  readonly node: string
  readonly pool: string | null
  readonly state: HealthState
  readonly verdict: Verdict
  readonly weight: number
  readonly sinceMs: number
  readonly lastSeenMs: number
  readonly sourcePartition: number
  readonly sourceOffset: number
  readonly signals: Readonly<Record<string, number>>
  readonly activeRules: readonly ActiveRule[]
}

export interface EndpointHealth {
  readonly endpoint: string
  readonly pool: string
  readonly sourcePartition: number
  readonly generation: number
  readonly verdict: Verdict
  readonly weight: number
  readonly reasons: readonly string[]
  readonly sinceMs: number
  readonly observedMs: number
  readonly expiresMs: number
  readonly sourceOffset: number
  readonly causeAppendMs: number | null
}

/** OpenTelemetry exponential histogram, base 2^(2^-scale); bucket i counts values in (base^(offset+i), base^(offset+i+1)]. */
export interface Histogram {
  readonly scale: number
  readonly zeroCount: number
  readonly offset: number
  readonly counts: readonly number[]
  readonly negativeOffset: number
  readonly negativeCounts: readonly number[]
}

/** One contributor's share of a cell: stays inside the site (egress.md §2). */
export interface ContributorFact {
  readonly id: string
  readonly sum: number
  readonly count: number
  /** Per bucket of the histogram's positive side, from its offset on; trailing zeros are left out. */
  readonly bucketCounts: readonly number[]
}

export type ContributorKind = 'tenant' | 'device' | 'facility'

interface Aggregate {
  readonly count: number
  readonly sum: number
  readonly min: number
  readonly max: number
  readonly last: number
  readonly lastMs: number
  readonly histogram: Histogram
  readonly contributorOverflow: boolean
}

interface CellIdentity {
  readonly site: string
  readonly pool: string
  readonly metric: string
  readonly unit: string
  readonly attributes: AttributeMap
  readonly contributorKind: ContributorKind
  readonly windowStartMs: number
  readonly windowEndMs: number
}

/** Who contributed to a cell and which devices it is of, each sorted. */
export interface CellMembers {
  readonly contributors: readonly string[]
  readonly devices: readonly string[]
}

export interface WindowPartial extends CellIdentity, Aggregate {
  readonly function: string
  readonly sourcePartition: number
  readonly firstOffset: number
  readonly lastOffset: number
  /** CellMembers without a frame. */
  readonly members: Buffer
  /** Columns by contributor of `members`, and by bucket of each: functions/aggregate-metrics/contributor-columns.ts. */
  readonly contributorSums: Buffer
  readonly contributorCounts: Buffer
  readonly contributorBuckets: Buffer
  readonly bucketIndexes: Buffer
  readonly bucketCounts: Buffer
  readonly partial: boolean
  readonly parametersHash: string
}

export interface WindowMarker {
  readonly function: string
  readonly sourcePartition: number
  readonly partitionCount: number
  readonly closedThroughMs: number
  readonly readThrough: number
  readonly parametersHash: string
  /** -1 = not said. */
  readonly neededFrom: number
  /** -1 = none. */
  readonly suspectMs: number
}

export interface SourceRange {
  readonly partition: number
  readonly firstOffset: number
  readonly lastOffset: number
}

export interface WindowSummary extends CellIdentity, Aggregate {
  readonly contributorFacts: readonly ContributorFact[]
  readonly contributors: number
  readonly devices: number
  readonly sources: readonly SourceRange[]
  readonly partial: boolean
  readonly parametersHash: string
  readonly id: string
}

export interface InferenceRequest {
  readonly id: string
  readonly model: string
  readonly modelVersion: string | null
  readonly api: string
  readonly headers: AttributeMap
  readonly body: Buffer
  readonly bodyRef: { readonly uri: string; readonly sha256: string; readonly bytes: number } | null
  readonly contentType: string
  readonly createdMs: number
  readonly deadlineMs: number | null
  readonly priority: string
  readonly tenant: string
  readonly affinityKey: string | null
  readonly contract: string | null
  readonly replyTopic: string | null
}

export interface RouteAttempt {
  readonly endpoint: string
  readonly startMs: number
  readonly outcome: string
}

export interface RouteEvidence {
  readonly routerVersion: string
  readonly contract: string | null
  readonly snapshot: readonly number[]
  readonly considered: number
  readonly attempts: readonly RouteAttempt[]
  readonly lost: Readonly<Record<string, number>>
  readonly top: readonly { readonly endpoint: string; readonly score: number }[]
}

export interface InferenceResult {
  readonly id: string
  readonly status: number
  readonly code: string | null
  readonly headers: AttributeMap
  readonly body: Buffer
  readonly contentType: string
  readonly model: string | null
  readonly modelVersion: string | null
  readonly pool: string | null
  readonly endpoint: string | null
  readonly accelerator: string | null
  readonly timings: { readonly queueMs: number; readonly firstByteMs: number | null; readonly totalMs: number }
  readonly usage: { readonly inputTokens: number; readonly outputTokens: number } | null
  readonly evidence: RouteEvidence | null
}

export interface EgressReceipt {
  readonly objectKey: string
  readonly destination: string
  readonly sha256: string | null
  readonly bytes: number
  readonly policyVersion: string
  readonly decision: string
  readonly reasons: readonly string[]
  readonly leafIndex: number
  readonly outcome: string
  readonly atMs: number
}

/** Every record Sluice writes, by Avro name. */
export interface RecordTypes {
  readonly NodeLayout: NodeLayout
  readonly NodeBatch: NodeBatch
  readonly HealthEvent: HealthEvent
  readonly DeviceHealth: DeviceHealth
  readonly EndpointHealth: EndpointHealth
  readonly CellMembers: CellMembers
  readonly WindowPartial: WindowPartial
  readonly WindowMarker: WindowMarker
  readonly WindowSummary: WindowSummary
  readonly InferenceRequest: InferenceRequest
  readonly InferenceResult: InferenceResult
  readonly EgressReceipt: EgressReceipt
}

export type RecordName = keyof RecordTypes
