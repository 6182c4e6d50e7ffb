import test from 'ava'
import { aggregateMetrics } from '../../../functions/aggregate-metrics/aggregate-metrics.ts'
import { batchBytes, openWindow, partialOf, type Row, type TestWindow } from '../../helpers/metrics.ts'
import { codecs, normalizer, OBSERVED_MS, pseudonyms, rawRecord, sample } from '../../helpers/telemetry.ts'

const parameters = { windowMs: 60_000, graceMs: 0, outOfOrdernessMs: 0, skewMs: 30_000, maxGapMs: 120_000, idleMs: 30_000 }
const definition = aggregateMetrics({ site: 'hall-1', parameters, contributorFactsMax: 100 })
const context = { codecs, site: 'hall-1' }
const decode = (value: Buffer | null) => definition.decode(rawRecord('hardware.telemetry', 'node-1', value), context)
const fold = (window: TestWindow, value: Buffer, before?: Buffer): void =>
  definition.add(window, decode(value), before === undefined ? undefined : definition.predecessor?.of(decode(before)))
const power = (value: number, more: Partial<Row> = {}): Row => ({ device: 'a', metric: 'hw.power', value, ...more })
const energy = (value: number, device = 'a'): Row => ({ device, metric: 'hw.energy', value })
const cellsOf = (window: TestWindow): Record<string, [number, number]> => Object.fromEntries([...window.groups].map(([key, cell]) => [key, [cell.count, cell.sum]]))

test('aggregate-metrics: the dcgm-exporter sample, twice, gives the window computed by hand', (t) => {
  const n = normalizer()
  const batch = (text: string): Buffer => (n(rawRecord('telemetry.dcgm', 'tray-07', text))[0] as { value: Buffer }).value
  const text = sample('dcgm-exporter.prom').toString('utf8')
  const first = batch(text)
  const second = batch(text.replace(' 912345678901\n', ' 912355678901\n').replace(' 1042.318000\n', ' 1000\n').replace(' 505\n', ' 507\n'))
  const window = openWindow()
  fold(window, first)
  fold(window, second, first)
  t.deepEqual(cellsOf(window), {
    'blackwell-a|sluice.gpu.clock|': [4, 2 * (1_965_000_000 + 120_000_000)],
    'blackwell-a|hw.temperature|sensor=GPU_DIE': [2, 122],
    'blackwell-a|hw.power|': [2, 2042.318],
    'blackwell-a|hw.energy|': [1, 912_355_678.901 - 912_345_678.901],
    'blackwell-a|hw.gpu.memory.usage|': [2, 2 * 171_520 * 1_048_576],
    'blackwell-a|sluice.gpu.engine_active|': [2, 2 * 0.934112],
    'blackwell-a|sluice.gpu.nvlink.recoveries|': [1, 2],
  })
  const partial = partialOf(definition, 'blackwell-a|hw.power|', window.groups.get('blackwell-a|hw.power|') as never)
  t.like(partial, {
    site: 'hall-1',
    pool: 'blackwell-a',
    metric: 'hw.power',
    unit: 'W',
    contributorKind: 'tenant',
    min: 1000,
    max: 1042.318,
    last: 1000,
    lastMs: OBSERVED_MS,
    firstOffset: 5,
    lastOffset: 9,
  })
  t.deepEqual(
    partial.contributorFacts.map((f) => [f.id, f.sum, f.count]),
    [[pseudonyms.tenant('tenant-a'), 2042.318, 2]],
  )
  t.deepEqual(partial.deviceIds, [pseudonyms.device('tray-07', 'gpu', 0)])
})

test('aggregate-metrics: a neuron report: delta counts are summed as they are, ECC counters wait for a predecessor', (t) => {
  const batch = (normalizer()(rawRecord('telemetry.neuron', 'trn-01', sample('neuron-monitor.json')))[0] as { value: Buffer }).value
  const window = openWindow()
  fold(window, batch)
  const cells = cellsOf(window)
  t.deepEqual(cells['trainium-a|sluice.neuron.execution|outcome=completed'], [1, 1870])
  t.deepEqual(cells['trainium-a|hw.gpu.utilization|'], [2, 71.4 / 100 + 69.8 / 100])
  t.is(cells['trainium-a|hw.errors|error.type=corrected,memory=hbm'], undefined)
  fold(window, batch, batch)
  t.deepEqual(cellsOf(window)['trainium-a|hw.errors|error.type=corrected,memory=hbm'], [2, 0])
})

test('aggregate-metrics: a counter is never summed as it stands: deltas per device, a fall is a reset', (t) => {
  const window = openWindow()
  fold(window, batchBytes([energy(100), energy(50, 'b')]))
  t.is(window.groups.size, 0)
  fold(window, batchBytes([energy(130), energy(7, 'b')]), batchBytes([energy(100), energy(50, 'b')]))
  t.deepEqual(cellsOf(window), { 'pool-a|hw.energy|': [2, 37] })
})

test('aggregate-metrics: a counter is matched by device, not by position, when the layout changes; a new device has no delta', (t) => {
  const window = openWindow()
  fold(window, batchBytes([energy(10, 'new'), power(1), energy(130)]), batchBytes([energy(100), energy(50, 'gone')]))
  t.deepEqual(cellsOf(window), { 'pool-a|hw.power|': [1, 1], 'pool-a|hw.energy|': [1, 30] })
})

test('aggregate-metrics: a new startMs is a reset although the value rose', (t) => {
  const restarted = (value: number, startMs: number): Buffer => {
    const batch = codecs.decode('NodeBatch', batchBytes([energy(value)]))
    const layout = codecs.decodeBare('NodeLayout', batch.layout)
    return codecs.encode('NodeBatch', { ...batch, layout: codecs.encodeBare('NodeLayout', { ...layout, metrics: layout.metrics.map((m) => ({ ...m, startMs })) }) })
  }
  const window = openWindow()
  fold(window, restarted(130, 2), restarted(100, 1))
  t.deepEqual(cellsOf(window), { 'pool-a|hw.energy|': [1, 130] })
})

test('aggregate-metrics: NaN is no sample, before or now', (t) => {
  const window = openWindow()
  fold(window, batchBytes([power(NaN), energy(NaN)]), batchBytes([power(1), energy(1)]))
  fold(window, batchBytes([energy(9)]), batchBytes([energy(NaN)]))
  t.is(window.groups.size, 0)
})

test('aggregate-metrics: contributors beyond the bound set the overflow flag, and the sum still counts them', (t) => {
  const small = aggregateMetrics({ site: 'hall-1', parameters, contributorFactsMax: 2 })
  const window = openWindow()
  small.add(window, decode(batchBytes(['x', 'y', 'z'].map((tenant) => power(1, { device: tenant, tenant })))), undefined)
  const partial = partialOf(small, 'pool-a|hw.power|', window.groups.get('pool-a|hw.power|') as never)
  t.like(partial, { count: 3, sum: 3, contributorOverflow: true })
  t.is(partial.contributorFacts.length, 2)
})

test('aggregate-metrics: identity and event time are of the scrape (W10); a remainder of the same scrape is another record (N2)', (t) => {
  const of = (more: object): string => {
    const value = decode(batchBytes([power(1)], more))
    return `${definition.identity(value)} ${definition.sequence?.(value)}`
  }
  t.is(of({}), of({}))
  t.is(new Set([of({}), of({ part: 1 }), of({ observedMs: 1 }), of({ node: 'n' }), of({ source: { kind: 'k', version: null } })]).size, 5)
  t.is(definition.eventTimeMs(decode(batchBytes([power(1)]))), OBSERVED_MS)
})

test('aggregate-metrics: an offset of a row dates its value', (t) => {
  const offsetMs = Buffer.from(Int32Array.of(-5, -50).buffer)
  const window = openWindow()
  fold(window, batchBytes([power(1), power(2, { device: 'b' })], { offsetMs }))
  t.like(window.groups.get('pool-a|hw.power|'), { last: 1, lastMs: OBSERVED_MS - 5 })
})

test('aggregate-metrics: a record that is no NodeBatch is named undecodable', (t) => {
  t.throws(() => decode(null), { code: 'SLU_RECORD_UNDECODABLE' })
  t.throws(() => decode(Buffer.from('x')), { code: 'SLU_RECORD_UNDECODABLE' })
  t.throws(() => decode(batchBytes([power(1)], { value: Buffer.alloc(16) })), { code: 'SLU_RECORD_UNDECODABLE' })
})

test('aggregate-metrics: a marker comes back as it went, and a partial or a marker of another function is none (W6, W7)', (t) => {
  const marker = {
    functionName: 'aggregate-metrics',
    sourcePartition: 3,
    partitionCount: 4,
    closedThroughMs: OBSERVED_MS,
    readThrough: 77n,
    neededFrom: 70n,
    suspectMs: -1,
    parametersHash: 'h',
  }
  const back = (value: Buffer | null) => definition.decodeMarker(rawRecord('metrics.partials', null, value), context)
  t.deepEqual({ ...back(definition.encodeMarker(marker, context)) }, marker)
  t.is(back(definition.encodeMarker({ ...marker, functionName: 'other' }, context)), null)
  t.is(back(null), null)
  t.is(back(Buffer.from('x')), null)
})
