import test from 'ava'
import fc from 'fast-check'
import { createBatchReader, type FoldBatch } from '../../../functions/aggregate-metrics/batch-reader.ts'
import type { Codecs } from '../../../schemas/codec.ts'
import type { NodeBatch } from '../../../schemas/records.ts'
import { testCodecs } from '../../helpers/codecs.ts'
import { batchBytes, type Row } from '../../helpers/metrics.ts'
import { codecs, OBSERVED_MS, rawRecord } from '../../helpers/telemetry.ts'

/** Counts what the codec had to decode: all else was read by template. */
function counting(): Codecs & { decoded: number } {
  const counted = {
    ...codecs,
    decoded: 0,
    decode: ((name: 'NodeBatch', bytes: Uint8Array) => {
      counted.decoded++
      return codecs.decode(name, bytes)
    }) as Codecs['decode'],
  }
  return counted
}
const record = (value: Buffer | null, key: string | null = 'node-1') => rawRecord('hardware.telemetry', key, value)
const rows = (value: number): Row[] => [
  { device: 'a', metric: 'hw.power', value },
  { device: 'b', metric: 'hw.energy', value: value + 1 },
]
const offsets = (...ms: number[]): Buffer => Buffer.from(Int32Array.from(ms).buffer)
const valuesOf = (read: FoldBatch): number[] => Array.from({ length: read.plan.rows }, (_, row) => read.values.getFloat64(read.valuesAt + row * 8, true))
const seen = (read: FoldBatch): object => ({ ...read, plan: { ...read.plan }, values: valuesOf(read), valuesAt: 0 })

test('batch-reader: the second scrape of a node is read without the codec, and as the codec would', (t) => {
  const counted = counting()
  const read = createBatchReader()
  const first = read(record(batchBytes(rows(1))), counted)
  const second = read(record(batchBytes(rows(2), { observedMs: OBSERVED_MS + 15_000 })), counted)
  t.is(counted.decoded, 1)
  t.is(second.plan, first.plan)
  t.deepEqual(valuesOf(second), [2, 3])
  t.is(second.observedMs, OBSERVED_MS + 15_000)
})

test('batch-reader: no plan is used for another shape, node, source or order of rows', (t) => {
  const read = createBatchReader()
  const first = read(record(batchBytes(rows(1))), codecs)
  const others: Buffer[] = [
    batchBytes(rows(1), { node: 'node-2' }),
    batchBytes(rows(1), { source: { kind: 'neuron-monitor', version: null } }),
    batchBytes(rows(1), { site: 'hall-2' }),
    batchBytes([{ device: 'c', metric: 'hw.power', value: 1 }]),
    batchBytes(rows(1), { deviceIndex: Buffer.from([1, 0, 0, 0]) }),
    batchBytes(rows(1), { metricIndex: Buffer.from([1, 0, 0, 0]) }),
    batchBytes(rows(1), { part: 7 }),
  ]
  for (const value of others) t.not(read(record(value), codecs).plan, first.plan)
  t.deepEqual(read(record(others[4] as Buffer), codecs).plan.deviceOfRow, ['b', 'a'])
  t.is(read(record(others[6] as Buffer), codecs).source, `${first.plan.owner}|7`)
})

test('batch-reader: whatever comes in whatever order, each record is read as the codec alone reads it, or refused as it refuses it', (t) => {
  const batch = fc.record({
    node: fc.constantFrom('node-1', 'node-2'),
    rack: fc.constantFrom(null, 'rack-1'),
    version: fc.constantFrom(null, '4.4.0'),
    part: fc.constantFrom(0, 1, 70),
    observedMs: fc.oneof(
      fc.integer({ min: 0, max: 200 }),
      fc.integer({ min: OBSERVED_MS, max: OBSERVED_MS + 1e6 }),
      fc.constantFrom(-1, 2 ** 53 - 2, 2 - 2 ** 53, 2 ** 52 - 1, 2 ** 52, -(2 ** 52)),
    ),
    values: fc.array(fc.double(), { minLength: 2, maxLength: 2 }),
    offsetMs: fc.constantFrom(null, offsets(0, -5), offsets(7, 300)),
    isShort: fc.boolean(),
    cut: fc.constantFrom(0, 0, 0, 0, 1, 9, -1),
    key: fc.constantFrom('node-1', null),
  })
  const settled = (act: () => FoldBatch): unknown => {
    try {
      return seen(act())
    } catch (error) {
      return (error as { code?: string }).code ?? String(error)
    }
  }
  fc.assert(
    fc.property(fc.array(batch, { minLength: 1, maxLength: 12 }), (list) => {
      const read = createBatchReader(1)
      for (const { node, rack, version, part, observedMs, values, offsetMs, isShort, cut, key } of list) {
        const made = values.slice(0, isShort ? 1 : 2).map((value, i) => ({ device: `d${i}`, metric: 'hw.power', value }))
        const more: Partial<NodeBatch> = { node, rack, source: { kind: 'dcgm-exporter', version }, part, observedMs, offsetMs: isShort ? null : offsetMs }
        const whole = batchBytes(made, more)
        const bytes = cut < 0 ? Buffer.concat([whole, Buffer.from([0])]) : whole.subarray(0, whole.length - cut)
        t.deepEqual(
          settled(() => read(record(bytes, key), codecs)),
          settled(() => createBatchReader()(record(bytes, key), codecs)),
        )
      }
    }),
  )
})

test('batch-reader: one byte changed anywhere is never read as if it had not been', (t) => {
  const read = createBatchReader()
  const good = batchBytes(rows(1), { offsetMs: offsets(0, 4), rack: 'r' })
  const before = read(record(good), codecs)
  t.is(read(record(good), codecs).plan, before.plan)
  for (let at = 0; at < good.length; at++) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] as number) ^ 1
    let now: FoldBatch
    try {
      now = read(record(bad), codecs)
    } catch (error) {
      t.regex((error as { code: string }).code, /^SLU_RECORD_(UNDECODABLE|SCHEMA_UNKNOWN)$/)
      continue
    }
    // By the template only where the time, a value or a time offset changed; all else is decoded anew.
    const isRead = now.plan === before.plan
    const isOther = now.observedMs !== before.observedMs || valuesOf(now).some((v, i) => !Object.is(v, valuesOf(before)[i])) || now.offsetsMs?.join() !== before.offsetsMs?.join()
    t.true(isOther || !isRead, `byte ${at}`)
  }
})

test('batch-reader: a record that is cut or goes on behind its end is undecodable also where its template is known', (t) => {
  for (const offsetMs of [null, offsets(1, 2)]) {
    const read = createBatchReader()
    const good = batchBytes(rows(1), { offsetMs })
    read(record(good), codecs)
    for (const bad of [good.subarray(0, -1), good.subarray(0, -12), Buffer.concat([good, Buffer.from([0])]), Buffer.concat([good, good])])
      t.throws(() => read(record(bad), codecs), { code: 'SLU_RECORD_UNDECODABLE' })
  }
})

test('batch-reader: a foreign writer is resolved by the codec every time; a record without value is undecodable', (t) => {
  const foreign = testCodecs({ registryIds: new Map([['NodeBatch', 9]]) })
  const read = createBatchReader()
  const own = batchBytes(rows(1))
  const framed = foreign.encode('NodeBatch', codecs.decode('NodeBatch', own))
  for (let turn = 0; turn < 2; turn++) t.throws(() => read(record(framed), codecs), { code: 'SLU_RECORD_SCHEMA_UNKNOWN' })
  t.deepEqual(valuesOf(read(record(framed), foreign)), [1, 2])
  // Learnt in one frame, it is not taken for the other.
  t.throws(() => createBatchReader()(record(framed), codecs), { code: 'SLU_RECORD_SCHEMA_UNKNOWN' })
  t.throws(() => read(record(null), codecs), { code: 'SLU_RECORD_UNDECODABLE' })
})

test('batch-reader: keys and shapes kept are bounded; what was dropped is learnt again', (t) => {
  const counted = counting()
  const read = createBatchReader(2)
  for (let turn = 0; turn < 2; turn++) for (const key of ['a', 'b', 'c']) read(record(batchBytes(rows(1)), key), counted)
  t.true(counted.decoded > 3)
  const shapes = counting()
  const one = createBatchReader()
  for (let turn = 0; turn < 2; turn++) for (let part = 0; part < 5; part++) one(record(batchBytes(rows(1), { part })), shapes)
  t.is(shapes.decoded, 10)
  one(record(batchBytes(rows(2), { part: 4 })), shapes)
  t.is(shapes.decoded, 10)
})

test('batch-reader: sources that come in turn are foreseen, and one that comes out of turn is never read as another', (t) => {
  const counted = counting()
  const read = createBatchReader()
  const of = (node: string, value: number) => read(record(batchBytes(rows(value), { node, observedMs: OBSERVED_MS + value }), node), counted)
  for (let turn = 0; turn < 3; turn++) for (const node of ['a', 'b', 'c']) t.is(of(node, turn).plan.owner, `${node}|dcgm-exporter`)
  t.is(counted.decoded, 3)
  for (const [value, node] of ['c', 'a', 'a', 'd', 'b', 'c', 'd'].entries()) {
    const one = of(node, 10 + value)
    t.is(one.plan.owner, `${node}|dcgm-exporter`)
    t.deepEqual([one.observedMs, valuesOf(one)[0]], [OBSERVED_MS + 10 + value, 10 + value])
  }
  t.is(counted.decoded, 4)
})
