/**
 * The places that serve, for the chaos run: plain HTTP on loopback, the two APIs, and an answer that shows which body it is the answer to.
 *
 * Owns: the answer (the SHA-256 of exactly the bytes received) and how long it takes. Says `simulated`.
 */
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { MODELS } from './requests.ts'

export interface Endpoint {
  readonly id: string
  readonly url: string
  /** How often a request was worked on: more than there are results, because execution may repeat. */
  executions(): number
  close(): Promise<void>
}

const ANSWER_MIN_MS = 10
const ANSWER_SPREAD_MS = 60

export const digestOf = (body: Buffer): string => createHash('sha256').update(body).digest('hex')

/** The digest in an answer of ours; null if it is none. */
export function digestIn(answer: Buffer): string | null {
  try {
    const value = JSON.parse(answer.toString('utf8')) as { choices?: { message?: { content?: unknown } }[]; outputs?: { data?: unknown[] }[] }
    const text = value.choices?.[0]?.message?.content ?? value.outputs?.[0]?.data?.[0]
    return typeof text === 'string' ? text : null
  } catch {
    return null
  }
}

function answerOf(path: string, digest: string): unknown {
  if (path.startsWith('/v2/')) return { model_name: MODELS.oip, model_version: '1', outputs: [{ name: 'digest', datatype: 'BYTES', shape: [1], data: [digest] }] }
  return {
    id: digest.slice(0, 16),
    object: 'chat.completion',
    model: MODELS.openai,
    choices: [{ index: 0, message: { role: 'assistant', content: digest }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 1, completion_tokens: 1, total_tokens: 2 },
  }
}

export async function startEndpoint(id: string): Promise<Endpoint> {
  let executions = 0
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const path = request.url ?? '/'
    response.setHeader('content-type', 'application/json')
    response.setHeader('x-simulated', 'true')
    if (request.method === 'GET') {
      response.end('{}')
      return
    }
    executions++
    const digest = digestOf(Buffer.concat(chunks))
    await delay(ANSWER_MIN_MS + (Number.parseInt(digest.slice(0, 4), 16) % ANSWER_SPREAD_MS))
    response.end(JSON.stringify(answerOf(path, digest)))
  }
  const server = createServer((request, response) => {
    // A caller that was killed while it sent.
    serve(request, response).catch(() => response.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    id,
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    executions: () => executions,
    close: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
