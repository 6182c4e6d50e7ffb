/**
 * `EndpointCall` over undici: one HTTP/1.1 request, bytes in, bytes out.
 *
 * Owns: connections (keep-alive, a pool per origin), the total time of a call, the size cap, abort, and the mapping of every ending to an outcome. It
 * never rejects. `not-sent` is said only where no connection came to be (R4: repeating is safe); a reset of a connection that was used before may
 * have carried the request, so it is `failed`. Redirects are not followed.
 */
import { Agent, type Dispatcher } from 'undici'
import type { EndpointCall, EndpointOutcome, EndpointRequest } from '../../schemas/ports.ts'

export interface HttpCallOptions {
  readonly connectTimeoutMs?: number
  readonly connectionsPerOrigin?: number
}

export interface HttpCall {
  readonly call: EndpointCall
  /** Destroys connections; calls in flight end as `failed`. */
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 2000
const CONNECTIONS_MAX = 1024
const NOT_SENT = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EADDRNOTAVAIL',
  'UND_ERR_CONNECT_TIMEOUT',
  'ERR_INVALID_URL',
  'UND_ERR_INVALID_ARG',
])

function codeOf(thrown: unknown): string {
  if (thrown instanceof AggregateError && thrown.errors.length > 0) return codeOf(thrown.errors[0])
  const code = (thrown as { code?: unknown } | null)?.code
  if (typeof code === 'string') return code
  return thrown instanceof Error ? thrown.name : 'unknown'
}

function plainHeaders(headers: Dispatcher.ResponseData['headers']): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (value === undefined ? [] : [[name.toLowerCase(), Array.isArray(value) ? value.join(', ') : value]])),
  )
}

/** What is known of a call so far. */
interface Progress {
  firstByteMs: number | null
  responseBytes: number
}

async function exchange(agent: Agent, request: EndpointRequest, signal: AbortSignal, startMs: number, progress: Progress): Promise<EndpointOutcome> {
  const url = new URL(request.url)
  const response = await agent.request({
    origin: url.origin,
    path: url.pathname + url.search,
    method: request.method,
    headers: request.headers,
    body: request.body,
    signal,
    // The signal carries the one total; undici's own timers would cut it differently.
    headersTimeout: 0,
    bodyTimeout: 0,
  })
  progress.firstByteMs = performance.now() - startMs
  progress.responseBytes = 1 // a status line at least
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response.body as AsyncIterable<Buffer>) {
    bytes += chunk.length
    progress.responseBytes = bytes
    if (bytes > request.responseBytesMax) return { kind: 'too-large', responseBytes: bytes }
    chunks.push(chunk)
  }
  return {
    kind: 'answered',
    status: response.statusCode,
    headers: plainHeaders(response.headers),
    body: Buffer.concat(chunks),
    firstByteMs: progress.firstByteMs,
    totalMs: performance.now() - startMs,
  }
}

/** Opens nothing yet; connections come with the first call to an origin. */
export function createHttpCall(options: HttpCallOptions = {}): HttpCall {
  const agent = new Agent({
    allowH2: false,
    pipelining: 1,
    connections: options.connectionsPerOrigin ?? CONNECTIONS_MAX,
    connect: { timeout: options.connectTimeoutMs ?? CONNECT_TIMEOUT_MS },
  })
  const call: EndpointCall = async (request) => {
    if (request.signal.aborted) return { kind: 'aborted' }
    if (!(request.timeoutMs > 0)) return { kind: 'timed-out' }
    const startMs = performance.now()
    const total = new AbortController()
    const timer = setTimeout(() => total.abort(), Math.min(request.timeoutMs, 2 ** 31 - 1))
    const progress: Progress = { firstByteMs: null, responseBytes: 0 }
    try {
      return await exchange(agent, request, AbortSignal.any([request.signal, total.signal]), startMs, progress)
    } catch (thrown) {
      if (request.signal.aborted) return { kind: 'aborted' }
      if (total.signal.aborted) return { kind: 'timed-out' }
      const reason = codeOf(thrown)
      if (NOT_SENT.has(reason) && progress.firstByteMs === null) return { kind: 'not-sent', reason }
      // What cannot be read as HTTP was an answer of some kind: a byte of it did arrive.
      const isMalformed = reason === 'HTTPParserError' || reason.startsWith('HPE_')
      return { kind: 'failed', reason, responseBytes: Math.max(progress.responseBytes, isMalformed ? 1 : 0) }
    } finally {
      clearTimeout(timer)
    }
  }
  return { call, close: () => agent.destroy() }
}
