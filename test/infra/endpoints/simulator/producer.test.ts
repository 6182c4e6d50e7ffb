import test from 'ava'
import type { OutRecord } from '../../../../schemas/log.ts'
import type { Telemetry } from '../../../../schemas/ports.ts'
import { createProducer, type ProducerOptions } from '../../../../infra/endpoints/simulator/producer.ts'
import { seededRandom } from '../../../../infra/endpoints/simulator/seeded-random.ts'
import { createVirtualClock } from '../../../fakes/virtual-clock.ts'
import { testCodecs } from '../../../helpers/codecs.ts'

const codecs = testCodecs()
const TRACE = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const telemetry: Telemetry = {
  count: () => {},
  record: () => {},
  gauge: () => {},
  log: () => {},
  span: () => ({ carrier: { traceparent: TRACE }, set: () => {}, end: () => {} }),
}

function desk(more: Partial<ProducerOptions> = {}) {
  const clock = createVirtualClock()
  const sent: OutRecord[] = []
  const problems: unknown[] = []
  const log = {
    send: async (records: readonly OutRecord[]) => {
      sent.push(...records)
      return records.map((r, i) => ({ topic: r.topic, partition: 0, offset: BigInt(i) }))
    },
    close: async () => {},
  }
  const producer = createProducer({
    log,
    topicPrefix: 'x.',
    codecs,
    telemetry,
    clock,
    random: seededRandom(1),
    scrapeMs: 1000,
    requestsPerS: 20,
    models: [{ model: 'llama', api: 'openai' }],
    tenants: ['a'],
    script: { unknownModelEvery: 0, expiredEvery: 0, duplicateEvery: 10 },
    scrape: (ms) => [{ host: 'tray-01', topic: 'telemetry.dcgm', text: `at ${ms}` }],
    onProblem: (error) => problems.push(error),
    ...more,
  })
  return { clock, sent, problems, producer }
}
const of = (sent: readonly OutRecord[], topic: string): OutRecord[] => sent.filter((r) => r.topic === topic)

test('producer: scrapes and requests come at their rates under the prefix, keyed by host and id, with a trace', async (t) => {
  const { clock, sent, producer } = desk()
  producer.start()
  await clock.advance(5000)
  t.deepEqual(
    of(sent, 'x.telemetry.dcgm')
      .map((r) => [r.key?.toString(), r.value?.toString()])
      .slice(0, 2),
    [
      ['tray-01', 'at 0'],
      ['tray-01', 'at 1000'],
    ],
  )
  const requests = of(sent, 'x.inference.requests')
  const { ids } = producer.stats()
  t.true(Math.abs(ids - 100) <= 2, String(ids))
  t.is(producer.stats().requests, requests.length)
  t.is(requests.length - ids, Math.floor(ids / 10))
  for (const r of requests) {
    t.is(codecs.decode('InferenceRequest', r.value as Buffer).id, String(r.key))
    t.deepEqual(
      r.headers?.map(([name, value]) => [name, value.toString()]),
      [['traceparent', TRACE]],
    )
  }
  await producer.stop()
})

test('producer: nothing is sent once stop has resolved', async (t) => {
  const { clock, sent, producer } = desk()
  producer.start()
  await clock.advance(1000)
  await producer.stop()
  const before = sent.length
  await clock.advance(5000)
  t.is(sent.length, before)
  t.is(clock.timers(), 0)
})

test('producer: a refused append is reported, not counted, and the loop goes on', async (t) => {
  let isDown = true
  const ok = desk()
  const { clock, problems, producer } = desk({
    log: {
      send: async (records) => {
        if (isDown) throw new Error('down')
        return records.map((r) => ({ topic: r.topic, partition: 0, offset: 0n }))
      },
      close: async () => {},
    },
  })
  t.is(ok.problems.length, 0)
  producer.start()
  await clock.advance(2000)
  t.deepEqual(producer.stats(), { requests: 0, ids: 0, scrapes: 0 })
  t.true(problems.length > 2)
  isDown = false
  await clock.advance(2000)
  t.true(producer.stats().ids > 10 && producer.stats().scrapes >= 1)
  await producer.stop()
})
