import { createServer as createTcpServer, type AddressInfo, type Server } from 'node:net'
import { createServer, type RequestListener } from 'node:http'
import test from 'ava'
import { createHttpCall } from '../../../infra/endpoints/http-call.ts'
import type { EndpointOutcome } from '../../../schemas/ports.ts'

async function ask(server: Server | null, more: { timeoutMs?: number; signal?: AbortSignal } = {}): Promise<EndpointOutcome> {
  let port = 1
  if (server !== null) {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as AddressInfo).port
  }
  const http = createHttpCall()
  const request = {
    url: `http://127.0.0.1:${port}/v1/x?y=1`,
    method: 'POST' as const,
    headers: { a: 'b' },
    body: Buffer.from('hi'),
    timeoutMs: 5000,
    signal: new AbortController().signal,
    responseBytesMax: 1000,
  }
  const outcome = await http.call({ ...request, ...more })
  await http.close()
  server?.close()
  return outcome
}
const serve = (listener: RequestListener): Server => createServer(listener)

test('http call: an answer comes with status, headers and exact bytes; a 429 keeps Retry-After', async (t) => {
  const outcome = await ask(serve((request, response) => response.writeHead(429, { 'Retry-After': '7' }).end(`${request.method} ${request.url} ${String(request.headers['a'])}`)))
  t.like(outcome, { kind: 'answered', status: 429, body: Buffer.from('POST /v1/x?y=1 b') })
  t.is(outcome.kind === 'answered' && outcome.headers['retry-after'], '7')
})

test('http call: a refused connection is not-sent; a reset after the request is failed, never not-sent (R4)', async (t) => {
  t.is((await ask(null)).kind, 'not-sent')
  t.like(await ask(serve((request) => request.socket.destroy())), { kind: 'failed', responseBytes: 0 })
})

test('http call: a short or reset body and invalid HTTP are failed with bytes, never an answer', async (t) => {
  const short = await ask(serve((_, response) => response.writeHead(200, { 'content-length': '50' }).write('abc', () => response.destroy())))
  t.true(short.kind === 'failed' && short.responseBytes > 0)
  const invalid = await ask(createTcpServer((socket) => socket.on('error', () => {}).once('data', () => socket.end('no http at all\r\n\r\n'))))
  t.true(invalid.kind === 'failed' && invalid.responseBytes > 0)
})

test('http call: a server that hangs or drips ends at the total time', async (t) => {
  t.is(
    (
      await ask(
        serve(() => {}),
        { timeoutMs: 100 },
      )
    ).kind,
    'timed-out',
  )
  const drip = serve((_, response) => {
    const timer = setInterval(() => response.write('x'), 20)
    response.on('close', () => clearInterval(timer))
  })
  t.is((await ask(drip, { timeoutMs: 150 })).kind, 'timed-out')
})

test('http call: a huge answer is cut off, an abort ends the call', async (t) => {
  t.is((await ask(serve((_, response) => response.end('x'.repeat(100_000))))).kind, 'too-large')
  const abort = new AbortController()
  t.is(
    (
      await ask(
        serve(() => abort.abort()),
        { signal: abort.signal },
      )
    ).kind,
    'aborted',
  )
})
