/**
 * The APIs spoken (routing.md §2): which endpoints speak them, the path called, and which headers may pass.
 *
 * Owns: the path table and the allow-lists of headers. Credentials, cookies and hop-by-hop headers never pass, in either direction.
 */
export type EndpointApi = 'openai' | 'oip'

export interface ApiRow {
  readonly spokenBy: EndpointApi
  path(model: string, version: string | null): string
  /** A version of a model can be asked for. */
  readonly hasVersions: boolean
  /** The body is a JSON object that names the model. */
  readonly isModelInBody: boolean
  /** R4: repeating after part of an answer arrived gives the same answer. False where sampling makes answers differ. */
  readonly isIdempotent: boolean
  /** Value of `gen_ai.operation.name`. */
  readonly operation: string
}

const openai = (path: string, isIdempotent: boolean, operation: string): ApiRow => ({
  spokenBy: 'openai',
  path: () => path,
  hasVersions: false,
  isModelInBody: true,
  isIdempotent,
  operation,
})

export const apis: ReadonlyMap<string, ApiRow> = new Map([
  ['openai.chat', openai('/v1/chat/completions', false, 'chat')],
  ['openai.completions', openai('/v1/completions', false, 'text_completion')],
  ['openai.embeddings', openai('/v1/embeddings', true, 'embeddings')],
  [
    'oip.infer',
    {
      spokenBy: 'oip',
      path: (model, version) => `/v2/models/${encodeURIComponent(model)}${version === null ? '' : `/versions/${encodeURIComponent(version)}`}/infer`,
      hasVersions: true,
      isModelInBody: false,
      isIdempotent: true,
      operation: 'infer',
    },
  ],
])

const REQUEST_HEADERS: ReadonlySet<string> = new Set(['accept', 'inference-header-content-length', 'x-request-id'])
const RESULT_HEADERS: ReadonlySet<string> = new Set(['inference-header-content-length', 'openai-processing-ms', 'openai-version', 'retry-after', 'x-request-id'])

/** Printable ASCII: anything else is refused by HTTP clients and would look like the endpoint's fault. */
export const isHeaderValue = (value: string): boolean => /^[\x20-\x7e]*$/.test(value)

const pick = (headers: Readonly<Record<string, string>>, allowed: ReadonlySet<string>): Record<string, string> =>
  Object.fromEntries(Object.entries(headers).flatMap(([name, value]) => (allowed.has(name.toLowerCase()) && isHeaderValue(value) ? [[name.toLowerCase(), value]] : [])))

/** The headers of a request that may reach an endpoint. */
export const requestHeaders = (headers: Readonly<Record<string, string>>): Record<string, string> => pick(headers, REQUEST_HEADERS)
/** The headers of an endpoint's answer that may stand in a result. */
export const resultHeaders = (headers: Readonly<Record<string, string>>): Record<string, string> => pick(headers, RESULT_HEADERS)
