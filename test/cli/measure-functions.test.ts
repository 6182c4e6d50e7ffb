import test from 'ava'
import { measureFunction } from '../../cli/measure-functions.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { Attributes, Telemetry } from '../../schemas/ports.ts'
import type { HealthEvent, WindowSummary } from '../../schemas/records.ts'
import { defineFunction, type CombineFunction, type FoldFunction, type RecordEmit, type TaskContext, type TaskFunction } from '../../streams/define-function.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { record } from '../helpers/records.ts'
import { silent } from '../helpers/runner-world.ts'

const codecs = testCodecs()
const context = { site: 's', codecs, nowMs: () => 0 }

function measures() {
  const seen: [string, number, Attributes][] = []
  const telemetry: Telemetry = {
    ...silent,
    count: (name, value, attributes = {}) => void seen.push([name, value, attributes]),
    gauge: (name, value, attributes = {}) => void seen.push([name, value, attributes]),
  }
  return { seen, telemetry }
}

function summary(more: Partial<WindowSummary>): RecordEmit {
  const value = codecs.encode('WindowSummary', {
    site: 's',
    pool: 'a',
    metric: 'hw.temperature',
    unit: 'Cel',
    attributes: { sensor: 'GPU_DIE' },
    contributorKind: 'device',
    windowStartMs: 0,
    windowEndMs: 1000,
    count: 4,
    sum: 200,
    min: 40,
    max: 70,
    last: 50,
    lastMs: 500,
    histogram: { scale: 0, zeroCount: 0, offset: 0, counts: [4], negativeOffset: 0, negativeCounts: [] },
    contributors: 0,
    contributorFacts: [],
    contributorOverflow: false,
    devices: 1,
    sources: [],
    partial: false,
    parametersHash: 'h',
    id: 'i',
    ...more,
  })
  return { to: 'topic', topic: 'metrics.windows', key: 'k', value }
}

const combine = (emit: RecordEmit): CombineFunction<null> =>
  defineFunction<CombineFunction<null>>({
    kind: 'combine',
    name: 'c',
    inputs: ['p'],
    outputs: ['metrics.windows'],
    windowMs: 1000,
    decode: () => {
      throw new Error('not used')
    },
    result: () => emit,
  })

test('measure functions: a closed window shows as its pool’s last value, and is emitted unchanged', (t) => {
  for (const [metric, value] of [
    ['hw.temperature', 70],
    ['hw.gpu.utilization', 50],
    ['hw.power', 50],
    ['hw.energy', 200],
    ['hw.errors', 200],
  ] as const) {
    const m = measures()
    const emit = summary({ metric })
    const definition = measureFunction(combine(emit), m.telemetry, codecs) as CombineFunction<null>
    t.is(definition.result('g', { startMs: 0, endMs: 1000 }, [], context), emit)
    t.deepEqual(m.seen, [[metric, value, { 'hw.type': 'gpu', pool: 'a', series: 'sensor=GPU_DIE' }]])
  }
})

test('measure functions: a partial window and a metric of ours never move a gauge', (t) => {
  const m = measures()
  for (const emit of [summary({ partial: true }), summary({ metric: 'sluice.gpu.clock' })])
    (measureFunction(combine(emit), m.telemetry, codecs) as CombineFunction<null>).result('g', { startMs: 0, endMs: 1000 }, [], context)
  t.deepEqual(m.seen, [])
})

test('measure functions: verdicts are counted by rule, from records and from ticks, without the device', (t) => {
  const event: HealthEvent = {
    site: 's',
    device: 'gpu-canary',
    pool: 'a',
    scope: 'device',
    check: 'xid',
    codes: ['79'],
    state: 'quarantined',
    verdict: 'DRAIN',
    ruleId: 'xid-79',
    ruleVersion: 1,
    isHealthy: false,
    recommendedAction: 'reset',
    detectedMs: 0,
    evidence: { topic: 't', partition: 0, offset: 0 },
  }
  const emits = [
    { to: 'topic', topic: 'hardware.health', key: 'd', value: codecs.encode('HealthEvent', event) },
    { to: 'topic', topic: 'pool.health', key: 'd', value: Buffer.from('not read') },
  ] as const
  const m = measures()
  const definition = measureFunction(
    defineFunction<FoldFunction<null, number>>({
      kind: 'fold',
      name: 'f',
      inputs: ['in'],
      outputs: ['hardware.health', 'pool.health'],
      stateTopic: 'pool.health',
      statesMax: 1,
      decode: () => null,
      keyOf: () => '',
      initial: () => 0,
      fold: (state) => [state + 1, emits],
      restore: () => null,
      tick: { everyMs: 1, run: (state) => [state + 10, emits] },
    }),
    m.telemetry,
    codecs,
  ) as FoldFunction<null, number>
  t.deepEqual(definition.fold(1, null, record(0, { value: 'x' }), context), [2, emits])
  t.deepEqual(definition.tick?.run(1, '', 0, 0, context), [11, emits])
  const counted = ['sluice.health.verdicts', 1, { rule: 'xid-79', verdict: 'DRAIN', pool: 'a' }]
  t.deepEqual(m.seen, [counted, counted] as typeof m.seen)
})

test('measure functions: the gate’s hold shows while any partition is held, and ends with it', async (t) => {
  const m = measures()
  const state = { isHolding: true }
  const gate = measureFunction(
    defineFunction<TaskFunction<null>>({
      kind: 'task',
      name: 'g',
      inputs: ['in'],
      outputs: ['egress.receipts'],
      order: 'partition',
      concurrency: 1,
      deadlineMs: 1,
      decode: () => null,
      handle: () => (state.isHolding ? Promise.reject(new SluiceError('SLU_EGRESS_HOLD', '')) : Promise.resolve([])),
    }),
    m.telemetry,
    codecs,
  ) as TaskFunction<null>
  const handle = (partition: number) => gate.handle(null, record(0, { partition }), context as unknown as TaskContext)
  for (const partition of [0, 1, 0]) await t.throwsAsync(handle(partition))
  state.isHolding = false
  await handle(0)
  await handle(1)
  t.deepEqual(
    m.seen.map(([name, value]) => [name, value]),
    [0, 1, 1, 1, 0].map((value) => ['sluice.egress.hold', value]),
  )
})
