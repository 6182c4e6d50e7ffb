import test from 'ava'
import { createPartialReader } from '../../../functions/combine-metrics/partial-reader.ts'
import type { WindowPartial } from '../../../schemas/records.ts'
import { add, facts, newCell } from '../../helpers/cells.ts'
import { codecs, OBSERVED_MS } from '../../helpers/telemetry.ts'

/** Of two contributors, x with 1 and y with 4. */
function partial(more: Partial<WindowPartial> = {}): WindowPartial {
  const cell = newCell()
  add(cell, 1, 0, 'x', 'd1')
  add(cell, 4, 0, 'y', 'd2')
  const { key: _, ...about } = facts
  const window = { windowStartMs: OBSERVED_MS, windowEndMs: OBSERVED_MS + 60_000, firstOffset: 0, lastOffset: 1 }
  return { site: 's', function: 'f', sourcePartition: 1, ...about, ...window, partial: false, parametersHash: 'h', ...cell.aggregate(1, codecs), ...more }
}
const read = createPartialReader()
const readOf = (more: Partial<WindowPartial> = {}) => read(codecs.encode('WindowPartial', partial(more)), codecs)

test('partial-reader: a partial whose numbers contradict each other is undecodable, and never sizes memory (D6)', (t) => {
  const h = partial().histogram
  const doubles = (...values: number[]): Buffer => Buffer.from(Float64Array.from(values).buffer)
  const counts = (...values: number[]): Buffer => Buffer.concat([Buffer.from([8]), doubles(...values)])
  const places = (...values: number[]): Buffer => Buffer.from(values)
  const broken: Partial<WindowPartial>[] = [
    { histogram: { ...h, scale: 21 } },
    { histogram: { ...h, scale: -40 } },
    { histogram: { ...h, counts: Array.from({ length: 161 }, () => 1) } },
    { histogram: { ...h, counts: [-1] } },
    { count: 0 },
    { members: codecs.encodeBare('CellMembers', { contributors: ['x'], devices: [] }) },
    { members: Buffer.from([255]) },
    { contributorSums: doubles(1) },
    { contributorSums: Buffer.alloc(17) },
    { contributorCounts: counts(1, 0) },
    { contributorCounts: counts(1, NaN) },
    { contributorBuckets: places(1, 2) },
    { contributorBuckets: places(255, 0) },
    { bucketIndexes: places(0, 200) },
    { bucketIndexes: places(0, 1) },
    { bucketCounts: counts(1, 2) },
    { bucketCounts: counts(1, 0) },
    { bucketCounts: counts(1, -1) },
    { bucketCounts: counts(1) },
    { bucketCounts: Buffer.from([3, 1, 0, 0, 1, 0, 0]) },
    { bucketCounts: Buffer.from([1, 1, 1, 1]) },
    { bucketCounts: Buffer.alloc(0) },
  ]
  t.is(readOf().group, facts.key)
  for (const more of broken) t.throws(() => readOf(more), { code: 'SLU_RECORD_UNDECODABLE' }, JSON.stringify(more).slice(0, 80))
})

test('partial-reader: members kept are bounded, and what was dropped is read again', (t) => {
  const small = createPartialReader(1)
  const of = (sourcePartition: number) => small(codecs.encode('WindowPartial', partial({ sourcePartition })), codecs).members
  const first = of(0)
  t.is(of(0), first)
  of(1)
  t.not(of(0), first)
  t.deepEqual({ ...of(0) }, { ...first })
})
