/**
 * assess-health: canonical telemetry → verdicts about devices, and what routing may do with the endpoints on them (telemetry.md §3).
 *
 * Owns: the function definition, the order of a look, what is believed at all (H3), restore and tick. Stages of a record: decode → too old,
 * from the future or out of order? → devices seen → rules per device → settle → changed rows. Stages of a tick: silence → holds that end →
 * rows rewritten every `refreshMs`.
 * One state per input partition; its only memory is `device.health` (C8). The fold reads no clock for a verdict: a replay of the same prefix gives
 * the same rows; only silence, refresh and expiry follow the clock.
 * Invariants: H1 (hysteresis.ts), H2 (breaker.ts), H3 here, H4 (silence.ts: losing the stream changes nothing at once), R10 (endpoint-roll-up.ts).
 * Deliberately not here: tombstones of endpoints taken out of site.yaml (their rows expire) and health events of other producers.
 */
import type { HealthRules } from '../../schemas/health-rules.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { defineFunction, type Emit, type FoldFunction, type FunctionContext } from '../../streams/define-function.ts'
import { sourcePartitionOf } from '../../streams/fold.ts'
import { finish, type Assessment } from './assessment.ts'
import { createBatchReader, type BatchReading } from './batch-reader.ts'
import { restoreLatches } from './breaker.ts'
import { addDevice, deviceFromRow, newDevice, newPartition, removeDevice, type PartitionHealth } from './device-state.ts'
import { endpointMap, type EndpointDevices } from './endpoint-roll-up.ts'
import { codeRulesOf, evaluateDevice, signalsOf } from './evaluate-rules.ts'
import { heardAgain, lookForSilence, sourceKindOf, sourceOf } from './silence.ts'

export interface AssessHealthOptions {
  readonly site: string
  readonly rules: HealthRules
  readonly endpoints: readonly EndpointDevices[]
  /** How often each kind of source publishes, ms; a kind left out is never silent. */
  readonly expectedPeriodMs: Readonly<Record<string, number>>
}

const TICK_MS = 250

export function assessHealth(options: AssessHealthOptions): FoldFunction<BatchReading, PartitionHealth> {
  const { rules, site } = options
  const map = endpointMap(options.endpoints)
  const read = createBatchReader(signalsOf(rules.rules))
  const codeRules = codeRulesOf(rules.rules)
  const ruleById = new Map(rules.rules.map((rule) => [rule.id, rule]))
  const versions = new Map(rules.rules.map((rule) => [rule.id, rule.version]))
  const begin = (state: PartitionHealth, atMs: number, appendMs: number | null): Assessment => ({
    site,
    state,
    rules,
    ruleById,
    map,
    atMs,
    appendMs,
    touched: new Set(),
    removed: [],
    events: [],
  })

  /** H3: nothing too old, from the future, or older than what is known of this source moves a device. */
  const isBelieved = (state: PartitionHealth, { batch }: BatchReading, appendMs: number): boolean => {
    if (appendMs - batch.observedMs > rules.maxAgeMs || batch.observedMs - appendMs > rules.skewMs) return false
    const source = sourceOf(state, batch.node, batch.source.kind)
    return batch.observedMs > source.observedMs || (batch.observedMs === source.observedMs && batch.part > source.part)
  }

  const fold = (state: PartitionHealth, reading: BatchReading, record: LogRecord, context: FunctionContext): readonly [PartitionHealth, readonly Emit[]] => {
    state.offset = Number(record.offset)
    const { batch } = reading
    const isKnownNode = state.devicesOfNode.has(batch.node)
    const isFresh = isBelieved(state, reading, record.appendMs ?? record.timestampMs)
    if (isFresh || isKnownNode) sourceOf(state, batch.node, batch.source.kind).heardMs = context.nowMs()
    if (!isFresh) {
      if (!isKnownNode) state.sources.delete(batch.node)
      return [state, []]
    }
    const source = sourceOf(state, batch.node, batch.source.kind)
    source.observedMs = batch.observedMs
    source.part = batch.part
    const a = begin(state, batch.observedMs, record.appendMs)
    const fresh = new Set<string>()
    for (const { id, pool } of reading.devices) {
      const known = state.devices.get(id)
      if (known !== undefined && known.node === batch.node) {
        known.lastSeenMs = Math.max(known.lastSeenMs, batch.observedMs)
        if (known.pool !== pool) {
          known.pool = pool
          known.isDirty = true
        }
        continue
      }
      addDevice(state, newDevice(id, batch.node, pool, batch.observedMs))
      fresh.add(id)
    }
    for (const { id } of reading.devices) {
      const device = state.devices.get(id)
      if (device === undefined) continue
      heardAgain(a, device)
      evaluateDevice(a, device, reading.readings.get(id) ?? [], fresh.has(id), codeRules)
    }
    return [state, finish(a, context.nowMs(), false, context)]
  }

  return defineFunction({
    kind: 'fold',
    readsOnly: true,
    name: 'assess-health',
    inputs: ['hardware.telemetry'],
    outputs: ['hardware.health', 'device.health', 'pool.health'],
    stateTopic: 'device.health',
    statesMax: 1,
    decode: (record, context) => read(record.value ?? Buffer.alloc(0), context.codecs),
    keyOf: () => '',
    initial: (_key, partition) => newPartition(partition),
    fold,
    restore: (row, partition, context) => {
      if (row.key === null) return null
      const id = row.key.toString('utf8')
      const source = sourcePartitionOf(row)
      // Another partition has it now: the newest row of a device says whose it is. Most rows are of others: they are not decoded.
      if (row.value === null || (source !== null && source !== partition))
        return {
          key: '',
          merge: (state) => {
            removeDevice(state, id)
            return state
          },
        }
      const health = context.codecs.decode('DeviceHealth', row.value)
      return {
        key: '',
        merge: (state) => {
          if (health.sourcePartition !== partition) {
            // Another partition has it now: the newest row of a device says whose it is.
            removeDevice(state, id)
            return state
          }
          const device = deviceFromRow(health)
          addDevice(state, device)
          const source = sourceOf(state, device.node, sourceKindOf(device.id))
          source.observedMs = Math.max(source.observedMs, device.lastSeenMs)
          restoreLatches(state, device, versions)
          state.offset = Math.max(state.offset, health.sourceOffset)
          return state
        },
      }
    },
    tick: {
      everyMs: TICK_MS,
      run: (state, _key, nowMs, _partition, context) => {
        const a = begin(state, nowMs, null)
        lookForSilence(a, options.expectedPeriodMs)
        for (const device of state.devices.values()) {
          if (device.rules.size > 0) a.touched.add(device)
          if (nowMs - device.lastSeenMs > rules.forgetDeviceMs) a.removed.push(device)
        }
        for (const device of a.removed) {
          a.touched.delete(device)
          removeDevice(state, device.id)
        }
        const isRefresh = state.refreshedMs === null || nowMs - state.refreshedMs >= rules.refreshMs
        if (isRefresh) state.refreshedMs = nowMs
        return [state, finish(a, nowMs, isRefresh, context)]
      },
    },
  })
}
