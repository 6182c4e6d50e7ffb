/** assess-health run through the fold processor of one partition, with its rows kept as a compacted topic would. */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { assessHealth } from '../../functions/assess-health/assess-health.ts'
import type { EndpointDevices } from '../../functions/assess-health/endpoint-roll-up.ts'
import { parseHealthRules, type HealthRules } from '../../schemas/health-rules.ts'
import type { LogRecord } from '../../schemas/log.ts'
import type { DeviceHealth, EndpointHealth, HealthEvent } from '../../schemas/records.ts'
import { createFoldProcessor } from '../../streams/fold.ts'
import type { Effects } from '../../streams/processor.ts'
import { testCodecs } from './codecs.ts'
import { nodeBatch, type TestBatch } from './node-batch.ts'
import { record } from './records.ts'

export const START_MS = 1_700_000_000_000
export const codecs = testCodecs()
export const shippedRules = (): unknown => parse(readFileSync(new URL('../../schemas/health-rules.yaml', import.meta.url), 'utf8'))
export const healthRules = (edit: (rules: HealthRules) => HealthRules = (r) => r): HealthRules => edit(parseHealthRules(shippedRules()))

export interface HealthDesk {
  readonly events: HealthEvent[]
  /** Newest row per device and endpoint; null = tombstone. */
  readonly devices: Map<string, DeviceHealth | null>
  readonly endpoints: Map<string, EndpointHealth | null>
  /** Every value emitted, in order: what a replay must repeat. */
  readonly bytes: string[]
  readonly deadLetters: string[]
  /** Rows of `device.health` as they stand in the log. */
  readonly rows: LogRecord[]
  batch(batch: TestBatch, options?: { appendMs?: number; offset?: number }): void
  raw(value: Buffer): void
  tick(nowMs: number): void
  endpoint(id: string): EndpointHealth
}

export interface DeskOptions {
  readonly endpoints?: readonly EndpointDevices[]
  readonly rules?: HealthRules
  readonly expectedPeriodMs?: Record<string, number>
  /** Rows to restore from. */
  readonly rows?: readonly LogRecord[]
  readonly nextOffset?: number
  readonly partition?: number
}

export function healthDesk(options: DeskOptions = {}): HealthDesk {
  const partition = options.partition ?? 0
  let nowMs = START_MS
  let next = options.nextOffset ?? 0
  let rowOffset = 1000
  const definition = assessHealth({
    site: 'hall-1',
    rules: options.rules ?? healthRules(),
    endpoints: options.endpoints ?? [],
    expectedPeriodMs: options.expectedPeriodMs ?? { 'dcgm-exporter': 1000, 'neuron-monitor': 1000 },
  })
  const processor = createFoldProcessor(definition, { site: 'hall-1', codecs, nowMs: () => nowMs }, partition, (error) => {
    throw error
  })
  processor.begin(next === 0 ? null : { nextOffset: BigInt(next), metadata: '' }, new Map([['device.health', options.rows ?? []]]))
  const desk: HealthDesk = {
    events: [],
    devices: new Map(),
    endpoints: new Map(),
    bytes: [],
    deadLetters: [],
    rows: [...(options.rows ?? [])],
    batch: (batch, more = {}) => {
      const appendMs = more.appendMs ?? batch.observedMs
      nowMs = Math.max(nowMs, appendMs)
      const offset = more.offset ?? next
      next = Math.max(next, offset + 1)
      take(
        processor.process(
          [record(offset, { topic: 'hardware.telemetry', partition, appendMs, timestampMs: appendMs, value: codecs.encode('NodeBatch', nodeBatch(codecs, batch)) })],
          BigInt(next),
        ),
      )
    },
    raw: (value) => {
      take(processor.process([record(next++, { topic: 'hardware.telemetry', partition, value })], BigInt(next)))
    },
    tick: (atMs) => {
      nowMs = Math.max(nowMs, atMs)
      take(processor.onTimer?.(atMs, true) as Effects)
    },
    endpoint: (id) => desk.endpoints.get(`${id}/${partition}`) as EndpointHealth,
  }
  const take = (effects: Effects): void => {
    for (const parked of effects.deadLetters) desk.deadLetters.push(parked.error.code)
    for (const { topic, key, value, headers } of effects.batches.flatMap((b) => b.records)) {
      const name = (key as Buffer).toString('utf8')
      desk.bytes.push(`${topic} ${name} ${value?.toString('hex') ?? 'null'}`)
      if (topic === 'hardware.health') desk.events.push(codecs.decode('HealthEvent', value as Buffer))
      if (topic === 'pool.health') desk.endpoints.set(name, value === null ? null : codecs.decode('EndpointHealth', value))
      if (topic !== 'device.health') continue
      desk.devices.set(name, value === null ? null : codecs.decode('DeviceHealth', value))
      desk.rows.push({ topic, partition: 0, offset: BigInt(rowOffset++), timestampMs: nowMs, appendMs: nowMs, key, value, headers: headers ?? [] })
    }
  }
  return desk
}

/** A batch of GPUs that are well, with some values changed. */
export function gpus(node: string, observedMs: number, change: Record<string, Record<string, number>> = {}, count = 2): TestBatch {
  const base: Record<string, number> = { 'sluice.gpu.xid': 0, 'sluice.gpu.thermal_margin': 40, 'sluice.gpu.recovery_action': 0, 'sluice.gpu.throttle_reasons': 0 }
  const rows = Array.from({ length: count }, (_, i) => `gpu-${node}-${i}`).flatMap((device) =>
    Object.entries({ ...base, ...change[device] }).map(([metric, value]) => ({ device, metric, value })),
  )
  return { node, observedMs, rows, pool: 'blackwell-a' }
}

export const endpointOn = (id: string, node: string, count = 2): EndpointDevices => ({
  id,
  pool: 'blackwell-a',
  devices: Array.from({ length: count }, (_, i) => `gpu-${node}-${i}`),
})
