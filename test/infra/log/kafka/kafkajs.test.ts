import { createRequire } from 'node:module'
import { createConnection, createServer, type AddressInfo, type Socket } from 'node:net'
import test from 'ava'
import { createClient, decodeAssignment } from '../../../../infra/log/kafka/kafkajs.ts'

const require = createRequire(import.meta.url)
const Connection = require('kafkajs/src/network/connection') as new (options: object) => {
  connect(): Promise<unknown>
  disconnect(): Promise<unknown>
  processData(answer: Buffer): void
  requestQueue: object
}
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

test('kafkajs: an answer that comes whole is taken as it is, never copied, also behind another', (t) => {
  const quiet = (): void => {}
  const logger = { namespace: () => ({ debug: quiet, error: quiet, info: quiet, warn: quiet }) }
  const connection = new Connection({ host: '127.0.0.1', port: 1, logger, connectionTimeout: 1, requestTimeout: 1 })
  const taken: Buffer[] = []
  connection.requestQueue = { fulfillRequest: ({ payload }: { payload: Buffer }) => taken.push(payload) }
  const answers = [1, 2, 3].map((id) => {
    const answer = Buffer.allocUnsafeSlow(10)
    answer.set([0, 0, 0, 6, 0, 0, 0, id, 7, id])
    return answer
  })
  for (const answer of answers) connection.processData(answer)
  t.deepEqual(
    taken,
    [1, 2, 3].map((id) => Buffer.from([7, id])),
  )
  for (const [i, payload] of taken.entries()) t.is(payload.buffer, answers[i]?.buffer as ArrayBuffer)
})
