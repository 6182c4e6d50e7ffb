import test from 'ava'
import type { SluiceError } from '../../../../schemas/errors.ts'
import type { OutRecord, TopicSpec } from '../../../../schemas/log.ts'
import { place, recordBytes } from '../../../../infra/log/embedded/store.ts'

const spec = { name: 'a', partitions: 3, replication: 1, timestampType: 'CreateTime', cleanup: 'compact', retentionMs: -1, maxMessageBytes: 100 } as const satisfies TopicSpec
const store = { topic: (name: string) => (name === 'a' ? spec : undefined) }
const record = (with_: Partial<OutRecord>): OutRecord => ({ topic: 'a', key: Buffer.from('k'), value: null, ...with_ })
const codeOf = (records: OutRecord[]): string => {
  try {
    place(store, records, () => 0)
    return 'placed'
  } catch (error) {
    return (error as SluiceError).code
  }
}

test('store: one record that cannot be appended refuses all of its batch, by name', (t) => {
  const good = record({})
  t.is(codeOf([good]), 'placed')
  t.is(codeOf([good, record({ topic: 'absent' })]), 'SLU_LOG_TOPIC_MISSING')
  t.is(codeOf([good, record({ value: Buffer.alloc(101) })]), 'SLU_LOG_RECORD_TOO_LARGE')
  t.is(codeOf([good, record({ partition: 3 })]), 'SLU_LOG_FAILED')
  t.is(codeOf([good, record({ key: null })]), 'SLU_LOG_FAILED')
  t.is(codeOf([good, record({ timestampMs: 1.5 })]), 'SLU_LOG_FAILED')
})

test('store: a record counts for its key, value, header names and values in bytes', (t) => {
  t.is(recordBytes(record({ value: Buffer.alloc(5), headers: [['ü', Buffer.alloc(3)]] })), 1 + 5 + 2 + 3)
})
