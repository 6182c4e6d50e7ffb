import test from 'ava'
import { aggregateMetrics } from '../../../functions/aggregate-metrics/aggregate-metrics.ts'
import { combineMetrics } from '../../../functions/combine-metrics/combine-metrics.ts'
import type { CellPartial } from '../../../functions/combine-metrics/merge-partials.ts'
import type { WindowPartial, WindowSummary } from '../../../schemas/records.ts'
import type { CombinedSlot } from '../../../streams/define-function.ts'
import { batchBytes, openWindow, partialOf, type Row } from '../../helpers/metrics.ts'
import { codecs, OBSERVED_MS, rawRecord } from '../../helpers/telemetry.ts'

const parameters = { windowMs: 60_000, graceMs: 0, outOfOrdernessMs: 0, skewMs: 30_000, maxGapMs: 120_000, idleMs: 30_000 }
const aggregate = aggregateMetrics({ site: 'hall-1', parameters, contributorFactsMax: 100 })
const combine = combineMetrics({ site: 'hall-1', windowMs: 60_000, contributorFactsMax: 100 })
const context = { codecs, site: 'hall-1' }
const KEY = 'pool-a|hw.power|'
const window = { startMs: OBSERVED_MS, endMs: OBSERVED_MS + 60_000 }
const row = (device: string, tenant: string, value: number): Row => ({ device, tenant, metric: 'hw.power', value })

function partial(sourcePartition: number, rows: Row[], more: object = {}): WindowPartial {
  const open = openWindow()
  aggregate.add(open, aggregate.decode(rawRecord('hardware.telemetry', 'n', batchBytes(rows)), context), undefined)
  return { ...partialOf(aggregate, KEY, open.groups.get(KEY) as never, { sourcePartition }), ...more }
}

const bytesOf = (partial: WindowPartial): Buffer => codecs.encode('WindowPartial', partial)
const readBy = (by: typeof combine, partial: WindowPartial) => by.decode(rawRecord('metrics.partials', KEY, bytesOf(partial)), context)

/** As the runtime keeps it. */
function slot(partial: WindowPartial, by = combine): CombinedSlot<CellPartial> {
  const read = readBy(by, partial)
  if (read.kind === 'marker') throw new Error('a marker')
  return read
}

function summary(...partials: WindowPartial[]): WindowSummary {
  const emit = combine.result(
    KEY,
    window,
    partials.map((p) => slot(p)),
    context,
  )
  return codecs.decode('WindowSummary', emit.value as Buffer)
}

test('combine-metrics: partials of two partitions become the summary computed by hand', (t) => {
  const s = summary(partial(0, [row('a', 'tenant-x', 1), row('b', 'tenant-y', 1024)]), partial(2, [row('a', 'tenant-x', 4), row('c', 'tenant-z', 2)]))
  t.like(s, {
    site: 'hall-1',
    pool: 'pool-a',
    metric: 'hw.power',
    unit: 'W',
    count: 4,
    sum: 1031,
    min: 1,
    max: 1024,
    contributors: 3,
    devices: 3,
    partial: false,
    contributorOverflow: false,
  })
  t.is(s.id, `hall-1/${KEY}/${window.startMs}-${window.endMs}`)
  t.deepEqual(
    s.sources.map((r) => [r.partition, r.firstOffset, r.lastOffset]),
    [
      [0, 5, 9],
      [2, 5, 9],
    ],
  )
  t.like(s.histogram, { scale: 3, offset: -1, zeroCount: 0 })
  const buckets = (id: string): number[] => s.contributorFacts.find((f) => f.id === id)?.bucketCounts.flatMap((n, i) => (n === 0 ? [] : [i - 1])) ?? []
  t.deepEqual(buckets('tenant-x'), [-1, 15])
  t.deepEqual(buckets('tenant-y'), [79])
  t.deepEqual(buckets('tenant-z'), [7])
  t.deepEqual(
    s.contributorFacts.map((f) => [f.id, f.sum, f.count]),
    [
      ['tenant-x', 5, 2],
      ['tenant-y', 1024, 1],
      ['tenant-z', 2, 1],
    ],
  )
})

test('combine-metrics: the summary is what one partition alone would have said', (t) => {
  const rows = [row('a', 'tenant-x', 1), row('b', 'tenant-y', 1024), row('c', 'tenant-z', 2)]
  const { sources: _, ...split } = summary(partial(0, rows.slice(0, 1)), partial(1, rows.slice(1)))
  const { sources: __, ...whole } = summary(partial(0, rows))
  t.deepEqual(split, whole)
})

test('combine-metrics: one partial slot, or one made with other parameters, makes the summary partial (W6)', (t) => {
  const good = partial(0, [row('a', 'x', 1)])
  t.false(summary(good).partial)
  t.true(summary(good, partial(1, [row('b', 'x', 1)], { partial: true })).partial)
  t.true(summary(good, partial(1, [row('b', 'x', 1)], { parametersHash: 'other' })).partial)
})

test('combine-metrics: too many contributors together set the overflow flag', (t) => {
  const small = combineMetrics({ site: 'hall-1', windowMs: 60_000, contributorFactsMax: 1 })
  const emit = small.result(KEY, window, [slot(partial(0, [row('a', 'x', 1)]), small), slot(partial(1, [row('b', 'y', 1)]), small)], context)
  t.like(codecs.decode('WindowSummary', emit.value as Buffer), { contributorOverflow: true, contributors: 1, count: 2 })
})

test('combine-metrics: partials and markers are told apart; a partial under another key is refused, never combined', (t) => {
  const value = bytesOf(partial(1, [row('a', 'x', 1)]))
  const read = (key: string | null, bytes: Buffer | null) => combine.decode(rawRecord('metrics.partials', key, bytes), context)
  t.like(read(KEY, value), { kind: 'partial', group: KEY, sourcePartition: 1, firstOffset: 5n, windowEndMs: window.endMs })
  const marker = {
    functionName: 'aggregate-metrics',
    sourcePartition: 3,
    partitionCount: 4,
    closedThroughMs: 1,
    readThrough: 77n,
    neededFrom: 70n,
    suspectMs: -1,
    parametersHash: 'h',
  }
  t.deepEqual({ ...read(null, aggregate.encodeMarker(marker, context)) }, { kind: 'marker', ...marker } as never)
  for (const [key, bytes] of [
    ['other', value],
    [null, value],
    [KEY, null],
    [KEY, Buffer.from('x')],
    [KEY, batchBytes([])],
  ] as const)
    t.throws(() => read(key, bytes))
})

test('combine-metrics: members that come again are decoded once, and others are never taken for them', (t) => {
  const again = (rows: Row[]) => slot(partial(0, rows)).value.members
  const first = again([row('a', 'x', 1)])
  t.is(again([row('a', 'x', 2)]), first)
  t.deepEqual({ ...again([row('a', 'x', 2), row('b', 'y', 2)]) }, { contributors: ['x', 'y'], devices: ['a', 'b'] })
  t.deepEqual({ ...again([row('b', 'y', 2)]) }, { contributors: ['y'], devices: ['b'] })
  const s = summary(partial(0, [row('a', 'x', 1)]), partial(1, [row('c', 'z', 1)]))
  const other = summary(partial(0, [row('a', 'x', 1)]), partial(1, [row('d', 'w', 1)]))
  t.deepEqual(
    [s, other].map((one) => one.contributorFacts.map((f) => f.id)),
    [
      ['x', 'z'],
      ['w', 'x'],
    ],
  )
})
