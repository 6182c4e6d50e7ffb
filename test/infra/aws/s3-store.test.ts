/** S3 as a destination: against a real S3 server (versitygw) where there is one, and against a hostile one that only looks like it. */
import { createHash } from 'node:crypto'
import { createServer, type IncomingHttpHeaders, type RequestListener, type Server } from 'node:http'
import test from 'ava'
import { createS3Store, type S3StoreOptions } from '../../../infra/aws/s3-store.ts'
import type { ObjectStore } from '../../../schemas/ports.ts'
import { BUCKET, OWNER, REGION, s3ForTests, SECRET, startS3Server } from '../../helpers/s3-server.ts'

const binary = await s3ForTests()
const s3Test = binary === null ? test.skip : test.serial
const server = binary === null ? null : await startS3Server(binary)
test.after.always(() => server?.stop())

const { signal } = new AbortController()
const object = (key: string, text = '{"a":1}') => ({ key, bytes: Buffer.from(text), sha256: createHash('sha256').update(text).digest() })
const keyOf = (cell: string): string => `hall-1/hw.power/5s/12/${cell}.json`

function storeAt(endpoint: string, more: Partial<S3StoreOptions> = {}): ObjectStore {
  const credentials = () => ({ accessKeyId: OWNER, secretAccessKey: SECRET })
  return createS3Store({ name: 'region', endpoint, region: REGION, bucket: BUCKET, expectedOwner: OWNER, credentials, connectTimeoutMs: 1000, totalTimeoutMs: 2000, ...more })
}

const real = (more: Partial<S3StoreOptions> = {}): ObjectStore => storeAt(server?.endpoint ?? '', more)

s3Test('S3: an object is stored with its SHA-256, and HEAD gives that checksum back', async (t) => {
  const o = object(keyOf('stored'))
  const put = await real().put(o, signal)
  t.like(put, { kind: 'stored', checksum: o.sha256.toString('hex') })
  t.deepEqual(await real().head(o.key, signal), { kind: 'present', bytes: o.bytes.length, sha256: o.sha256.toString('hex') })
  t.deepEqual(await real().head(keyOf('absent'), signal), { kind: 'absent' })
})

s3Test('S3: a second write of the same bytes is done, one of other bytes changes nothing (W11)', async (t) => {
  const o = object(keyOf('twice'))
  await real().put(o, signal)
  t.is((await real().put(o, signal)).kind, 'exists-same')
  t.is((await real().put(object(o.key, '{"a":2}'), signal)).kind, 'exists-other')
  t.like(await real().head(o.key, signal), { sha256: o.sha256.toString('hex') })
})

s3Test('S3: of eight writers of one key one stores, the others find the same', async (t) => {
  const o = object(keyOf('eight'))
  const kinds = (await Promise.all(Array.from({ length: 8 }, () => real().put(o, signal)))).map((p) => p.kind).sort()
  // 409 is a race lost: to be tried again, never an object overwritten.
  t.is(kinds.filter((k) => k === 'stored').length, 1)
  t.true(
    kinds.every((k) => k === 'stored' || k === 'exists-same' || k === 'retry'),
    kinds.join(),
  )
})

s3Test('S3: another owner, a wrong secret, an unknown key and a missing bucket hold, they are never dropped or retried blindly (E17, E23)', async (t) => {
  const refused: Partial<S3StoreOptions>[] = [
    { expectedOwner: '999999999999' },
    { credentials: () => ({ accessKeyId: OWNER, secretAccessKey: 'another' }) },
    { credentials: () => ({ accessKeyId: 'nobody', secretAccessKey: SECRET }) },
    { bucket: 'no-such-bucket' },
  ]
  for (const more of refused) {
    const put = await real(more).put(object(keyOf('refused')), signal)
    t.is(put.kind, 'hold', JSON.stringify(put))
    t.notRegex(JSON.stringify(put), new RegExp(SECRET))
  }
  t.is((await real({ expectedOwner: '999999999999' }).head(keyOf('refused'), signal)).kind, 'unknown', 'a refusal is not an absent object')
  t.deepEqual(await real().head(keyOf('refused'), signal), { kind: 'absent' })
})

interface Hostile {
  readonly endpoint: string
  readonly seen: { method: string; url: string; headers: IncomingHttpHeaders; raw: string[]; body: Buffer }[]
  stop(): Promise<void>
}

/** A server that records all it gets and answers as told. */
async function hostile(answer: RequestListener): Promise<Hostile> {
  const seen: Hostile['seen'] = []
  const http: Server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      seen.push({ method: request.method ?? '', url: request.url ?? '', headers: request.headers, raw: request.rawHeaders, body: Buffer.concat(chunks) })
      answer(request, response)
    })
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  const { port } = http.address() as { port: number }
  return {
    endpoint: `http://127.0.0.1:${port}`,
    seen,
    stop: () =>
      new Promise((resolve) => {
        http.closeAllConnections()
        http.close(() => resolve())
      }),
  }
}

test('S3: exactly these headers leave, and none names a version, a host or an attempt (E32)', async (t) => {
  const s = await hostile((_q, r) => r.writeHead(200, { etag: '"e"' }).end())
  const o = object(keyOf('headers'))
  await storeAt(s.endpoint).put(o, signal)
  await storeAt(s.endpoint, { credentials: () => ({ accessKeyId: OWNER, secretAccessKey: SECRET, sessionToken: 'token' }) }).head(o.key, signal)
  const [put, head] = s.seen
  const common = ['authorization', 'connection', 'host', 'user-agent', 'x-amz-content-sha256', 'x-amz-date', 'x-amz-expected-bucket-owner']
  t.deepEqual(
    Object.keys(put?.headers ?? {}).sort(),
    [...common, 'content-length', 'content-type', 'if-none-match', 'x-amz-checksum-sha256', 'x-amz-sdk-checksum-algorithm'].sort(),
  )
  t.deepEqual(Object.keys(head?.headers ?? {}).sort(), [...common, 'x-amz-checksum-mode', 'x-amz-security-token'].sort())
  t.is(put?.headers['user-agent'], 'sluice')
  t.is(put?.headers['if-none-match'], '*')
  t.is(put?.headers['x-amz-expected-bucket-owner'], OWNER)
  t.is(put?.headers['x-amz-content-sha256'], o.sha256.toString('hex'), 'the payload is signed, not UNSIGNED-PAYLOAD')
  t.is(put?.headers['x-amz-checksum-sha256'], o.sha256.toString('base64'))
  const signed = /SignedHeaders=([^,]+)/.exec(put?.headers.authorization ?? '')?.[1]?.split(';') ?? []
  for (const header of ['if-none-match', 'x-amz-checksum-sha256', 'x-amz-expected-bucket-owner', 'x-amz-content-sha256', 'host'])
    t.true(signed.includes(header), `${header} is not signed`)
  t.true(put?.body.equals(o.bytes))
  t.is(put?.url.replace('?x-id=PutObject', ''), `/${BUCKET}/${o.key}`)
  t.notRegex(JSON.stringify(s.seen.map((r) => r.raw)), new RegExp(`aws-sdk|nodejs|linux|darwin|${process.version.slice(1)}`, 'i'))
  await s.stop()
})

test('S3: no redirect is followed, whatever its status; no byte reaches the other host (E16)', async (t) => {
  const other = await hostile((_q, r) => r.writeHead(200, { etag: '"e"' }).end())
  for (const status of [301, 302, 307, 308]) {
    const s = await hostile((_q, r) => r.writeHead(status, { location: `${other.endpoint}/x`, 'x-amz-bucket-region': 'us-east-1' }).end())
    const put = await storeAt(s.endpoint).put(object(keyOf('moved')), signal)
    t.is(put.kind, 'hold', `${status}`)
    t.is((await storeAt(s.endpoint).head(keyOf('moved'), signal)).kind, 'unknown', `${status}`)
    t.is(s.seen.length, 2, 'one attempt per call')
    await s.stop()
  }
  t.is(other.seen.length, 0)
  await other.stop()
})

test.serial('S3: endpoints and proxies of the environment are not used (E16)', async (t) => {
  const trap = await hostile((_q, r) => r.writeHead(200, { etag: '"e"' }).end())
  const s = await hostile((_q, r) => r.writeHead(200, { etag: '"e"' }).end())
  const names = ['AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_S3', 'HTTP_PROXY', 'http_proxy', 'HTTPS_PROXY', 'ALL_PROXY', 'NODE_USE_ENV_PROXY']
  const before = names.map((n) => [n, process.env[n]] as const)
  for (const n of names) process.env[n] = n === 'NODE_USE_ENV_PROXY' ? '1' : trap.endpoint
  try {
    t.is((await storeAt(s.endpoint).put(object(keyOf('direct')), signal)).kind, 'stored')
  } finally {
    for (const [n, value] of before)
      if (value === undefined) delete process.env[n]
      else process.env[n] = value
  }
  t.is(s.seen.length, 1)
  t.is(trap.seen.length, 0)
  await s.stop()
  await trap.stop()
})

test('S3: odd buckets and endpoints are refused before anything is opened (E16)', (t) => {
  for (const bucket of ['arn:aws:s3:eu-central-1:1:accesspoint/x', 'a.b', 'UPPER', 'x', 'abc/def', 'mfzwi23gnjvgw.mrap', ''])
    t.throws(() => storeAt('http://127.0.0.1:1', { bucket }), { instanceOf: TypeError }, bucket)
  for (const endpoint of ['ftp://127.0.0.1', 'http://127.0.0.1/path', 'http://user:pass@127.0.0.1', 'http://127.0.0.1/?x=1'])
    t.throws(() => storeAt(endpoint), { instanceOf: TypeError }, endpoint)
})

test('S3: throttling, a broken answer, silence and a closed port are tried again, never taken for stored', async (t) => {
  for (const status of [409, 429, 500, 503]) {
    const s = await hostile((_q, r) => r.writeHead(status).end('<Error><Code>Busy</Code></Error>'))
    t.is((await storeAt(s.endpoint).put(object(keyOf('busy')), signal)).kind, 'retry', `${status}`)
    t.is(s.seen.length, 1, 'retries are the gate’s')
    await s.stop()
  }
  const cut = await hostile((q) => q.socket.destroy())
  t.is((await storeAt(cut.endpoint).put(object(keyOf('cut')), signal)).kind, 'retry')
  await cut.stop()
  const silent = await hostile(() => {})
  t.is((await storeAt(silent.endpoint, { totalTimeoutMs: 200 }).put(object(keyOf('silent')), signal)).kind, 'retry')
  t.is((await storeAt(silent.endpoint, { totalTimeoutMs: 200 }).head(keyOf('silent'), signal)).kind, 'unknown')
  await silent.stop()
  t.is((await storeAt(silent.endpoint).put(object(keyOf('closed')), signal)).kind, 'retry')
})

test('S3: an answer with another checksum is no success; 412 without a checksum to compare is a conflict', async (t) => {
  const lying = await hostile((_q, r) => r.writeHead(200, { etag: '"e"', 'x-amz-checksum-sha256': createHash('sha256').update('other').digest('base64') }).end())
  t.is((await storeAt(lying.endpoint).put(object(keyOf('lie')), signal)).kind, 'hold')
  await lying.stop()
  const blank = await hostile((q, r) => r.writeHead(q.method === 'HEAD' ? 200 : 412, { 'content-length': q.method === 'HEAD' ? 7 : 0 }).end())
  t.is((await storeAt(blank.endpoint).put(object(keyOf('blank')), signal)).kind, 'exists-other')
  await blank.stop()
})

test('S3: an aborted send, an oversized object and endless answers end, and nothing is taken for stored', async (t) => {
  const s = await hostile(() => {})
  const abort = new AbortController()
  const put = storeAt(s.endpoint).put(object(keyOf('aborted')), abort.signal)
  abort.abort()
  t.is((await put).kind, 'retry')
  t.is((await storeAt(s.endpoint).put(object(keyOf('big'), 'x'.repeat((1 << 20) + 1)), signal)).kind, 'hold')
  await s.stop()
})
