import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import fc from 'fast-check'
import test, { type ExecutionContext } from 'ava'
import { answersOf, connectSocket, ForeignAnswer } from '../../../../infra/log/kafka/socket.ts'
import { until } from '../../../helpers/until.ts'

const answer = (body: Uint8Array): Buffer => {
  const length = Buffer.alloc(4)
  length.writeInt32BE(body.length)
  return Buffer.concat([length, body])
}

test('kafka socket: answers come whole and alone, wherever the reads cut them', (t) => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }), fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }), (bodies, cuts) => {
      const sent = Buffer.concat(bodies.map(answer))
      const taken: Buffer[] = []
      const take = answersOf((whole) => taken.push(whole))
      for (let at = 0, i = 0; at < sent.length; i++) {
        const to = at + (cuts[i % cuts.length] as number)
        // What was read is overwritten by the next read.
        const read = Buffer.from(sent.subarray(at, to))
        take(read)
        read.fill(0xee)
        at = to
      }
      t.deepEqual(taken, bodies.map(answer))
    }),
  )
})

test('kafka socket: what no length can be is said to be HTTP, TLS, or none of Kafka, before anything is kept for it', (t) => {
  for (const [bytes, code] of [
    [Buffer.from('HTTP/1.1 400 Bad Request'), 'FOREIGN_HTTP'],
    [Buffer.from([0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46]), 'FOREIGN_TLS'],
    [Buffer.from('SSH-2.0-OpenSSH_9.6'), 'FOREIGN_BYTES'],
    [Buffer.from([0xff, 0xff, 0xff, 0xff]), 'FOREIGN_BYTES'],
  ] as const)
    t.is(t.throws(() => answersOf(() => t.fail())(bytes), { instanceOf: ForeignAnswer })?.code, code)
})

test('kafka socket: the same in the middle of a connection is an error of that connection, which is tried again', (t) => {
  const take = answersOf(() => {})
  take(answer(Buffer.from('whole')))
  const error = t.throws(() => take(Buffer.from('HTTP/1.1')), { instanceOf: RangeError })
  t.false(error instanceof ForeignAnswer)
})

async function served(t: ExecutionContext, serve: (socket: Socket) => void): Promise<{ readonly socket: Socket; readonly data: Buffer[]; readonly errors: Error[] }> {
  const server: Server = createServer((socket) => {
    socket.on('error', () => {})
    serve(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const [data, errors]: [Buffer[], Error[]] = [[], []]
  const socket = await new Promise<Socket>((resolve) => {
    // By name: Node tries every address of it.
    const made = connectSocket({ host: 'localhost', port: (server.address() as AddressInfo).port, ssl: null as never, onConnect: () => resolve(made) })
    made.on('data', (chunk: Buffer) => data.push(chunk))
    made.on('error', (error) => errors.push(error))
  })
  t.teardown(() => {
    socket.destroy()
    server.close()
  })
  return { socket, data, errors }
}

test('kafka socket: large and small answers of several connections at once, each in memory of its own', async (t) => {
  const bodies = [1, 100, 3_000_000, 0, 70_000].map((length, i) => Buffer.alloc(length, i + 1))
  const both = await Promise.all([0, 1].map(() => served(t, (socket) => bodies.forEach((body) => socket.write(answer(body))))))
  for (const { data } of both) await until(() => data.length === bodies.length, 5000)
  for (const { data } of both) t.true(data.every((whole, i) => whole.equals(answer(bodies[i] as Buffer))))
})

test('kafka socket: an answer that is cut off by the end of its connection is never handed over', async (t) => {
  const { socket, data } = await served(t, (peer) => {
    peer.write(answer(Buffer.from('whole')))
    peer.end(answer(Buffer.from('torn')).subarray(0, 6))
  })
  await new Promise((resolve) => socket.once('close', resolve))
  t.deepEqual(data, [answer(Buffer.from('whole'))])
})

test('kafka socket: a foreign answer ends the connection with what it is', async (t) => {
  const { errors, socket } = await served(t, (peer) => peer.write('HTTP/1.1 200 OK\r\n\r\n'))
  await until(() => socket.destroyed && errors.length > 0, 5000)
  t.is((errors[0] as ForeignAnswer).code, 'FOREIGN_HTTP')
})
