import fc from 'fast-check'
import test from 'ava'
import { CHUNK_RECORDS_MAX, slices } from '../../streams/chunks.ts'
import { record } from '../helpers/records.ts'

const NOW_MS = 1_000_000
const at = (offset: number, timestampMs: number, bytes = 1) => record(offset, { value: Buffer.alloc(bytes), timestampMs })

test('chunks: for any delivery every record stands in one slice, in order, and the positions rise to readTo', (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 2 * NOW_MS }), { maxLength: 700 }), fc.constantFrom(Infinity, 100, 50_000), (times, spanMs) => {
      const records = times.map((ms, i) => at(i, ms))
      const chunks = slices(records, 1000n, spanMs, -Infinity, NOW_MS)
      t.deepEqual(
        chunks.flatMap((c) => c.records),
        records,
      )
      t.is(chunks.at(-1)?.readTo, 1000n)
      for (const [i, chunk] of chunks.entries()) {
        t.true(chunk.records.length <= CHUNK_RECORDS_MAX)
        if (i > 0) t.true(chunk.headMs >= (chunks[i - 1]?.headMs as number), 'time never goes back')
        t.true(chunk.headMs <= NOW_MS, 'a record of tomorrow counts as of now')
        for (const r of chunk.records.slice(1)) t.true(Math.min(r.timestampMs, NOW_MS) <= chunk.headMs + spanMs || !Number.isFinite(spanMs))
        if (i < chunks.length - 1) t.is(chunk.readTo, (chunk.records.at(-1)?.offset as bigint) + 1n)
      }
    }),
    { numRuns: 60 },
  )
})

test('chunks: large records are handed over a few at a time, one larger than the limit alone', (t) => {
  const mebibyte = 1024 * 1024
  const sizes = slices([at(0, 0, 3 * mebibyte), at(1, 0, 3 * mebibyte), at(2, 0, 9 * mebibyte), at(3, 0)], 4n, Infinity, 0, NOW_MS).map((c) => c.records.length)
  t.deepEqual(sizes, [2, 1, 1])
})

test('chunks: a delivery of nothing still moves the position', (t) => {
  t.deepEqual(slices([], 7n, 100, 5, NOW_MS), [{ records: [], readTo: 7n, bytes: 0, headMs: 5 }])
})
