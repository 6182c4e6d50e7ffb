/**
 * A record of `inference.requests` → a request that may be routed, or the reason it is answered at once.
 *
 * Owns: decode (Avro frame or JSON, told by the first byte) and validation. Stages: bytes → request → first problem found.
 * Undecodable bytes are thrown (dead letter); so is a `createdMs` that cannot be one, because without it nobody could tell for how
 * long the id must be remembered (R1: no answer). Every other problem is carried in `error` and answered.
 */
import { SluiceError } from '../../schemas/errors.ts'
import { inferenceRequestFromJson } from '../../schemas/inference-json.ts'
import type { LogRecord } from '../../schemas/log.ts'
import type { Hashing } from '../../schemas/ports.ts'
import type { InferenceRequest } from '../../schemas/records.ts'
import type { FunctionContext } from '../../streams/define-function.ts'
import { apis, isHeaderValue } from './apis.ts'
import { stringAt, topLevelRanges, type ByteRange } from './body-fields.ts'

export interface RequestLimits {
  readonly requestBytesMax: number
  readonly defaultDeadlineMs: number
}

export interface DecodedRequest {
  readonly request: InferenceRequest
  /** Results are written in the encoding of the request. */
  readonly encoding: 'avro' | 'json'
  /** Absolute; of the request, else append time plus the site's default. */
  readonly deadlineMs: number
  /** Where the body names the model, if it does. */
  readonly modelRange: ByteRange | null
  /** Tells a repeat from a reused id (R1). */
  readonly digest: string
  /** To be answered without execution. */
  readonly error: SluiceError | null
}

/** No request may ask for longer after its append; the runtime gives one try this long. */
export const DEADLINE_MS_MAX = 86_400_000
const EPOCH_MS_MIN = 1e11
const JSON_FIRST_BYTE = 0x7b
const ID_BYTES_MAX = 256
/** A segment of a path: dots alone would name another one. */
const VERSION = /^(?!\.{1,2}$)[A-Za-z0-9._:+~-]{1,128}$/
const BODY_NAMES: ReadonlySet<string> = new Set(['model', 'stream'])
const seconds = (name: string): string => `${name} must be epoch milliseconds; this looks like seconds`

interface BodyCheck {
  readonly error: SluiceError | null
  readonly modelRange: ByteRange | null
}

const invalid = (detail: string): SluiceError => new SluiceError('SLU_ROUTE_INVALID', detail)

/** What an OpenAI body says at its top level: model and stream. */
function checkBody(request: InferenceRequest): BodyCheck {
  const top = topLevelRanges(request.body, BODY_NAMES)
  if (top.kind === 'not-object') return { error: invalid('body is not a JSON object'), modelRange: null }
  if (top.kind === 'repeated') return { error: invalid(`body names ${top.name} twice`), modelRange: null }
  const stream = top.ranges.get('stream')
  if (stream !== undefined && request.body.toString('latin1', stream.start, stream.end) === 'true')
    return { error: new SluiceError('SLU_ROUTE_STREAM_UNSUPPORTED', ''), modelRange: null }
  const modelRange = top.ranges.get('model') ?? null
  const isOther = modelRange !== null && stringAt(request.body, modelRange) !== request.model
  return { error: isOther ? invalid("the body's model is not the request's model") : null, modelRange }
}

/** The first problem, in order of the fields; null if the request may be routed. */
function firstProblem(request: InferenceRequest, appendMs: number, limits: RequestLimits): SluiceError | null {
  if (request.id === '' || Buffer.byteLength(request.id) > ID_BYTES_MAX) return invalid(`id must have 1 to ${ID_BYTES_MAX} bytes`)
  if (request.model === '') return invalid('model is empty')
  if (!apis.has(request.api)) return new SluiceError('SLU_ROUTE_API_UNSUPPORTED', request.api.slice(0, 100))
  if (request.modelVersion !== null && apis.get(request.api)?.hasVersions !== true) return invalid(`modelVersion cannot be asked for over ${request.api}`)
  if (request.modelVersion !== null && !VERSION.test(request.modelVersion)) return invalid('modelVersion must be 1 to 128 of A-Z a-z 0-9 . _ : + ~ -')
  if (request.body.length > limits.requestBytesMax) return new SluiceError('SLU_ROUTE_BODY_TOO_LARGE', `${request.body.length} bytes, limit ${limits.requestBytesMax}`)
  if (request.deadlineMs !== null && request.deadlineMs < EPOCH_MS_MIN) return invalid(seconds('deadlineMs'))
  if ((request.deadlineMs ?? 0) - appendMs > DEADLINE_MS_MAX) return invalid('deadlineMs lies more than a day after the append')
  if (request.bodyRef !== null) return invalid('bodyRef is reserved')
  if (request.replyTopic !== null) return invalid('replyTopic is not on the allow-list')
  if (!isHeaderValue(request.contentType)) return invalid('contentType is not a header value')
  return null
}

function digestOf(request: InferenceRequest, hashing: Hashing): string {
  const identity = JSON.stringify([request.api, request.model, request.modelVersion, request.contract, request.contentType])
  return hashing.sha256(Buffer.concat([Buffer.from(`${identity}\n`, 'utf8'), request.body])).toString('hex')
}

/** Throws SLU_RECORD_UNDECODABLE, SLU_RECORD_SCHEMA_UNKNOWN, SLU_ROUTE_INVALID (createdMs). */
export function decodeRequest(record: LogRecord, context: Pick<FunctionContext, 'codecs'>, hashing: Hashing, limits: RequestLimits): DecodedRequest {
  if (record.value === null || record.value.length === 0) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'empty value')
  const isJson = record.value[0] === JSON_FIRST_BYTE
  const { request, problem } = isJson ? inferenceRequestFromJson(record.value) : { request: context.codecs.decode('InferenceRequest', record.value), problem: null }
  if (request.createdMs < EPOCH_MS_MIN) throw invalid(request.createdMs > 0 ? seconds('createdMs') : 'createdMs is missing or not epoch milliseconds')
  const appendMs = record.appendMs ?? record.timestampMs
  let error = problem === null ? firstProblem(request, appendMs, limits) : invalid(problem)
  let modelRange: ByteRange | null = null
  if (error === null && apis.get(request.api)?.isModelInBody === true) ({ error, modelRange } = checkBody(request))
  return {
    request,
    encoding: isJson ? 'json' : 'avro',
    deadlineMs: request.deadlineMs ?? appendMs + limits.defaultDeadlineMs,
    modelRange,
    digest: digestOf(request, hashing),
    error,
  }
}
