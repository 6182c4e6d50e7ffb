/**
 * Liveness, readiness and status over HTTP (operations.md §7): `/live`, `/ready` with the reason in the answer, `/status` for `sluice ps`.
 *
 * Owns: three routes on one listener, bound where the site says. Nothing else is served, nothing is changed.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SluiceError } from '../../schemas/errors.ts'

export interface HealthServer {
  readonly url: string
  close(): Promise<void>
}

export interface HealthFacts {
  /** Why the process is not ready; empty = ready. */
  reasons(): readonly string[]
  /** The document of `/status`. Holds no contents of records. */
  status(): unknown
}

/** JSON with offsets as numbers, as text beyond 2^53. */
const toJson = (document: unknown): string =>
  JSON.stringify(document, (_key, value: unknown) => (typeof value === 'bigint' ? (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : String(value)) : value))

/** Rejects with SLU_ENV_PORT. */
export async function startHealthServer(listen: string, facts: HealthFacts): Promise<HealthServer> {
  const at = listen.lastIndexOf(':')
  const host = listen.slice(0, at).replace(/^\[|\]$/g, '')
  const server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0]
    if (path === '/status') {
      response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' })
      response.end(`${toJson(facts.status())}\n`)
      return
    }
    const why = path === '/ready' ? facts.reasons() : []
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
