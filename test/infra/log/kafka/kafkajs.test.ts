import { createRequire } from 'node:module'
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import fc from 'fast-check'
import test from 'ava'
import { createClient, decodeAssignment, readFetched, type FetchedPartition } from '../../../../infra/log/kafka/kafkajs.ts'
import { fetchedRecord } from '../../../fakes/fetched-record.ts'

const require = createRequire(import.meta.url)
const Connection = require('kafkajs/src/network/connection') as new (options: object) => { connect(): Promise<unknown>; disconnect(): Promise<unknown> }
const RequestQueue = require('kafkajs/src/network/requestQueue') as new (options: object) => {
  scheduleCheckPendingRequests(): void
  throttleCheckTimeoutId: unknown
  destroy(): void
}

test('kafkajs: an idle connection schedules no timer at all; with something pending it does (upstream #1751)', (t) => {
  const queue = new RequestQueue({
    instrumentationEmitter: null,
    maxInFlightRequests: null,
    requestTimeout: 1000,
    enforceRequestTimeout: false,
    clientId: 'c',
    broker: 'b',
    logger: { namespace: () => ({}) },
  })
  queue.scheduleCheckPendingRequests()
  t.falsy(queue.throttleCheckTimeoutId)
  Object.assign(queue, { pending: [{}] })
  queue.scheduleCheckPendingRequests()
  t.truthy(queue.throttleCheckTimeoutId)
  clearTimeout(queue.throttleCheckTimeoutId as NodeJS.Timeout)
})

test('kafkajs: control records and compacted gaps move the position and are not handed over', (t) => {
  const message = (offset: number, isControlBatch: boolean) => fetchedRecord(BigInt(offset), {}, { firstOffset: '5', lastOffsetDelta: 9, isControlBatch })
  const partition = {
    partition: 0,
    highWatermark: '20',
    lastStableOffset: '20',
    abortedTransactions: [],
    messages: [message(5, false), message(7, true)],
  } as unknown as FetchedPartition
  const read = readFetched(5n, partition)
  t.deepEqual(
    read?.messages.map((m) => m.offset),
    ['5'],
  )
  t.is(read?.readTo, 15n)
  t.is(readFetched(5n, { ...partition, messages: [] }), null)
})

test('kafkajs: an address that accepts and closes, as a proxy before a dead broker does, makes the client ask the others of the list', async (t) => {
  const asked = [0, 0, 0]
  const servers = await Promise.all(
    asked.map(async (_, i) => {
      const server = createServer((socket) => {
        asked[i] = (asked[i] ?? 0) + 1
        socket.end()
      })
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return server
    }),
  )
  const brokers = servers.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`)
  await t.throwsAsync(
    createClient({ brokers, clientId: 'c' })
      .admin({ retry: { initialRetryTime: 1, retries: 5 } })
      .connect(),
    { name: 'KafkaJSNumberOfRetriesExceeded' },
  )
  t.true(
    asked.every((times) => times > 0),
    `asked ${asked.join(', ')} times`,
  )
  for (const server of servers) server.close()
})

test('kafkajs: an empty assignment is no partitions, never a crash', (t) => {
  t.deepEqual(decodeAssignment(Buffer.alloc(0)), {})
})

test('kafkajs: the client takes its connection as given and says nothing by itself', (t) => {
  t.truthy(createClient({ brokers: ['127.0.0.1:1'], clientId: 'c', connectionTimeoutMs: 5 }).admin())
})

test('kafkajs: of any transactions that overlap, what was aborted is never handed over and all else is, wherever the fetch begins; no key is taken for a marker', (t) => {
  const step = fc.record({
    producer: fc.integer({ min: 0, max: 3 }),
    does: fc.constantFrom('send', 'send', 'commit', 'abort', 'plain'),
    key: fc.constantFrom(null, Buffer.alloc(4)),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), fc.nat(30), (steps, from) => {
      type Message = { offset: string; producerId: string; isControlRecord: boolean; inTransaction: boolean; key: Buffer | null }
      const log: Message[] = []
      const open = new Map<number, number[]>()
      const hidden = new Set<number>()
      // As the broker lists them: in the order in which they ended.
      const abortedTransactions: { producerId: string; firstOffset: string }[] = []
      for (const { producer, does, key } of steps) {
        const offset = log.length
        const ours = open.get(producer)
        const append = (more: Partial<Message>) => log.push({ offset: String(offset), producerId: String(producer), isControlRecord: false, inTransaction: true, key, ...more })
        if (does === 'plain') append({ producerId: '-1', inTransaction: false })
        else if (does === 'send') {
          append({})
          open.set(producer, [...(ours ?? []), offset])
        } else if (ours !== undefined) {
          append({ isControlRecord: true, key: Buffer.from([0, 0, 0, does === 'abort' ? 0 : 1]) })
          open.delete(producer)
          if (does === 'commit') continue
          for (const o of ours) hidden.add(o)
          if ((ours.at(-1) as number) >= from) abortedTransactions.push({ producerId: String(producer), firstOffset: String(ours[0]) })
        }
      }
      const messages = log
        .slice(Math.max(0, from - 5))
        .map(({ offset, producerId, isControlRecord, inTransaction, key }) =>
          fetchedRecord(BigInt(offset), { key }, { firstOffset: offset, producerId, inTransaction, isControlBatch: isControlRecord }),
        )
      const read = readFetched(BigInt(from), { messages, abortedTransactions } as unknown as FetchedPartition)
      const expected = log.filter((m) => Number(m.offset) >= from && !m.isControlRecord && !hidden.has(Number(m.offset))).map((m) => m.offset)
      t.deepEqual(read?.messages.map((m) => m.offset) ?? [], expected)
    }),
  )
})

test('kafkajs: two requests that find a connection closed open it once, or a socket would never be closed', async (t) => {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const quiet = (): void => {}
  const logger = { namespace: () => ({ debug: quiet, error: quiet, info: quiet, warn: quiet }) }
  const opened: Socket[] = []
  const socketFactory = ({ host, port, onConnect }: { host: string; port: number; onConnect: () => void }): Socket => {
    const socket = createConnection({ host, port }, onConnect)
    opened.push(socket)
    return socket
  }
  const connection = new Connection({ host: '127.0.0.1', port: (server.address() as AddressInfo).port, socketFactory, logger, connectionTimeout: 5000, requestTimeout: 5000 })
  await Promise.all([connection.connect(), connection.connect()])
  await connection.disconnect()
  const atOnce = opened.length
  // Closed and opened anew: the first attempt is not taken for the second.
  await connection.connect()
  await connection.disconnect()
  for (const socket of opened) socket.destroy()
  await new Promise((resolve) => server.close(resolve))
  t.is(atOnce, 1)
  t.is(opened.length, 2)
})
