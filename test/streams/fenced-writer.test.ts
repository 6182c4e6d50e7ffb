import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { Appended, OutRecord } from '../../schemas/log.ts'
import { createFencedWriter } from '../../streams/fenced-writer.ts'

/** A log whose fence can be taken by somebody else. */
function world(script: { refuseWith?: () => SluiceError | null } = {}) {
  const seen: string[] = []
  let holder = 0
  return {
    seen,
    steal: () => holder++,
    driver: {
      fencedProducer: (name: string) => {
        const mine = ++holder
        seen.push(`open ${name}`)
        return Promise.resolve({
          transaction: (records: readonly OutRecord[]): Promise<Appended[]> => {
            const error = script.refuseWith?.() ?? (mine === holder ? null : new SluiceError('SLU_LOG_FENCED', name))
            if (error !== null) return Promise.reject(error)
            seen.push(`write ${records.length}`)
            return Promise.resolve([])
          },
          close: () => Promise.resolve(),
        })
      },
    },
  }
}
const one: OutRecord = { topic: 't', key: null, value: null }

test('fenced writer: it proves ownership after it opened and before it writes, never the other way round (C8)', async (t) => {
  const w = world()
  const writer = createFencedWriter(w.driver, 'n', () => (w.seen.push('prove'), Promise.resolve()), new AbortController().signal)
  await writer.open()
  await writer.write([one])
  await writer.write([one, one])
  t.deepEqual(w.seen, ['open n', 'prove', 'write 1', 'write 2'])
})

test('fenced writer: a zombie whose partition moved on opens again, is not proven and writes nothing (C8)', async (t) => {
  const w = world()
  let isOurs = true
  const prove = (): Promise<void> => (isOurs ? Promise.resolve() : Promise.reject(new SluiceError('SLU_LOG_STALE_EPOCH', '')))
  const writer = createFencedWriter(w.driver, 'n', prove, new AbortController().signal)
  await writer.write([one])
  w.steal()
  isOurs = false
  await t.throwsAsync(writer.write([one]), { message: /SLU_LOG_FENCED/ })
  await t.throwsAsync(writer.write([one]), { message: /SLU_LOG_STALE_EPOCH/ })
  t.is(w.seen.filter((s) => s.startsWith('write')).length, 1)
})

test('fenced writer: fenced but still the owner, the repeated write opens again and succeeds', async (t) => {
  const w = world()
  const writer = createFencedWriter(w.driver, 'n', () => Promise.resolve(), new AbortController().signal)
  await writer.write([one])
  w.steal()
  await t.throwsAsync(writer.write([one]), { message: /SLU_LOG_FENCED/ })
  await writer.write([one])
  t.is(w.seen.filter((s) => s === 'write 1').length, 2)
})

test('fenced writer: once the partition is given up nothing is opened or written (C3)', async (t) => {
  const w = world()
  const abort = new AbortController()
  abort.abort()
  await t.throwsAsync(createFencedWriter(w.driver, 'n', () => Promise.resolve(), abort.signal).write([one]), { message: /SLU_LOG_STALE_EPOCH/ })
  t.deepEqual(w.seen, [])
})

test('fenced writer: a record too large is refused to its caller, and the producer is kept (D6)', async (t) => {
  let refusal: SluiceError | null = new SluiceError('SLU_LOG_RECORD_TOO_LARGE', 't')
  const w = world({ refuseWith: () => refusal })
  const writer = createFencedWriter(w.driver, 'n', () => (w.seen.push('prove'), Promise.resolve()), new AbortController().signal)
  await t.throwsAsync(writer.write([one]), { code: 'SLU_LOG_RECORD_TOO_LARGE' })
  refusal = null
  await writer.write([one])
  t.deepEqual(w.seen, ['open n', 'prove', 'write 1'])
})
