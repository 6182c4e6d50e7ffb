/**
 * Silence of periodic sources (telemetry.md §3), looked for on the tick.
 *
 * Owns: when a node counts as silent (nothing heard for so many periods, by the clock, from any of its sources), and the difference between
 * a silent node (suspect: DEPRIORITISE, never more) and a lost source (more than a share of a pool's nodes, and at least so many, silent
 * together: alarm, weights unchanged; a bridge outage must not drain a hall). H4: the first look after a restart starts the count anew.
 */
import { alarm, noteEnd, raise, type Assessment, type RuleFacts } from './assessment.ts'
import { devicesOn, type DeviceState, type PartitionHealth, type SourceState } from './device-state.ts'
import { endRule, holdRule, isInForce } from './hysteresis.ts'

export function sourceOf(state: PartitionHealth, node: string, kind: string): SourceState {
  let sources = state.sources.get(node)
  if (sources === undefined) state.sources.set(node, (sources = new Map()))
  let source = sources.get(kind)
  if (source === undefined) sources.set(kind, (source = { observedMs: -Infinity, part: -1, heardMs: null }))
  return source
}

/** Restored devices do not say which source they came from; the kind of accelerator does. */
export const sourceKindOf = (device: string): string => (device.startsWith('neuron') ? 'neuron-monitor' : 'dcgm-exporter')

/** A node is silent when every periodic source it has is. Sources not heard since the partition was opened start counting at the first look. */
function isSilent(sources: ReadonlyMap<string, SourceState>, periodMs: Readonly<Record<string, number>>, periods: number, nowMs: number): boolean {
  let periodic = 0
  for (const [kind, source] of sources) {
    const period = periodMs[kind]
    if (period === undefined) continue
    periodic++
    source.heardMs ??= nowMs
    if (nowMs - source.heardMs <= period * periods) return false
  }
  return periodic > 0
}

/** The node speaks again. */
export function heardAgain(a: Assessment, device: DeviceState): void {
  const entry = device.rules.get(a.rules.silence.id)
  if (entry !== undefined) holdRule(device, entry, a.atMs, a.rules.hold)
}

export function lookForSilence(a: Assessment, periodMs: Readonly<Record<string, number>>): void {
  const { id, version, periods, sourceLostShare, sourceLostNodesMin } = a.rules.silence
  const rule: RuleFacts = { id, version, check: 'silence', action: 'LOOK', isExempt: false }
  const pools = new Map<string, { nodes: number; silent: DeviceState[][] }>()
  for (const [node, sources] of a.state.sources) {
    const devices = devicesOn(a.state, node)
    const pool = devices[0]?.pool ?? ''
    const seen = pools.get(pool) ?? { nodes: 0, silent: [] }
    pools.set(pool, seen)
    seen.nodes++
    if (isSilent(sources, periodMs, periods, a.atMs)) seen.silent.push(devices)
  }
  for (const [pool, { nodes, silent }] of pools) {
    if (silent.length >= sourceLostNodesMin && silent.length / nodes > sourceLostShare) {
      if (!a.state.lostPools.has(pool)) alarm(a, { ...rule, check: 'source-lost' }, pool, [`${silent.length}/${nodes}`])
      a.state.lostPools.add(pool)
      for (const device of silent.flat()) {
        const entry = device.rules.get(id)
        if (entry === undefined || !isInForce(entry)) continue
        a.touched.add(device)
        endRule(device, entry, a.atMs)
        noteEnd(a, device, entry)
      }
      continue
    }
    a.state.lostPools.delete(pool)
    for (const devices of silent) for (const device of devices) raise(a, rule, 'DEPRIORITISE', [device], device, { codes: [], isOccurrence: false, scope: 'device' })
  }
}
