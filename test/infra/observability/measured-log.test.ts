import test from 'ava'
import { SluiceError } from '../../../schemas/errors.ts'
import type { ConsumerEvents, LogDriver } from '../../../schemas/log.ts'
import type { Attributes, SpanStart, Telemetry } from '../../../schemas/ports.ts'
import { measuredLog } from '../../../infra/observability/measured-log.ts'
import { createMemoryLog } from '../../fakes/memory-log.ts'
import { createVirtualClock } from '../../fakes/virtual-clock.ts'

const TRACE = (n: number): string => `00-0af7651916cd43dd8448eb211c8031${n.toString(16).padStart(2, '0')}-b7ad6b7169203331-01`

function measured() {
  const clock = createVirtualClock()
  const log = createMemoryLog({ clock })
  log.create('p.in', 1)
  log.create('p.out', 1)
  const spans: (SpanStart & { ended?: string })[] = []
  const seen: { name: string; value: number; attributes: Attributes }[] = []
  const note = (name: string, value: number, attributes: Attributes = {}): void => void seen.push({ name, value, attributes })
  const telemetry: Telemetry = {
    count: note,
    record: note,
    gauge: note,
    log: () => undefined,
    span: (start) => {
      const span: SpanStart & { ended?: string } = { ...start }
      spans.push(span)
      return { carrier: {}, set: () => undefined, end: (error) => void (span.ended = error?.code ?? 'ok') }
    },
  }
  const inner = log.driver('process')
  const driver: LogDriver = measuredLog(inner, { telemetry, topicPrefix: 'p.' })
  const of = (name: string) => seen.filter((s) => s.name === name)
  return { clock, log, inner, driver, telemetry, spans, of }
}

test('measured log: records, their order and their headers pass unchanged; sends are counted by topic without the prefix', async (t) => {
  const m = measured()
  const headers = [
    ['traceparent', Buffer.from(TRACE(1))],
    ['a', Buffer.from([0xff])],
    ['a', Buffer.from('2')],
  ] as const
  const records = [
    { topic: 'p.in', key: Buffer.from('k'), value: Buffer.from('v'), headers },
    { topic: 'p.out', key: null, value: null },
  ]
  const appended = await m.driver.producer().send(records)
  t.deepEqual(
    appended.map((a) => a.topic),
    ['p.in', 'p.out'],
  )
  t.deepEqual(m.log.dump('p.in')[0]?.headers, headers)
  t.deepEqual(
    m.of('messaging.client.sent.messages').map((s) => [s.attributes['messaging.destination.name'], s.value]),
    [
      ['in', 1],
      ['out', 1],
    ],
  )
  t.is(m.of('messaging.client.operation.duration').length, 1)
})

test('measured log: a send belongs to the trace its records carry, and links to them where they carry several', async (t) => {
  const m = measured()
  const send = (...traces: number[]) =>
    m.driver.producer().send(traces.map((n) => ({ topic: 'p.in', key: null, value: Buffer.from('v'), headers: [['traceparent', Buffer.from(TRACE(n))] as const] })))
  await send(1, 1)
  await send(1, 2)
  await m.driver.producer().send([{ topic: 'p.in', key: null, value: null }])
  t.deepEqual(
    m.spans.map((s) => [s.name, s.kind, s.parent?.['traceparent'], s.links?.map((l) => l['traceparent']), s.ended]),
    [
      ['send in', 'producer', TRACE(1), undefined, 'ok'],
      ['send in', 'producer', undefined, [TRACE(1), TRACE(2)], 'ok'],
      ['send in', 'producer', undefined, [], 'ok'],
    ],
  )
})

test('measured log: an error is passed on as it is, measured with its code, and nothing counts as sent', async (t) => {
  const m = measured()
  const refused = new SluiceError('SLU_LOG_UNREACHABLE', 'away')
  const driver = measuredLog(
    { ...m.inner, producer: () => ({ send: () => Promise.reject(refused), close: () => Promise.resolve() }) },
    { telemetry: m.telemetry, topicPrefix: 'p.' },
  )
  t.is(await t.throwsAsync(driver.producer().send([{ topic: 'p.in', key: null, value: null }])), refused)
  t.is(m.spans[0]?.ended, 'SLU_LOG_UNREACHABLE')
  t.is(m.of('messaging.client.operation.duration')[0]?.attributes['error.type'], 'SLU_LOG_UNREACHABLE')
  t.is(m.of('messaging.client.sent.messages').length, 0)
})

test('measured log: what a consumer is given is counted by group and topic, and its commit is timed', async (t) => {
  const m = measured()
  m.log.append([1, 2, 3].map((n) => ({ topic: 'p.in', key: null, value: Buffer.from(String(n)) })))
  const consumer = m.driver.consumer({ group: 'g', topics: ['p.in'] })
  let epoch = -1
  const got: string[] = []
  await consumer.start({
    assigned: async (assignments) => {
      epoch = assignments[0]?.epoch ?? -1
      return assignments.map((a) => ({ topic: a.topic, partition: a.partition, nextOffset: 'start' as const }))
    },
    revoked: () => Promise.resolve(),
    records: (_tp, _epoch, records) => void got.push(...records.map((r) => String(r.value))),
    held: () => undefined,
    failed: (error) => t.fail(String(error)),
  })
  while (got.length < 3) await m.clock.advance(10)
  await consumer.commit([{ topic: 'p.in', partition: 0, epoch, nextOffset: 3n, metadata: '' }])
  t.deepEqual(got, ['1', '2', '3'])
  const counted = m.of('messaging.client.consumed.messages')
  t.is(
    counted.reduce((sum, s) => sum + s.value, 0),
    3,
  )
  t.deepEqual(counted[0]?.attributes, { 'messaging.consumer.group.name': 'g', 'messaging.destination.name': 'in' })
  t.deepEqual([m.spans.at(-1)?.name, m.spans.at(-1)?.kind, m.spans.at(-1)?.ended], ['commit g', 'client', 'ok'])
  await consumer.stop()
})

test('measured log: what keeps a consumer, or one of its partitions, from the log reaches its owner', async (t) => {
  const m = measured()
  const told: (string | null)[] = []
  const inner = m.inner.consumer({ group: 'g', topics: ['p.in'] })
  const start = async (events: ConsumerEvents): Promise<void> => {
    events.troubled?.(new SluiceError('SLU_LOG_LISTENER', 'x'))
    events.troubled?.(null)
    events.stalled?.({ topic: 'p.in', partition: 3 }, new SluiceError('SLU_LOG_CODEC', 'x'))
  }
  const driver = measuredLog({ ...m.inner, consumer: () => ({ ...inner, start }) }, { telemetry: m.telemetry, topicPrefix: 'p.' })
  await driver.consumer({ group: 'g', topics: ['p.in'] }).start({
    assigned: () => Promise.resolve([]),
    revoked: () => Promise.resolve(),
    records: () => undefined,
    held: () => undefined,
    failed: () => undefined,
    troubled: (error) => told.push(error?.message.slice(0, 16) ?? null),
    stalled: (tp, error) => told.push(`${tp.topic}/${tp.partition} ${error?.message.slice(0, 13)}`),
  })
  t.deepEqual(told, ['SLU_LOG_LISTENER', null, 'p.in/3 SLU_LOG_CODEC'])
})
