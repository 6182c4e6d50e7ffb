import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import test from 'ava'
import { until } from '../helpers/until.ts'
import { startProxy } from './proxy.ts'

interface Echo {
  readonly server: Server
  readonly port: number
}

async function echo(): Promise<Echo> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.pipe(socket)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return { server, port: (server.address() as AddressInfo).port }
}

function client(port: number): { readonly socket: Socket; heard: string; isClosed: boolean } {
  const socket = connect({ host: '127.0.0.1', port })
  const state = { socket, heard: '', isClosed: false }
  socket.on('data', (chunk) => (state.heard += String(chunk)))
  socket.on('error', () => {})
  socket.on('close', () => (state.isClosed = true))
  return state
}

test('chaos proxy: bytes go both ways; nobody is let in before it knows where to', async (t) => {
  const { server, port } = await echo()
  const proxy = await startProxy()
  const early = client(proxy.port)
  await until(() => early.isClosed)
  proxy.forwardTo(port)
  const one = client(proxy.port)
  one.socket.write('hello')
  await until(() => one.heard === 'hello')
  t.is(proxy.connections(), 1)
  await proxy.close()
  await until(() => one.isClosed)
  server.close()
  t.pass()
})

test('chaos proxy: while its broker is dead nobody listens, and afterwards on the same port again', async (t) => {
  const { server, port } = await echo()
  const proxy = await startProxy()
  proxy.forwardTo(port)
  const open = client(proxy.port)
  open.socket.write('a')
  await until(() => open.heard === 'a')
  await proxy.withdraw()
  await until(() => open.isClosed)
  const refused = client(proxy.port)
  let code: string | undefined
  refused.socket.once('error', (error: NodeJS.ErrnoException) => (code = error.code))
  await until(() => refused.isClosed)
  t.is(code, 'ECONNREFUSED')
  await proxy.offer()
  const again = client(proxy.port)
  again.socket.write('b')
  await until(() => again.heard === 'b')
  await proxy.close()
  server.close()
})

test('chaos proxy: a reset network ends what is open and refuses what is new until it heals', async (t) => {
  const { server, port } = await echo()
  const proxy = await startProxy()
  proxy.forwardTo(port)
  const open = client(proxy.port)
  open.socket.write('a')
  await until(() => open.heard === 'a')
  proxy.cut('reset')
  await until(() => open.isClosed)
  const refused = client(proxy.port)
  await until(() => refused.isClosed)
  proxy.heal()
  const again = client(proxy.port)
  again.socket.write('b')
  await until(() => again.heard === 'b')
  t.is(open.heard, 'a')
  await proxy.close()
  server.close()
})

test('chaos proxy: a silent network ends nothing and forwards nothing; healed, what was sent meanwhile arrives', async (t) => {
  const { server, port } = await echo()
  const proxy = await startProxy()
  proxy.forwardTo(port)
  const open = client(proxy.port)
  open.socket.write('a')
  await until(() => open.heard === 'a')
  proxy.cut('silence')
  open.socket.write('b')
  const fresh = client(proxy.port)
  fresh.socket.write('c')
  await until(() => proxy.connections() === 2)
  // A proxy that still forwarded would have echoed by the time that another connection had gone round.
  const beside = client(port)
  beside.socket.write('d')
  await until(() => beside.heard === 'd')
  t.deepEqual([open.heard, open.isClosed, fresh.heard, fresh.isClosed], ['a', false, '', false])
  proxy.heal()
  await until(() => open.heard === 'ab' && fresh.heard === 'c')
  beside.socket.destroy()
  await proxy.close()
  server.close()
})
