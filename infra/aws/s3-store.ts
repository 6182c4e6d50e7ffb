/**
 * S3 as a destination (egress.md §7), over `@aws-sdk/client-s3`.
 *
 * Owns: one PUT and one HEAD, and what their answers mean. Buffers only, SHA-256 of the body as checksum, `If-None-Match: *`, expected owner;
 * one attempt per call (retries are the gate's, each with a fresh check); connect and total deadlines; an explicit endpoint, path style.
 * Off: configured endpoint URLs, ARNs, multi-region access points, region redirects, acceleration, proxies. The SDK follows no redirect.
 * Before signing, everything that names versions, hosts or attempts is removed (E32); after signing, the pin compares method, URL, exact
 * header set and body with what was asked (E16), and nothing stands between it and the wire but the SDK's own handler.
 * Neither call rejects. Refused, expired, another owner, a redirect: `hold`, never drop (E17, E23). Unreachable, throttled, 5xx: `retry`.
 */
import { createHash } from 'node:crypto'
import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { HeadObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import type { HeadOutcome, ObjectStore, PutOutcome } from '../../schemas/ports.ts'

export interface S3StoreOptions {
  readonly name: string
  /** Scheme, host and port; nothing else. */
  readonly endpoint: string
  readonly region: string
  readonly bucket: string
  /** Twelve digits. */
  readonly expectedOwner: string
  readonly credentials: () => { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken?: string }
  /** Defaults 2,000 and 10,000. */
  readonly connectTimeoutMs?: number
  readonly totalTimeoutMs?: number
}

/** The SDK's middleware at the finalize step, as far as it is used here. */
type Handler = (args: { readonly input: object; readonly request: unknown }) => Promise<unknown>
type Finalize = (next: Handler) => Handler
interface FinalizeStack {
  addRelativeTo(middleware: Finalize, where: { readonly name: string; readonly relation: 'before' | 'after'; readonly toMiddleware: string }): void
}

interface WireRequest {
  method: string
  protocol: string
  hostname: string
  port?: number
  path: string
  query?: Record<string, unknown>
  headers: Record<string, string>
  body?: unknown
}

const USER_AGENT = 'sluice'
const OBJECT_BYTES_MAX = 1 << 20
const BUCKET = /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/

/** Removed before signing: they tell of this machine and of attempts. */
const TELLING = ['x-amz-user-agent', 'amz-sdk-invocation-id', 'amz-sdk-request', 'x-amzn-trace-id', 'traceparent', 'tracestate', 'expect']
/** (E32) Exactly these leave, besides the session token of temporary credentials. */
const COMMON = ['authorization', 'host', 'user-agent', 'x-amz-content-sha256', 'x-amz-date', 'x-amz-expected-bucket-owner']
const HEADERS: Readonly<Record<string, ReadonlySet<string>>> = {
  PUT: new Set([...COMMON, 'content-length', 'content-type', 'if-none-match', 'x-amz-checksum-sha256', 'x-amz-sdk-checksum-algorithm']),
  HEAD: new Set([...COMMON, 'x-amz-checksum-mode']),
}

interface Asked {
  readonly key: string
  /** Null = HEAD. */
  readonly body: Buffer | null
}

class PinError extends Error {}

/** Throws PinError unless the request is exactly the one asked for. */
function assertPinned(request: WireRequest, endpoint: URL, bucket: string, asked: Asked): void {
  const wrong = (what: string): never => {
    throw new PinError(`the request was changed on its way: ${what}`)
  }
  const expected = HEADERS[request.method] ?? wrong('method')
  if ((asked.body === null) !== (request.method === 'HEAD')) wrong('method')
  const port = request.port === undefined ? '' : String(request.port)
  if (request.protocol !== endpoint.protocol || request.hostname !== endpoint.hostname || port !== endpoint.port) wrong('host')
  if (request.path !== `/${bucket}/${asked.key}`) wrong('path')
  const query = Object.keys(request.query ?? {}).filter((k) => k !== 'x-id')
  if (query.length > 0) wrong('query')
  const names = Object.keys(request.headers).map((h) => h.toLowerCase())
  for (const h of names) if (!expected.has(h) && h !== 'x-amz-security-token') wrong(`header ${h}`)
  for (const h of expected) if (!names.includes(h)) wrong(`no header ${h}`)
  const value = (header: string): string | undefined => request.headers[Object.keys(request.headers).find((h) => h.toLowerCase() === header) ?? '']
  if (value('user-agent') !== USER_AGENT) wrong('user agent')
  if (asked.body === null) return
  const body = request.body
  if (!(body instanceof Uint8Array) || !Buffer.from(body.buffer, body.byteOffset, body.byteLength).equals(asked.body)) wrong('body')
  const digest = createHash('sha256').update(asked.body).digest()
  if (value('x-amz-checksum-sha256') !== digest.toString('base64')) wrong('checksum')
  if (value('x-amz-content-sha256') !== digest.toString('hex')) wrong('signed payload hash')
}

const quiet: Finalize = (next) => (args) => {
  const request = args.request as WireRequest
  for (const header of Object.keys(request.headers)) if (TELLING.includes(header.toLowerCase())) delete request.headers[header]
  request.headers['user-agent'] = USER_AGENT
  return next(args)
}

interface Failure {
  readonly name: string
  readonly status: number | null
  readonly code: string
}

function failureOf(error: unknown): Failure {
  const e = error as { name?: unknown; code?: unknown; $metadata?: { httpStatusCode?: unknown } } | null
  const status = e?.$metadata?.httpStatusCode
  return { name: typeof e?.name === 'string' ? e.name : 'Error', status: typeof status === 'number' ? status : null, code: typeof e?.code === 'string' ? e.code : '' }
}

const RETRY_STATUS: readonly number[] = [408, 409, 425, 429]
const RETRY_CODES: readonly string[] = ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'ECONNABORTED']

/** Names and status only: an answer's text is not ours to repeat. */
function describe({ name, status, code }: Failure): string {
  return [status ?? '', code, /^[A-Za-z]{1,64}$/.test(name) ? name : ''].filter((t) => t !== '').join(' ') || 'unexpected failure'
}

function isRetry({ name, status, code }: Failure): boolean {
  if (status !== null) return status >= 500 || RETRY_STATUS.includes(status)
  return RETRY_CODES.includes(code) || name === 'TimeoutError' || name === 'AbortError'
}

/** Throws TypeError for an endpoint or bucket that is not plain (ARN, path, query, credentials in the URL). */
export function createS3Store(options: S3StoreOptions): ObjectStore {
  const { name, bucket, expectedOwner } = options
  const endpoint = new URL(options.endpoint)
  if (!/^https?:$/.test(endpoint.protocol) || endpoint.pathname !== '/' || endpoint.search !== '' || endpoint.username !== '')
    throw new TypeError(`${name}: the endpoint is not a plain URL`)
  if (!BUCKET.test(bucket) || bucket.endsWith('-mrap')) throw new TypeError(`${name}: not a plain bucket name`)
  const connectionTimeout = options.connectTimeoutMs ?? 2000
  const totalMs = options.totalTimeoutMs ?? 10_000
  const client = new S3Client({
    endpoint: endpoint.origin,
    region: options.region,
    credentials: () => Promise.resolve(options.credentials()),
    forcePathStyle: true,
    maxAttempts: 1,
    ignoreConfiguredEndpointUrls: true,
    followRegionRedirects: false,
    disableMultiregionAccessPoints: true,
    useArnRegion: false,
    useAccelerateEndpoint: false,
    useDualstackEndpoint: false,
    useFipsEndpoint: false,
    defaultsMode: 'standard',
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Agents of our own: the global ones may carry a proxy from the environment.
    requestHandler: {
      connectionTimeout,
      requestTimeout: totalMs,
      httpAgent: new HttpAgent({ keepAlive: true, maxSockets: 8 }),
      httpsAgent: new HttpsAgent({ keepAlive: true, maxSockets: 8 }),
    },
  })
  /** Each command carries its own pin: what it asks for is known to the pin alone, not read from the request. */
  const pinned = <C extends PutObjectCommand | HeadObjectCommand>(command: C, asked: Asked): C => {
    const stack = command.middlewareStack as unknown as FinalizeStack
    stack.addRelativeTo(quiet, { name: 'sluiceQuiet', relation: 'before', toMiddleware: 'httpSigningMiddleware' })
    const pin: Finalize = (next) => (args) => {
      assertPinned(args.request as WireRequest, endpoint, bucket, asked)
      return next(args)
    }
    stack.addRelativeTo(pin, { name: 'sluicePin', relation: 'after', toMiddleware: 'httpSigningMiddleware' })
    return command
  }
  const bounded = (signal: AbortSignal): AbortSignal => AbortSignal.any([signal, AbortSignal.timeout(totalMs)])

  const head = async (key: string, signal: AbortSignal): Promise<HeadOutcome> => {
    try {
      const input = { Bucket: bucket, Key: key, ExpectedBucketOwner: expectedOwner, ChecksumMode: 'ENABLED' as const }
      const answer = await client.send(pinned(new HeadObjectCommand(input), { key, body: null }), { abortSignal: bounded(signal) })
      const sha256 = answer.ChecksumSHA256 === undefined ? null : Buffer.from(answer.ChecksumSHA256, 'base64').toString('hex')
      return { kind: 'present', bytes: answer.ContentLength ?? -1, sha256 }
    } catch (error) {
      const failure = failureOf(error)
      return failure.status === 404 ? { kind: 'absent' } : { kind: 'unknown', reason: error instanceof PinError ? error.message : describe(failure) }
    }
  }

  const existing = async (key: string, bytes: number, sha256: string, signal: AbortSignal): Promise<PutOutcome> => {
    const found = await head(key, signal)
    if (found.kind === 'unknown') return { kind: 'hold', reason: `an object exists and cannot be looked at: ${found.reason}` }
    // Deleted between the two calls: the next try decides anew.
    if (found.kind === 'absent') return { kind: 'retry', reason: 'an object was there and is gone' }
    if (found.sha256 === sha256 && found.bytes === bytes) return { kind: 'exists-same', etag: '', checksum: sha256 }
    return { kind: 'exists-other', reason: found.sha256 === null ? 'an object without checksum stands under this key' : 'other bytes stand under this key' }
  }

  const put: ObjectStore['put'] = async ({ key, bytes, sha256 }, signal) => {
    const checksum = sha256.toString('hex')
    if (bytes.length > OBJECT_BYTES_MAX) return { kind: 'hold', reason: `larger than ${OBJECT_BYTES_MAX} bytes` }
    try {
      const input = {
        Bucket: bucket,
        Key: key,
        Body: bytes,
        ContentLength: bytes.length,
        ContentType: 'application/json',
        ChecksumAlgorithm: 'SHA256' as const,
        ChecksumSHA256: sha256.toString('base64'),
        IfNoneMatch: '*',
        ExpectedBucketOwner: expectedOwner,
      }
      const answer = await client.send(pinned(new PutObjectCommand(input), { key, body: bytes }), { abortSignal: bounded(signal) })
      if (answer.ChecksumSHA256 !== undefined && answer.ChecksumSHA256 !== input.ChecksumSHA256) return { kind: 'hold', reason: 'the answer names another checksum' }
      return { kind: 'stored', etag: (answer.ETag ?? '').replaceAll('"', ''), checksum }
    } catch (error) {
      const failure = failureOf(error)
      if (failure.status === 412) return existing(key, bytes.length, checksum, signal)
      if (error instanceof PinError) return { kind: 'hold', reason: error.message }
      return { kind: isRetry(failure) ? 'retry' : 'hold', reason: describe(failure) }
    }
  }

  return { name, kind: 's3', put, head, close: () => Promise.resolve(client.destroy()) }
}
