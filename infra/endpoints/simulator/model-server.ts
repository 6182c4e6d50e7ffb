/**
 * A SIMULATED model server over real HTTP (routing.md §6): OpenAI-compatible and Open Inference Protocol v2 on one port.
 *
 * Owns: the surfaces, the slots and the queue before them, the latency model (base + per output token, times a slow-down), injected faults,
 * the counts of `/metrics` in vLLM's names. It says `simulated` in its model list, in every answer's headers and in its log.
 * Time and randomness are ports; only HTTP is real. Bodies are bounded; a client that goes away frees its slot.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Clock, Random } from '../../../schemas/ports.ts'
import { SluiceError } from '../../../schemas/errors.ts'
import { createSlots } from './slots.ts'

export type ServerFault =
  | { readonly kind: 'status'; readonly status: number; readonly retryAfterS?: number }
  /** Accepts and never answers. */
  | { readonly kind: 'hang' }
  /** Closes the connection instead of answering. */
  | { readonly kind: 'close' }

export interface ModelServerOptions {
  readonly id: string
  readonly models: readonly string[]
  /** Requests worked on at once; more wait, at most `queueMax`. */
  readonly slots: number
  readonly queueMax?: number
  readonly latency: { readonly baseMs: number; readonly perTokenMs: number; readonly outputTokens: number }
  readonly random: Random
  readonly clock: Clock
  readonly host?: string
  /** 0 = a free one. */
  readonly port?: number
  readonly requestBytesMax?: number
  readonly onLog?: (message: string) => void
}

export interface ModelServerStats {
  readonly requests: number
  /** Epoch ms at which the last NEW request arrived; null = none yet. */
  readonly lastRequestMs: number | null
  readonly running: number
  readonly waiting: number
}

export interface ModelServer {
  readonly id: string
  readonly url: string
  stats(): ModelServerStats
  /** null = healthy again. Meets new requests only. */
  setFault(fault: ServerFault | null): void
  /** Answers take this many times as long. */
  setSlowdown(factor: number): void
  close(): Promise<void>
}

const REQUEST_BYTES_MAX = 4 * 1024 * 1024
const QUEUE_MAX = 1024
const WORDS = ['this', 'is', 'a', 'simulated', 'answer', 'of', 'a', 'simulated', 'accelerator']

/** Reads a body, at most `bytesMax`; null = too large. */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer | null> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    if (bytes > bytesMax) return null
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

function parseObject(bytes: Buffer): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(bytes.toString('utf8'))
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

const text = (tokens: number): string => Array.from({ length: tokens }, (_, i) => WORDS[i % WORDS.length]).join(' ')
const modelPath = /^\/v2\/models\/([^/]+)(?:\/versions\/[^/]+)?(?:\/(ready|infer))?$/

/** Starts listening; rejects with SLU_ENV_PORT if the port is taken. Why over 70 lines: one server, its surfaces share slots, counts and faults. */
export async function startModelServer(options: ModelServerOptions): Promise<ModelServer> {
  const { clock, random, models, latency } = options
  const slots = createSlots(options.slots, options.queueMax ?? QUEUE_MAX)
  const hung = new Set<ServerResponse>()
  let requests = 0
  let lastRequestMs: number | null = null
  let fault: ServerFault | null = null
  let slowdown = 1

  const answer = (response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void => {
    if (response.destroyed || response.writableEnded) return
    const bytes = typeof body === 'string' ? body : JSON.stringify(body)
    response.writeHead(status, {
      'content-type': typeof body === 'string' ? 'text/plain; version=0.0.4' : 'application/json',
      'x-simulated': 'true',
      'x-endpoint': options.id,
      ...headers,
    })
    response.end(bytes)
  }
  const refuse = (response: ServerResponse, isOip: boolean, status: number, message: string, headers: Record<string, string> = {}): void =>
    answer(response, status, isOip ? { error: message } : { error: { message, type: 'simulated', code: status } }, headers)

  const work = (response: ServerResponse, tokens: number): Promise<boolean> =>
    new Promise((resolve) => {
      const jitter = 0.8 + 0.4 * random()
      const cancel = clock.setTimer((latency.baseMs + latency.perTokenMs * tokens) * jitter * slowdown, () => resolve(true))
      response.once('close', () => {
        cancel()
        resolve(false)
      })
    })

  const stream = (response: ServerResponse, model: string, id: string, tokens: number): void => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-simulated': 'true', 'x-endpoint': options.id })
    for (const word of text(tokens).split(' '))
      response.write(`data: ${JSON.stringify({ id, object: 'chat.completion.chunk', model, choices: [{ index: 0, delta: { content: `${word} ` }, finish_reason: null }] })}\n\n`)
    response.end('data: [DONE]\n\n')
  }

  const openai = (path: string, body: Record<string, unknown>, response: ServerResponse, bytes: number, tokens: number): void => {
    const model = String(body['model'])
    const id = `sim-${options.id}-${requests}`
    const promptTokens = Math.max(1, Math.floor(bytes / 4))
    const usage = { prompt_tokens: promptTokens, completion_tokens: tokens, total_tokens: promptTokens + tokens }
    const created = Math.floor(clock.nowMs() / 1000)
    if (path === '/v1/embeddings') {
      const embedding = Array.from({ length: 8 }, () => Math.round((random() * 2 - 1) * 1e6) / 1e6)
      return answer(response, 200, {
        object: 'list',
        model,
        data: [{ object: 'embedding', index: 0, embedding }],
        usage: { prompt_tokens: promptTokens, total_tokens: promptTokens },
      })
    }
    if (body['stream'] === true) return stream(response, model, id, tokens)
    const isChat = path === '/v1/chat/completions'
    const choice = isChat ? { message: { role: 'assistant', content: text(tokens) } } : { text: text(tokens) }
    answer(response, 200, { id, object: isChat ? 'chat.completion' : 'text_completion', created, model, choices: [{ index: 0, ...choice, finish_reason: 'stop' }], usage })
  }

  /** A request that costs a slot. */
  const infer = async (path: string, oipModel: string | null, request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const isOip = oipModel !== null
    requests++
    lastRequestMs = clock.nowMs()
    if (fault?.kind === 'close') {
      request.socket.destroy()
      return
    }
    if (fault?.kind === 'hang') {
      hung.add(response)
      response.once('close', () => hung.delete(response))
      return
    }
    if (fault?.kind === 'status')
      return refuse(response, isOip, fault.status, 'simulated fault', fault.retryAfterS === undefined ? {} : { 'retry-after': String(fault.retryAfterS) })
    const bytes = await readBody(request, options.requestBytesMax ?? REQUEST_BYTES_MAX)
    if (bytes === null) return refuse(response, isOip, 413, 'body too large', { connection: 'close' })
    const body = parseObject(bytes)
    if (body === null) return refuse(response, isOip, 400, 'body is not a JSON object')
    const model = oipModel ?? body['model']
    if (typeof model !== 'string' || !models.includes(model)) return refuse(response, isOip, 404, 'model not found')
    if (isOip && !Array.isArray(body['inputs'])) return refuse(response, isOip, 400, 'inputs is not a list')
    const release = await slots.take((leave) => response.once('close', leave))
    if (release === 'full') return refuse(response, isOip, 503, 'queue is full', { 'retry-after': '1' })
    if (release === 'left') return
    try {
      const wanted = body['max_tokens'] ?? body['max_completion_tokens']
      const tokens = path === '/v1/embeddings' || isOip ? 1 : Math.max(1, Math.min(latency.outputTokens, typeof wanted === 'number' ? Math.floor(wanted) : Infinity))
      if (!(await work(response, tokens))) return
      if (isOip)
        answer(response, 200, {
          model_name: model,
          model_version: '1',
          ...(typeof body['id'] === 'string' ? { id: body['id'] } : {}),
          outputs: [{ name: 'output0', datatype: 'FP32', shape: [1, 4], data: [0.1, 0.2, 0.3, 0.4] }],
        })
      else openai(path, body, response, bytes.length, tokens)
    } finally {
      release()
    }
  }

  const metrics = (): string => {
    const label = `{model_name="${models[0] ?? ''}",simulated="true"}`
    const { running, waiting } = slots.counts()
    const rows: [string, number][] = [
      ['vllm:num_requests_running', running],
      ['vllm:num_requests_waiting', waiting],
      ['vllm:kv_cache_usage_perc', Math.round((running / options.slots) * 1000) / 1000],
    ]
    return rows.map(([name, value]) => `# TYPE ${name} gauge\n${name}${label} ${value}\n`).join('')
  }

  const get = (path: string, response: ServerResponse): void => {
    const isHealthy = fault === null
    if (path === '/metrics') return answer(response, 200, metrics())
    if (path === '/health' || path === '/v2/health/live' || path === '/v2/health/ready') return answer(response, isHealthy ? 200 : 503, {})
    if (path === '/v1/models') return answer(response, 200, { object: 'list', data: models.map((id) => ({ id, object: 'model', owned_by: 'simulated', simulated: true })) })
    const match = modelPath.exec(path)
    const model = match?.[1] === undefined ? null : decodeURIComponent(match[1])
    if (model === null || !models.includes(model)) return refuse(response, path.startsWith('/v2/'), 404, 'not found')
    if (match?.[2] === 'ready') return answer(response, isHealthy ? 200 : 503, {})
    answer(response, 200, { name: model, versions: ['1'], platform: 'simulated', inputs: [], outputs: [] })
  }

  const handle = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '/').split('?')[0] as string
    if (request.method === 'GET') return get(path, response)
    if (request.method !== 'POST') return refuse(response, false, 405, 'method not allowed')
    const oip = modelPath.exec(path)
    if (oip?.[2] === 'infer') return infer(path, decodeURIComponent(oip[1] as string), request, response)
    if (path === '/v1/chat/completions' || path === '/v1/completions' || path === '/v1/embeddings') return infer(path, null, request, response)
    return refuse(response, path.startsWith('/v2/'), 404, 'not found')
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      // A client that breaks off while it sends ends here; what it sent cannot be answered.
      options.onLog?.(`simulated endpoint ${options.id}: ${error instanceof Error ? error.message : String(error)}`)
      refuse(response, false, 400, 'request could not be read')
    })
  })
  server.keepAliveTimeout = 60_000
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause) => reject(new SluiceError('SLU_ENV_PORT', `simulated endpoint ${options.id}, port ${options.port ?? 0}`, cause)))
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  const url = `http://${options.host ?? '127.0.0.1'}:${port}`
  options.onLog?.(`simulated endpoint ${options.id} serves ${models.join(', ')} at ${url}`)

  return {
    id: options.id,
    url,
    stats: () => ({ requests, lastRequestMs, ...slots.counts() }),
    setFault: (next) => (fault = next),
    setSlowdown: (factor) => (slowdown = factor),
    close: async () => {
      for (const response of hung) response.destroy()
      server.closeAllConnections()
      await new Promise<void>((resolve) => void server.close(() => resolve()))
    },
  }
}
