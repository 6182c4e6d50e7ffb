import test from 'ava'
import type { LogTail, TailBatch } from '../../schemas/log.ts'
import { readToEnd } from '../../streams/read-to-end.ts'
import { settle } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

/** Yields `batches`, and then waits for ever or ends. */
function tailOf(batches: readonly TailBatch[], isEndless: boolean) {
  let closed = 0
  const tail: LogTail = {
    caughtUp: Promise.resolve(),
    close: () => Promise.resolve(void closed++),
    async *[Symbol.asyncIterator]() {
      yield* batches
      if (isEndless) await new Promise(() => undefined)
    },
  }
  return { tail, closed: () => closed }
}
const batches = [0, 1].map((offset) => ({ topic: 't', partition: 0, records: [record(offset)], readTo: BigInt(offset + 1) }))

test('read to end: all of it, and the tail is closed; what the reader makes of it and throws is told', async (t) => {
  const whole = tailOf(batches, false)
  const read: bigint[] = []
  await readToEnd(whole.tail, new AbortController().signal, ({ readTo }) => void read.push(readTo))
  t.deepEqual([read, whole.closed()], [[1n, 2n], 1])
  const failing = tailOf(batches, false)
  const fail = (): never => {
    throw new Error('cannot be read')
  }
  await t.throwsAsync(readToEnd(failing.tail, new AbortController().signal, fail), { message: 'cannot be read' })
  t.is(failing.closed(), 1)
})

test('read to end: given up, it ends at once though the tail waits, and says so; nothing more is handed over (C3)', async (t) => {
  const abort = new AbortController()
  const { tail, closed } = tailOf(batches, true)
  const read: bigint[] = []
  const reading = t.throwsAsync(
    readToEnd(tail, abort.signal, ({ readTo }) => void read.push(readTo)),
    { code: 'SLU_LOG_STALE_EPOCH' },
  )
  await settle()
  t.is(closed(), 0)
  abort.abort()
  await reading
  t.deepEqual([read, closed()], [[1n, 2n], 1])
  const before = tailOf(batches, false)
  await t.throwsAsync(
    readToEnd(before.tail, abort.signal, () => t.fail()),
    { code: 'SLU_LOG_STALE_EPOCH' },
  )
  t.is(before.closed(), 1)
})
