import test from 'ava'
import { firstAskBytes, nextAskBytes, PARTITION_BYTES_MAX, waitMs } from '../../../../infra/log/kafka/fetch-limits.ts'

test('fetch limits: as many bytes are asked for as the records wanted have, no less than a batch, no more than 1 MiB (C6)', (t) => {
  const size = (records: number, bytes: number, largestBatch = 0) => ({ records, bytes, largestBatch, received: bytes })
  t.is(nextAskBytes(1, size(10, 1000), false, { recordsMax: 2000, shareBytes: Infinity }), 200_000)
  t.is(nextAskBytes(1, size(10, 1000, 300_000), false, { recordsMax: 2000, shareBytes: Infinity }), 300_000)
  t.is(nextAskBytes(1, size(1, 1000), false, { recordsMax: 2000, shareBytes: Infinity }), PARTITION_BYTES_MAX)
  t.is(nextAskBytes(1, size(1, 4 << 20, 4 << 20), false, { recordsMax: 2000, shareBytes: Infinity }), PARTITION_BYTES_MAX)
  t.is(nextAskBytes(1, size(1000, 1), false, { recordsMax: Infinity, shareBytes: Infinity }), PARTITION_BYTES_MAX)
  t.is(nextAskBytes(70, null, false, { recordsMax: 2000, shareBytes: Infinity }), 70)
})

test('fetch limits: a partition has its share of what may be in flight, unless a batch of its is larger (C6)', (t) => {
  const limits = { recordsMax: 2000, shareBytes: 150_000 }
  t.is(nextAskBytes(1, { records: 10, bytes: 1000, largestBatch: 0, received: 1000 }, false, limits), 150_000)
  t.is(nextAskBytes(1, { records: 10, bytes: 1000, largestBatch: 180_000, received: 1000 }, false, limits), 180_000)
  t.is(nextAskBytes(1, { records: 10, bytes: 100, largestBatch: 0, received: 100 }, false, limits), 20_000)
})

test('fetch limits: little is asked for first, unless all are wanted; twice as much where a batch did not fit', (t) => {
  t.is(firstAskBytes(2000), 65_536)
  t.is(firstAskBytes(Infinity), PARTITION_BYTES_MAX)
  t.is(nextAskBytes(65_536, null, true, { recordsMax: 2000, shareBytes: Infinity }), 131_072)
  t.is(nextAskBytes(PARTITION_BYTES_MAX, null, true, { recordsMax: 2000, shareBytes: Infinity }), PARTITION_BYTES_MAX)
})

test('fetch limits: a request is held for a part of a pause, for half a second where nothing is paused (B6)', (t) => {
  t.deepEqual(
    [null, 0, 1, 100, 401, 2000, 1e9].map((ms) => waitMs(ms)),
    [500, 5, 5, 25, 101, 500, 500],
  )
})
