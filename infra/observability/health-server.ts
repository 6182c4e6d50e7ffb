/**
 * Liveness and readiness over HTTP (operations.md §7): `/live` and `/ready`, the reason in the answer.
 *
 * Owns: two routes on one listener, bound where the site says. Nothing else is served, nothing is changed.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SluiceError } from '../../schemas/errors.ts'

export interface HealthServer {
  readonly url: string
  close(): Promise<void>
}

/** `reasons` = why the process is not ready; empty = ready. Rejects with SLU_ENV_PORT. */
export async function startHealthServer(listen: string, reasons: () => readonly string[]): Promise<HealthServer> {
  const at = listen.lastIndexOf(':')
  const host = listen.slice(0, at).replace(/^\[|\]$/g, '')
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0]
    const why = path === '/ready' ? reasons() : []
    const status = path === '/live' || path === '/ready' ? (why.length === 0 ? 200 : 503) : 404
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    response.end(`${JSON.stringify({ status: status === 200 ? 'ok' : status === 404 ? 'no such page' : 'not ready', reasons: why })}\n`)
  })
  server.requestTimeout = 5000
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new SluiceError('SLU_ENV_PORT', `observability.health.listen ${listen}`, cause)))
    server.listen(Number(listen.slice(at + 1)), host, resolve)
  })
  return {
    url: `http://${host}:${(server.address() as AddressInfo).port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
