/**
 * From what a handler returned to what is sent.
 *
 * Owns: the check of emits against the declared outputs (an emit elsewhere is a defect of the handler: SLU_HANDLER_FAILED), the size limit
 * before decoding (D6), key text to bytes, trace headers. Pure.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { LogHeaders, LogRecord } from '../schemas/log.ts'
import type { AnyFunction, Emit } from './define-function.ts'
import type { Outgoing, Parked } from './processor.ts'

const RECORD_BYTES_MAX = 8 * 1024 * 1024

const TRACE_HEADERS = new Set(['traceparent', 'tracestate'])

/** Throws SLU_RECORD_TOO_LARGE. Checked before decoding (D6). */
export function assertRecordSize(record: LogRecord, definition: Pick<AnyFunction, 'recordBytesMax'>): void {
  const bytes = record.value?.length ?? 0
  const bytesMax = definition.recordBytesMax ?? RECORD_BYTES_MAX
  if (bytes > bytesMax) throw new SluiceError('SLU_RECORD_TOO_LARGE', `${bytes} bytes, limit ${bytesMax}`)
}

/** Throws SLU_HANDLER_FAILED for an emit that is malformed or goes to a topic not declared. */
export function sortEmits(emits: readonly Emit[], source: LogRecord, definition: AnyFunction): { outgoing: Outgoing[]; parked: Parked[] } {
  const outgoing: Outgoing[] = []
  const parked: Parked[] = []
  if (!Array.isArray(emits)) throw new SluiceError('SLU_HANDLER_FAILED', `${definition.name} returned no list of emits`)
  for (const emit of emits as readonly Emit[]) {
    if (emit.to === 'dead-letter') {
      parked.push({ record: source, error: new SluiceError(emit.code, emit.reason), stage: 'handle' })
      continue
    }
    if (!definition.outputs.includes(emit.topic)) throw new SluiceError('SLU_HANDLER_FAILED', `${definition.name} emitted to ${emit.topic}, which is not among its outputs`)
    outgoing.push({
      topic: emit.topic,
      key: typeof emit.key === 'string' ? Buffer.from(emit.key, 'utf8') : emit.key,
      value: emit.value,
      source,
      ...(emit.headers === undefined ? {} : { headers: emit.headers }),
      ...(emit.partition === undefined ? {} : { partition: emit.partition }),
    })
  }
  return { outgoing, parked }
}

/** W3C trace headers of a record. */
export function carrierOf(headers: LogHeaders): Readonly<Record<string, string>> {
  const carrier: Record<string, string> = {}
  for (const [name, value] of headers) if (TRACE_HEADERS.has(name)) carrier[name] = value.toString('utf8')
  return carrier
}

/** `headers` with the carrier's trace headers, unless the handler set its own. */
export function withCarrier(headers: LogHeaders | undefined, carrier: Readonly<Record<string, string>>): LogHeaders {
  const own = headers ?? []
  if (own.some(([name]) => TRACE_HEADERS.has(name))) return own
  const added = Object.entries(carrier).map(([name, text]) => [name, Buffer.from(text, 'utf8')] as const)
  return added.length === 0 ? own : [...own, ...added]
}
