/**
 * What a handler is given, and from what it returned to what is sent.
 *
 * Owns: the check of emits against their type and the declared outputs (one that is malformed or goes elsewhere is a defect of the handler:
 * SLU_HANDLER_FAILED), the size limit before decoding (D6), key text to bytes, bytes of their own on both ways (D2), trace headers. Pure.
 * D6: what a log cannot take is found here, before anything of the record is sent. Found by the driver it would hold the partition for ever,
 * and what stood beside it would be written again with every try.
 */
import { isErrorCode, isSluiceError, SluiceError } from '../schemas/errors.ts'
import type { LogHeaders, LogRecord } from '../schemas/log.ts'
import type { AnyFunction, DeadLetterEmit, Emit, RecordEmit } from './define-function.ts'
import type { Outgoing, Parked } from './processor.ts'

const RECORD_BYTES_MAX = 8 * 1024 * 1024

const TRACE_HEADERS = new Set(['traceparent', 'tracestate'])

/** Throws SLU_RECORD_TOO_LARGE. Checked before decoding (D6). */
export function assertRecordSize(record: LogRecord, definition: Pick<AnyFunction, 'recordBytesMax'>): void {
  const bytes = record.value?.length ?? 0
  const bytesMax = definition.recordBytesMax ?? RECORD_BYTES_MAX
  if (bytes > bytesMax) throw new SluiceError('SLU_RECORD_TOO_LARGE', `${bytes} bytes, limit ${bytesMax}`)
}

const copyOf = (bytes: Buffer | null): Buffer | null => (bytes === null ? null : Buffer.from(bytes))

/**
 * The record as a handler may have it: bytes of its own, which it may write into, because the next try and a dead letter need them as they came (D2).
 * A function that says it only reads is spared the copy.
 */
export function handed(record: LogRecord, { readsOnly }: Pick<AnyFunction, 'readsOnly'>): LogRecord {
  if (readsOnly === true) return record
  const { topic, partition, offset, timestampMs, appendMs, key, value } = record
  const headers = record.headers.map(([name, bytes]) => [name, Buffer.from(bytes)] as const)
  return { topic, partition, offset, timestampMs, appendMs, key: copyOf(key), value: copyOf(value), headers }
}

/**
 * What a synchronous part of a definition returned. A promise is the handler's failure: nobody awaits it, so it would be taken for a value, and its
 * rejection would end the process; that is taken in here. Throws SLU_HANDLER_FAILED.
 */
export function synchronous<T>(returned: T, definition: Pick<AnyFunction, 'name' | 'kind'>, what: string): T {
  if (!(returned instanceof Promise)) return returned
  returned.catch(() => undefined)
  throw new SluiceError(
    'SLU_HANDLER_FAILED',
    `${definition.name}: ${what} returned a promise, but ${what} of a ${definition.kind} is synchronous; use handle of a task for what must be awaited`,
  )
}

/** Partitions of a logical topic as counted when the member started; undefined = not known. */
export type PartitionCountOf = (topic: string) => number | undefined

/** For messages: what stands where something else was expected. */
const described = (value: unknown): string => {
  if (value === null || value === undefined) return String(value)
  if (typeof value !== 'object') return `a ${typeof value}`
  return Array.isArray(value) ? 'a list' : 'an object'
}

/** The counterpart of `synchronous`: what `handle` of a task returned, a promise or what is awaited like one. Throws SLU_HANDLER_FAILED. */
export function asynchronous<T>(returned: Promise<T>, { name }: Pick<AnyFunction, 'name'>): Promise<T> {
  if (typeof (returned as Partial<Promise<T>> | null | undefined)?.then === 'function') return Promise.resolve(returned)
  throw new SluiceError('SLU_HANDLER_FAILED', `${name}: handle returned ${described(returned)}, but handle of a task must return a promise; make it async`)
}

/**
 * The bytes as they are now; null = they are none. A copy, because what is emitted is sent after the other records of its call, and the handler may have
 * written its next value into the same buffer by then. A function that says it only reads is spared it.
 */
const bytesOf = (value: unknown, { readsOnly }: Pick<AnyFunction, 'readsOnly'>): Buffer | null => {
  if (!(value instanceof Uint8Array)) return null
  if (readsOnly !== true) return Buffer.from(value)
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
}

function headersOf(headers: unknown, definition: AnyFunction, fail: (field: string) => never): LogHeaders {
  if (!Array.isArray(headers)) return fail(`headers is ${described(headers)}, must be a list of [name, Buffer]`)
  return headers.map((header: unknown, i) => {
    const [name, value] = Array.isArray(header) ? (header as unknown[]) : []
    const bytes = bytesOf(value, definition)
    if (typeof name !== 'string' || bytes === null) return fail(`headers[${i}] is ${described(Array.isArray(header) ? value : header)}, must be [name, Buffer]`)
    return [name, bytes] as const
  })
}

/** Of a record or, where that is absent, of what is no record's: the result of a window. */
function outgoingOf(emit: RecordEmit, source: LogRecord | undefined, definition: AnyFunction, partitionCountOf: PartitionCountOf, fail: (field: string) => never): Outgoing {
  const { topic, key, value, headers, partition } = emit
  if (!definition.outputs.includes(emit.topic)) fail(`topic is ${emit.topic}, which is not among its outputs`)
  const keyBytes =
    typeof key === 'string' ? Buffer.from(key, 'utf8') : key === null ? null : (bytesOf(key, definition) ?? fail(`key is ${described(key)}, must be a string, a Buffer or null`))
  const valueBytes = value === null ? null : (bytesOf(value, definition) ?? fail(`value is ${described(value)}, must be a Buffer or null`))
  if (partition !== undefined) {
    const partitionCount = partitionCountOf(topic)
    if (!Number.isSafeInteger(partition) || partition < 0) fail(`partition is ${typeof partition === 'number' ? partition : described(partition)}, must be a whole number from 0`)
    if (partitionCount !== undefined && partition >= partitionCount) fail(`partition is ${partition}, ${topic} has ${partitionCount}`)
  }
  return {
    topic,
    key: keyBytes,
    value: valueBytes,
    ...(source === undefined ? {} : { source }),
    ...(headers === undefined ? {} : { headers: headersOf(headers, definition, fail) }),
    ...(partition === undefined ? {} : { partition }),
  }
}

const UNKNOWN: PartitionCountOf = () => undefined

/** Throws SLU_HANDLER_FAILED for an emit that is malformed or goes to a topic not declared, naming it by its place in the list, and the field. */
export function sortEmits(
  emits: readonly Emit[],
  source: LogRecord,
  definition: AnyFunction,
  partitionCountOf: PartitionCountOf = UNKNOWN,
): { outgoing: Outgoing[]; parked: Parked[] } {
  const outgoing: Outgoing[] = []
  const parked: Parked[] = []
  if (!Array.isArray(emits)) throw new SluiceError('SLU_HANDLER_FAILED', `${definition.name} returned ${described(emits)}, must be a list of emits`)
  let at = 0
  const fail = (field: string): never => {
    throw new SluiceError('SLU_HANDLER_FAILED', `${definition.name}: emits[${at}]${field.startsWith('is ') ? ' ' : '.'}${field}`)
  }
  for (const emit of emits as readonly Emit[]) {
    if (typeof emit !== 'object' || emit === null) fail(`is ${described(emit)}, must be an object`)
    if (emit.to === 'dead-letter') {
      const { code, reason } = emit as DeadLetterEmit
      if (!isErrorCode(code)) fail(`code is ${described(code)} that is no error code`)
      if (typeof reason !== 'string') fail(`reason is ${described(reason)}, must be a string`)
      parked.push({ record: source, error: new SluiceError(code, reason), stage: 'handle' })
      at++
      continue
    }
    if (emit.to !== 'topic') fail(`to is ${described((emit as { to: unknown }).to)}, must be topic or dead-letter`)
    outgoing.push(outgoingOf(emit, source, definition, partitionCountOf, fail))
    at++
  }
  return { outgoing, parked }
}

/**
 * The record that a window comes to. `make` is the definition's `what`; that it throws, or returns what no log takes, is the fault of no record that could
 * be parked: throws SLU_WINDOW_FAILED, a hold (D6).
 */
export function closingRecord(definition: AnyFunction, what: string, make: () => RecordEmit, partitionCountOf: PartitionCountOf = UNKNOWN): Outgoing {
  try {
    return outgoingOf(synchronous(make(), definition, what), undefined, definition, partitionCountOf, (field) => {
      throw new SluiceError('SLU_HANDLER_FAILED', `${definition.name}: ${field}`)
    })
  } catch (thrown) {
    throw new SluiceError('SLU_WINDOW_FAILED', `${definition.name}: ${what}`, thrown)
  }
}

/**
 * SLU_WINDOW_FAILED is for good: the call it came of left its state half way, and only the log can say again what that was (W3). Every later call of
 * what is returned throws the same.
 */
export function untilWindowFails(): <T>(work: () => T) => T {
  let failure: SluiceError | null = null
  return (work) => {
    if (failure !== null) throw failure
    try {
      return work()
    } catch (thrown) {
      if (isSluiceError(thrown) && thrown.code === 'SLU_WINDOW_FAILED') failure = thrown
      throw thrown
    }
  }
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
