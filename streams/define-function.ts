/**
 * The function kinds (design.md §4.5): what a handler author writes.
 *
 * Owns: the shape of a function definition per kind and `defineFunction`, which checks it. Handlers are pure: clock, codecs and ports
 * come in as arguments, effects go out as values (`Emit`). Topic names are logical (without `topicPrefix`).
 * Over 300 lines because the kinds are read side by side.
 * Invariants of the kinds: T1 (tasks get signal, deadline, attempt, key), W3/W4/W10 (windows), C8 (fold state).
 */
import type { Codecs } from '../schemas/codec.ts'
import type { ErrorCode } from '../schemas/errors.ts'
import type { LogHeaders, LogRecord } from '../schemas/log.ts'
import { SluiceError } from '../schemas/errors.ts'
import { checkFields, DEFINITION_FIELDS, type Field } from './definition-fields.ts'
import type { LambdaKafkaEvent } from './lambda-event.ts'

/** A record to append to a logical topic. What does not fit these types is a dead letter of the record it was made of (SLU_HANDLER_FAILED), and none of its emits are sent. Bytes are taken as they are when the handler has returned, or its promise is fulfilled; see `readsOnly`. */
export interface RecordEmit {
  readonly to: 'topic'
  readonly topic: string
  readonly key: Buffer | string | null
  readonly value: Buffer | null
  readonly headers?: LogHeaders
  /** Below the partition count that the topic had when the member started. */
  readonly partition?: number
}

/** A dead letter beside what was emitted: the source record did not fully succeed (N2). */
export interface DeadLetterEmit {
  readonly to: 'dead-letter'
  readonly code: ErrorCode
  readonly reason: string
}

export type Emit = RecordEmit | DeadLetterEmit

export interface FunctionContext {
  readonly site: string
  readonly codecs: Codecs
  /** Epoch ms of the clock given to the runner. Windows get no clock at all (W3). */
  readonly nowMs: () => number
}

/** T1. `idempotencyKey` is a function of topic/partition/offset, or the request id. */
export interface TaskContext extends FunctionContext {
  readonly signal: AbortSignal
  readonly deadlineMs: number
  /** 1 for the first try. */
  readonly attempt: number
  readonly idempotencyKey: string
  /** W3C headers to send on. */
  readonly carrier: Readonly<Record<string, string>>
}

/** D4: a record that cannot be handled diverts the later records of its key to the DLQ, in order, until they are put back. */
export interface ParkByKey {
  readonly park?: 'key'
  /** Records parked per partition that are remembered; above it records wait. Default 100,000. */
  readonly parkedRecordsMax?: number
}

interface Named {
  readonly name: string
  /** Logical input topics. */
  readonly inputs: readonly string[]
  /** Logical topics it may emit to; an emit elsewhere is a defect of the handler. */
  readonly outputs: readonly string[]
  /** A record whose value is larger goes to the DLQ with SLU_RECORD_TOO_LARGE. Default 8 MiB. */
  readonly recordBytesMax?: number
  /**
   * None of its functions writes into the bytes of a record, one it was given or one it emitted, or lets others do so. Then records are handed out as they
   * were fetched, and emits sent as they were returned; else as copies: a dead letter and the next try need a record as it came (D2), and an emit is sent after
   * others, when a buffer that is used again holds something else. A copy takes 0.3 µs for 1 KiB, 1 µs for 3 KiB, 40 µs for 100 KiB.
   */
  readonly readsOnly?: boolean
}

export interface MapFunction<T> extends Named, ParkByKey {
  readonly kind: 'map'
  /** Throws a SluiceError (else SLU_RECORD_UNDECODABLE) to dead-letter the record. */
  decode(record: LogRecord, context: FunctionContext): T
  /**
   * A SluiceError decides by its disposition; anything else is SLU_HANDLER_FAILED, parked at once. SLU_HANDLER_RETRY asks for another try: the partition
   * waits, the record is parked when its tries are used up (D1). It runs within the poll: a handler that never returns stops the whole process.
   */
  handle(value: T, record: LogRecord, context: FunctionContext): readonly Emit[]
  /**
   * The partitions of a member are handled in the order of record time, to within this many ms: for a map whose input partitions end in one output
   * partition that is windowed (alignment.ts). Absent: each partition at its own pace.
   */
  readonly alignWithinMs?: number
  readonly delivery?: Delivery
}

/** How outputs relate to the source offset: `at-least-once` = written, then committed; `transactional` = both in one transaction, exactly once on the log. */
export type Delivery = 'at-least-once' | 'transactional'

/**
 * Keyed state folded over records, rebuilt from a compacted output.
 * All of a fold's emits go through the fenced producer of the input partition, in one transaction, before the commit (C8).
 */
export interface FoldFunction<T, S> extends Named {
  readonly kind: 'fold'
  decode(record: LogRecord, context: FunctionContext): T
  keyOf(value: T, record: LogRecord): string
  initial(key: string, partition: number): S
  fold(state: S, value: T, record: LogRecord, context: FunctionContext): readonly [S, readonly Emit[]]
  /** The compacted topic the state is rebuilt from before the first record of a partition. */
  readonly stateTopic: string
  /** One row of `stateTopic`; null = not of this input partition or not understood. `merge` puts it into the state of `key`. */
  restore(row: LogRecord, partition: number, context: FunctionContext): { readonly key: string; readonly merge: (state: S) => S } | null
  /** Called for each state every `everyMs`, e.g. to notice silence. */
  readonly tick?: { readonly everyMs: number; run(state: S, key: string, nowMs: number, partition: number, context: FunctionContext): readonly [S, readonly Emit[]] }
  /** States of one input partition, from 1. A record of a further key holds the partition with SLU_HANDLER_STATE_FULL; no state is dropped (docs/adr/0011). */
  readonly statesMax: number
  readonly delivery?: Delivery
}

/** Stage-1 window parameters (W1–W3, W5); their hash stands in commit metadata. All ms of event time except `idleMs` (clock). */
export interface WindowParameters {
  readonly windowMs: number
  readonly graceMs: number
  readonly outOfOrdernessMs: number
  readonly skewMs: number
  /** A predecessor older than this is never used (W5). */
  readonly maxGapMs: number
  /** Idle partitions are ticked after this long (W8). */
  readonly idleMs: number
}

/** One window of one partition while it is open; `[startMs, endMs)`. */
export interface OpenWindow<G> {
  readonly startMs: number
  readonly endMs: number
  /** The accumulator of `key`, made by `create` on first use. Mutated in place. */
  group(key: string, create: () => G): G
}

/** What stage 1 says of a closed group (W4). Offsets are those of the window in this source partition. */
export interface ClosedGroup<G> {
  readonly functionName: string
  readonly sourcePartition: number
  readonly key: string
  readonly startMs: number
  readonly endMs: number
  readonly firstOffset: bigint
  readonly lastOffset: bigint
  /** The window may miss records (W6). */
  readonly partial: boolean
  readonly parametersHash: string
  readonly state: G
}

/** What stage 1 says once all partials up to `closedThroughMs` are acknowledged (W7). */
export interface MarkerFacts {
  readonly functionName: string
  readonly sourcePartition: number
  readonly partitionCount: number
  readonly closedThroughMs: number
  readonly readThrough: bigint
  /** The lowest offset a replay needs for the windows open then (W5); -1n = not said. */
  readonly neededFrom: bigint
  /** Windows that start at or before this may miss records of the source, groups without a partial included (W6); -1 = none. */
  readonly suspectMs: number
  readonly parametersHash: string
}

/** Stage 1 of a window: tumbling event-time windows per input partition; a pure function of the partition's record prefix. P = what is kept of a predecessor. */
export interface WindowFunction<T, G, P = never> extends Named {
  readonly kind: 'window'
  readonly parameters: WindowParameters
  /** Partition count fixed; `outputs` must hold it. */
  readonly partialsTopic: string
  decode(record: LogRecord, context: Pick<FunctionContext, 'codecs' | 'site'>): T
  eventTimeMs(value: T): number
  /** W10: folded once per open window. */
  identity(value: T): string
  /** With it, `identity` names a source, mostly the same text again, and this number the record among its own: cheaper than a text a record. */
  sequence?(value: T): number
  /** `predecessor` = what was kept of the newest earlier record with the same `predecessor.keyOf`, if not older than `maxGapMs`; undefined for a first, late-ordered or too old one. */
  add(window: OpenWindow<G>, value: T, predecessor: P | undefined): void
  readonly predecessor?: { keyOf(value: T): string; of(value: T): P }
  encodePartial(group: ClosedGroup<G>, context: Pick<FunctionContext, 'codecs' | 'site'>): { readonly key: string; readonly value: Buffer }
  encodeMarker(marker: MarkerFacts, context: Pick<FunctionContext, 'codecs' | 'site'>): Buffer
  /** Reads a record of the partials topic back (W6: a lost commit's metadata is taken from the partition's own last marker). */
  decodeMarker(record: LogRecord, context: Pick<FunctionContext, 'codecs' | 'site'>): MarkerFacts | null
}

export type PartialRecord<V> =
  | {
      readonly kind: 'partial'
      readonly sourcePartition: number
      readonly windowStartMs: number
      readonly windowEndMs: number
      readonly group: string
      readonly firstOffset: bigint
      readonly lastOffset: bigint
      readonly partial: boolean
      readonly parametersHash: string
      readonly value: V
    }
  | ({ readonly kind: 'marker' } & MarkerFacts)

export interface CombinedSlot<V> {
  readonly sourcePartition: number
  readonly firstOffset: bigint
  readonly lastOffset: bigint
  readonly partial: boolean
  readonly value: V
}

/** Stage 2 of a window (W7): one slot per source partition and group; closes when every source partition has marked the window. */
export interface CombineFunction<V> extends Named {
  readonly kind: 'combine'
  readonly windowMs: number
  decode(record: LogRecord, context: Pick<FunctionContext, 'codecs' | 'site'>): PartialRecord<V>
  /** `slots` are sorted by source partition. */
  result(
    group: string,
    window: { readonly startMs: number; readonly endMs: number },
    slots: readonly CombinedSlot<V>[],
    context: Pick<FunctionContext, 'codecs' | 'site'>,
  ): RecordEmit
}

/** R1: exactly one visible result per request id. The results topic has the same partition count; a result goes to its request's partition. */
export interface OnceOptions<T> {
  readonly resultsTopic: string
  readonly dedupeMs: number
  readonly skewMs: number
  /** Id of the request: must equal the record key (else SLU_ROUTE_KEY_MISMATCH). */
  id(value: T): string
  createdMs(value: T): number
  /** Hex digest that tells a repeat from a reused id. */
  digest(value: T): string
}

/** An async effect per record (T1–T3). Emits are written, acknowledged, then the offset may move on. */
export interface TaskFunction<T> extends Named, ParkByKey {
  readonly kind: 'task'
  readonly order: 'partition' | 'key' | 'unordered'
  readonly concurrency: number
  /** Budget of one try in ms. */
  readonly deadlineMs: number
  decode(record: LogRecord, context: FunctionContext): T
  /**
   * A SluiceError decides by its disposition; anything else is SLU_HANDLER_FAILED, parked at once. SLU_HANDLER_RETRY asks for another try: its key waits,
   * the record is parked when its tries are used up (D1). It must give the thread back: nothing, neither `deadlineMs` nor a signal, ends a loop that
   * never awaits, and while it computes the whole process stands (T3).
   */
  handle(value: T, record: LogRecord, context: TaskContext): Promise<readonly Emit[]>
  readonly once?: OnceOptions<T>
  /** Stated before the first record of any partition is handed out, e.g. a table that must be read first (R10). */
  ready?(): Promise<void>
  /** `transactional` only with order `partition`: offsets of one partition move one after the other. What the handler does outside the log is not part of it. */
  readonly delivery?: Delivery
}

/** The context object of AWS Lambda, as far as a Kafka handler may look. */
export interface LambdaContext {
  readonly functionName: string
  readonly functionVersion: string
  readonly invokedFunctionArn: string
  readonly memoryLimitInMB: string
  /** A function of the batch and the try. */
  readonly awsRequestId: string
  readonly logGroupName: string
  readonly logStreamName: string
  callbackWaitsForEmptyEventLoop: boolean
  getRemainingTimeInMillis(): number
}

/** An AWS Lambda Kafka handler, unchanged; the settings are those of an event source mapping (runtime.md §6). */
export interface LambdaFunction extends Named {
  readonly kind: 'lambda'
  /**
   * Batches of one partition. May return `{ batchItemFailures }`. Callback-style handlers are refused. Whatever it throws is tried again. After `timeoutMs` it
   * is given up, not ended: it shares the process, and a loop that never awaits stops everything in it (T3).
   */
  handler(event: LambdaKafkaEvent, context: LambdaContext): unknown
  /** 1 to 10,000. */
  readonly batchSize: number
  /** How long a batch may wait to fill, ms, up to 300,000. */
  readonly batchWindowMs: number
  /** Budget of one invocation, ms. */
  readonly timeoutMs: number
  readonly bisectOnError: boolean
  /** Tries after the first, before the DLQ. */
  readonly retriesMax: number
  /** Handlers running at once in one member; a partition has one. */
  readonly concurrency: number
  /** Shown in the event. */
  readonly bootstrapServers: string
}

/** The defaults of an event source mapping, with the on-failure destination that the DLQ is. */
export const LAMBDA_DEFAULTS = { batchSize: 100, batchWindowMs: 500, timeoutMs: 60_000, bisectOnError: true, retriesMax: 10, concurrency: 10, bootstrapServers: '' } as const

// oxlint-disable-next-line typescript/no-explicit-any -- a registry of functions of many value types
export type AnyFunction = MapFunction<any> | FoldFunction<any, any> | WindowFunction<any, any, any> | CombineFunction<any> | TaskFunction<any> | LambdaFunction

/** A member without a row in the table does not compile. */
const FIELDS: { readonly [K in AnyFunction['kind']]: { readonly [M in keyof Required<Extract<AnyFunction, { kind: K }>>]: Field } } = DEFINITION_FIELDS

/** Checks a definition and returns it. Throws SLU_HANDLER_INVALID naming the field. */
export function defineFunction<F extends AnyFunction>(definition: F): F {
  const fail = (field: string): never => {
    throw new SluiceError('SLU_HANDLER_INVALID', `${definition?.name ?? '(unnamed)'}: ${field}`)
  }
  if (typeof definition !== 'object' || definition === null) fail('not an object')
  if (!Object.hasOwn(FIELDS, definition.kind)) fail(`kind ${definition.kind} is not map, fold, window, combine, task or lambda`)
  // Before the table, which knows each member of a kind by itself: here what does not go together is told with its reason.
  checkDeliveryFields(definition, fail)
  checkParkFields(definition, fail)
  checkFields(definition, FIELDS[definition.kind], fail)
  if (definition.kind === 'window' && !definition.outputs.includes(definition.partialsTopic)) fail('outputs must hold partialsTopic')
  if (definition.kind === 'lambda' && definition.handler.length > 2) fail('handler takes a callback: Lambda’s Node runtimes ended that style; return a promise')
  return Object.freeze(definition)
}

function checkDeliveryFields(definition: AnyFunction, fail: (field: string) => never): void {
  const { delivery } = definition as { readonly delivery?: unknown }
  if (delivery !== 'transactional') return
  if (definition.kind !== 'map' && definition.kind !== 'fold' && definition.kind !== 'task') fail(`delivery: transactional is for map, fold and task, not ${definition.kind}`)
  if (definition.kind === 'task' && definition.order !== 'partition') fail('delivery: transactional needs order: partition')
  if (definition.kind === 'task' && definition.once !== undefined) fail('delivery: transactional and once exclude each other: once writes transactions of its own (R1)')
}

function checkParkFields(definition: AnyFunction, fail: (field: string) => never): void {
  const { park } = definition as { readonly park?: unknown }
  if (park !== 'key') return
  if (definition.kind !== 'map' && definition.kind !== 'task') fail(`park: key is for map and task, not ${definition.kind}`)
  if (definition.kind === 'task' && definition.order === 'unordered') fail('park: key needs order: key or partition')
  if (definition.kind === 'task' && definition.once !== undefined) fail('park: key and once exclude each other: a request id has one record')
  if (isTransactional(definition)) fail('park: key and delivery: transactional exclude each other')
}

/** Whether outputs and source offset go into one transaction. */
export function isTransactional(definition: AnyFunction): boolean {
  return (definition.kind === 'map' || definition.kind === 'fold' || definition.kind === 'task') && definition.delivery === 'transactional'
}

/** Whether later records of a parked record's key are diverted (D4). */
export function isParkingByKey(definition: AnyFunction): definition is AnyFunction & ParkByKey {
  return (definition.kind === 'map' || definition.kind === 'task') && definition.park === 'key'
}
