import test from 'ava'
import type { Committed, LogDriver, LogProducer, LogReader } from '../../schemas/log.ts'
import { defineFunction, type AnyFunction, type CombineFunction, type FoldFunction } from '../../streams/define-function.ts'
import { createCombineProcessor } from '../../streams/combine.ts'
import { openPartition } from '../../streams/open-partition.ts'
import { createPartitionSink } from '../../streams/partition-sink.ts'
import { createPlaces } from '../../streams/places.ts'
import { codecs, partitionWorld, settle } from '../helpers/partition-environment.ts'
import { record } from '../helpers/records.ts'

const state = defineFunction<FoldFunction<string, number>>({
  kind: 'fold',
  name: 'f',
  inputs: ['in'],
  outputs: ['state'],
  stateTopic: 'state',
  statesMax: 10,
  decode: () => '',
  keyOf: (_v, r) => r.key?.toString() ?? '',
  initial: () => 0,
  fold: (s, _v, r) => [s + 1, [{ to: 'topic', topic: 'state', key: r.key, value: Buffer.from(String(s + 1)) }]],
  restore: (row) => ({ key: row.key?.toString() ?? '', merge: () => Number(row.value) }),
})

function world(definition: AnyFunction, committed: Committed | null = null) {
  const w = partitionWorld()
  const order: string[] = []
  const reader = {
    open: (options: { topic: string; committedOnly: boolean }) => {
      order.push(`read ${options.topic} ${options.committedOnly}`)
      const records = [record(0, { topic: options.topic, key: 'k', value: '41' })]
      return Promise.resolve({
        caughtUp: Promise.resolve(),
        close: () => Promise.resolve(),
        async *[Symbol.asyncIterator]() {
          yield { topic: options.topic, partition: 0, records, readTo: 1n }
        },
      })
    },
  } as unknown as LogReader
  const driver = {
    fencedProducer: (name: string) => {
      order.push(`open ${name}`)
      return Promise.resolve({
        transaction: (records: readonly { topic: string; value: Buffer | null }[]) => {
          order.push(`write ${records.map((r) => `${r.topic}=${r.value?.toString()}`).join()}`)
          return Promise.resolve([])
        },
        close: () => Promise.resolve(),
      })
    },
  } as unknown as LogDriver
  const producer: LogProducer = w.producer
  const opened = openPartition({
    parts: {
      definition,
      context: { site: 's', codecs, nowMs: () => 0 },
      driver,
      producer,
      reader,
      topicPrefix: 'p.',
      partitionsOf: new Map(),
      aligned: null,
      places: createPlaces(1, () => undefined),
      hash: (text) => text,
      ready: Promise.resolve(),
    },
    environment: w.environment,
    topic: 'in',
    partition: 3,
    committed,
    logStart: 5n,
    abort: w.abort,
    sink: createPartitionSink({ environment: w.environment, producer, topicPrefix: 'p.', partitionsOf: new Map(), signal: w.abort.signal }),
    endOffset: () => null,
    prove: () => (order.push('prove'), Promise.resolve()),
  })
  return { w, order, opened }
}

test('open partition: a fold opens its fenced producer before it reads its state, and proves ownership before it writes (C8)', async (t) => {
  const { order, opened } = world(state)
  const { running, nextOffset } = await opened
  t.is(nextOffset, 'start')
  t.is(running.status().position, 5n)
  running.take([record(5, { key: 'k', value: 'x' })], 6n)
  await settle()
  t.deepEqual(order, ['open p.f.in.3', 'read p.state true', 'prove', 'write p.state=42'])
})

test('open partition: how long the state of a fold took to rebuild is measured, of nothing else', async (t) => {
  for (const [definition, expected] of [
    [state, [['sluice.state.restore.duration', 'f', '3']]],
    [total, []],
  ] as const) {
    const { w, opened } = world(definition)
    await opened
    t.deepEqual(
      w.measured.map(({ name, attributes }) => [name, attributes?.['function'], attributes?.['messaging.destination.partition.id']]),
      expected.map((one) => [...one]),
    )
  }
})

const total = defineFunction<CombineFunction<string>>({
  kind: 'combine',
  name: 'c',
  inputs: ['in'],
  outputs: ['windows'],
  windowMs: 10,
  decode: () => ({
    kind: 'marker',
    functionName: 'w',
    sourcePartition: 0,
    partitionCount: 1,
    closedThroughMs: 10,
    readThrough: 0n,
    neededFrom: 0n,
    suspectMs: -1,
    parametersHash: '',
  }),
  result: (key) => ({ to: 'topic', topic: 'windows', key, value: null }),
})

test('open partition: metadata that cannot be read counts as lost: the partition is read back, never begun empty (W6)', async (t) => {
  const whole = createCombineProcessor(total, { topic: 'in', partition: 3, context: { codecs, site: 's' } }).checkpoint().metadata
  for (const [metadata, expected] of [
    ['', ['read p.in true']],
    ['written by a tool', ['read p.in true']],
    [whole.slice(0, -2), ['read p.in true']],
    [whole, []],
  ] as const) {
    const { order, opened } = world(total, { nextOffset: 5n, metadata })
    await opened
    t.deepEqual(order, [...expected], metadata)
  }
})
