/**
 * The canonical metrics: OpenTelemetry `hw.*` where one exists, else `sluice.*` (telemetry.md §2, §4).
 *
 * Owns: unit, kind, who counts as a contributor (egress.md §2: `device` only for hardware state, never for load, power or utilisation),
 * the family of metrics derived from one load, the attributes kept in windows, and whether windows are made at all.
 */
import type { ContributorKind, MetricKind } from './records.ts'

export interface MetricRow {
  readonly name: string
  /** UCUM */
  readonly unit: string
  readonly kind: MetricKind
  readonly contributor: ContributorKind
  /** Released together or not at all (E28). */
  readonly family: string | null
  readonly keptAttributes: readonly string[]
  /** False: read by assess-health only. */
  readonly isAggregated: boolean
}

const m = (
  name: string,
  unit: string,
  kind: MetricKind,
  contributor: ContributorKind,
  family: string | null,
  keptAttributes: readonly string[] = [],
  isAggregated = true,
): MetricRow => ({
  name,
  unit,
  kind,
  contributor,
  family,
  keptAttributes,
  isAggregated,
})

export const metrics: readonly MetricRow[] = [
  m('hw.temperature', 'Cel', 'gauge', 'device', null, ['sensor']),
  m('sluice.gpu.thermal_margin', 'Cel', 'gauge', 'device', null),
  m('hw.power', 'W', 'gauge', 'tenant', 'load'),
  m('hw.energy', 'J', 'counter', 'tenant', 'load'),
  m('hw.gpu.utilization', '1', 'gauge', 'tenant', 'load'),
  m('sluice.gpu.engine_active', '1', 'gauge', 'tenant', 'load'),
  m('sluice.gpu.tensor_active', '1', 'gauge', 'tenant', 'load'),
  m('hw.gpu.memory.usage', 'By', 'gauge', 'tenant', 'load'),
  m('hw.gpu.memory.limit', 'By', 'gauge', 'device', null),
  m('sluice.gpu.clock', 'Hz', 'gauge', 'tenant', 'load'),
  m('hw.gpu.io', 'By/s', 'gauge', 'tenant', 'load', ['direction']),
  m('hw.errors', '{error}', 'counter', 'device', null, ['error.type', 'memory']),
  m('sluice.gpu.row_remap.uncorrectable', '{error}', 'counter', 'device', null),
  m('sluice.gpu.row_remap.correctable', '{error}', 'counter', 'device', null),
  m('sluice.gpu.row_remap.failure', '{error}', 'state', 'device', null, [], false),
  m('sluice.gpu.row_remap.pending', '{error}', 'state', 'device', null, [], false),
  m('sluice.gpu.xid', '1', 'state', 'device', null, [], false),
  m('sluice.gpu.xid_count', '{error}', 'state', 'device', null, ['xid'], false),
  m('sluice.gpu.recovery_action', '1', 'state', 'device', null, [], false),
  m('sluice.gpu.health_status', '1', 'state', 'device', null, ['watch'], false),
  m('sluice.gpu.fabric_status', '1', 'state', 'device', null, [], false),
  m('sluice.gpu.fabric_health', '1', 'state', 'device', null, [], false),
  m('sluice.gpu.throttle_reasons', '1', 'state', 'device', null, [], false),
  m('sluice.gpu.nvlink.recoveries', '{event}', 'counter', 'device', null),
  m('sluice.neuron.execution', '{execution}', 'delta', 'tenant', 'load', ['outcome']),
  m('sluice.neuron.execution_errors', '{error}', 'delta', 'device', null, ['error.type']),
  m('sluice.neuron.latency', 's', 'gauge', 'tenant', 'load', ['percentile']),
  m('sluice.neuron.vcpu_usage', '1', 'gauge', 'tenant', 'load', ['mode']),
]

export const metricByName: ReadonlyMap<string, MetricRow> = new Map(metrics.map((row) => [row.name, row]))
