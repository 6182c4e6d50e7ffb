/**
 * The functions of the pipelines simulation, and what every record must come to: the crash-free function of the log, written down on its own.
 *
 * Owns: one function of each kind (map, fold, task in three orders, lambda), whose every record carries its fate, and `endingOf`, which reads off a
 * record where it must end: outputs, a dead letter, or neither (a tick, a copy that another function parked). It shares no code with `streams/`. Poison of every kind is among the fates:
 * bytes that are none of ours, null, too large, handlers that throw each thing that can be thrown, emits that nobody declared or no topic takes.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { LogRecord, OutRecord } from '../../schemas/log.ts'
import { defineFunction, type AnyFunction, type Emit, type FoldFunction, type LambdaFunction, type MapFunction, type TaskFunction } from '../../streams/define-function.ts'
import type { LambdaKafkaEvent, LambdaKafkaRecord } from '../../streams/lambda-event.ts'
import { RETRY, type Dice } from './pipeline-world.ts'
import type { StepProcess } from './step-log.ts'

export const KINDS = ['map', 'fold', 'task-key', 'task-partition', 'task-unordered', 'lambda', 'requests', 'tx-map', 'tx-fold', 'tx-task', 'park-map', 'park-task'] as const
export type Kind = (typeof KINDS)[number]

/** Of a transactional kind, or one that parks by key, the one whose handler it has. */
export type PlainKind = Exclude<Kind, `tx-${string}` | `park-${string}`>
const PLAIN: Readonly<Record<string, PlainKind>> = { 'tx-map': 'map', 'tx-fold': 'fold', 'tx-task': 'task-partition', 'park-map': 'map', 'park-task': 'task-key' }
export const plainKind = (kind: Kind): PlainKind => PLAIN[kind] ?? (kind as PlainKind)

/** Bytes a handler reads, an output topic takes, and the dead-letter topic takes. */
const RECORD_BYTES_MAX = 4000
export const OUT_BYTES_MAX = 2000
export const LETTER_BYTES_MAX = 6000
export const DEADLINE_MS = 120
export const CONCURRENCY = 3
export const LAMBDA = { batchSize: 4, batchWindowMs: 30, timeoutMs: 100, retriesMax: 2 } as const
const TRIES_HELD = 2

/** Which fates a kind knows, and how often: the rest is `ok`. */
const FATES = {
  many: 0.1,
  none: 0.04,
  part: 0.05,
  garbage: 0.04,
  null: 0.03,
  huge: 0.02,
  nearLimit: 0.02,
  throws: 0.04,
  refused: 0.04,
  internal: 0.02,
  astray: 0.02,
  noList: 0.02,
  big: 0.03,
  held: 0.03,
  tick: 0.04,
  others: 0.03,
  flaky: 0.06,
  mixed: 0.03,
  hopeless: 0.03,
  slow: 0.02,
  deaf: 0.004,
} as const
export type Fate = keyof typeof FATES | 'ok'

export interface Item {
  readonly id: string
  readonly key: string
  readonly fate: Fate
  readonly n: number
  readonly pad?: string
}

const REDRIVE = 'sluice.redrive'
const TICK = 'sluice.tick'
/** On a record that was put back: whom it is for. */
const FOR = 'sluice.redrive.for'
const OTHERS = Buffer.from('somebody/in')
const hasHeader = (record: Pick<LogRecord, 'headers'>, name: string): boolean => record.headers.some(([n]) => n === name)

/** Value of an output record. */
export interface Output {
  readonly from: string
  readonly id: string
  readonly part: number
  /** Folds: the state after the record. */
  readonly sum?: number
}

export const coordinateOf = (record: { readonly partition: number; readonly offset: bigint | number }): string => `${record.partition}/${record.offset}`

function drawFate(dice: Dice): Fate {
  let left = dice.random()
  for (const [fate, p] of Object.entries(FATES)) if ((left -= p) < 0) return fate as Fate
  return 'ok'
}

/** What a producer writes as its `n`-th record. */
export function drawRecord(dice: Dice, partition: number, n: number): OutRecord {
  const fate = drawFate(dice)
  const key = `k${partition}${dice.upTo(4)}`
  const item: Item = { id: `${partition}:${n}`, key, fate, n: 1 + dice.upTo(9), ...(fate === 'huge' ? { pad: 'x'.repeat(RECORD_BYTES_MAX) } : {}) }
  const text = fate === 'garbage' ? `broken ${item.id}` : fate === 'nearLimit' ? `broken ${item.id} ${'y'.repeat(3800)}` : JSON.stringify(item)
  return {
    topic: 'in',
    partition,
    // A record without a key now and then.
    key: dice.chance(0.05) ? null : Buffer.from(key),
    value: fate === 'null' || fate === 'tick' ? null : Buffer.from(text),
    headers: [
      ['origin', Buffer.from([0xff, n % 256])],
      ...(fate === 'tick' ? [[TICK, Buffer.from(String(n))] as const] : []),
      ...(fate === 'others' ? [[FOR, OTHERS] as const] : []),
    ],
  }
}

function fateOf(record: LogRecord): Fate {
  if (hasHeader(record, TICK)) return 'tick'
  if (record.headers.some(([name, value]) => name === FOR && value.equals(OTHERS))) return 'others'
  if (record.value === null) return 'null'
  if (record.value.length > RECORD_BYTES_MAX) return 'huge'
  if (record.value[0] !== 0x7b) return 'garbage'
  const { fate } = itemOf(record)
  // Whoever redrives has mended the handler, or the world.
  return hasHeader(record, REDRIVE) && ['throws', 'refused', 'hopeless'].includes(fate) ? 'ok' : fate
}

export function itemOf(record: Pick<LogRecord, 'value'>): Item {
  return JSON.parse(record.value?.toString() ?? '') as Item
}

export interface Letter {
  readonly code: string
  readonly stage: string
  readonly attempts: number
}

/** Where a record must end. */
export interface Ending {
  readonly fate: string
  /** Parts of the item that come out. */
  readonly parts: number
  readonly letter: Letter | null
}

const DECODE = 'VALUE_CONVERTER'
const HANDLE = 'TASK_PUT'
const SEND = 'KAFKA_PRODUCE'

/** Why a table in words: it must be right by reading. */
export function endingOf(kind: PlainKind, record: LogRecord): Ending {
  const fate = fateOf(record)
  const isTask = kind.startsWith('task')
  const letter = (code: string, stage = HANDLE, attempts = 1): Ending => ({ fate, parts: 0, letter: { code, stage, attempts } })
  if (kind === 'lambda') {
    const attempts = LAMBDA.retriesMax + 1
    if (fate === 'huge') return letter('SLU_RECORD_TOO_LARGE')
    if (fate === 'tick' || fate === 'others' || fate === 'none') return { fate, parts: 0, letter: null }
    if (fate === 'garbage' || fate === 'null' || fate === 'throws' || fate === 'internal' || fate === 'astray') return letter('SLU_HANDLER_FAILED', HANDLE, attempts)
    if (fate === 'refused') return letter('SLU_RECORD_REFUSED', HANDLE, attempts)
    if (fate === 'hopeless') return letter('SLU_LOG_UNREACHABLE', HANDLE, attempts)
    if (fate === 'slow') return letter('SLU_HANDLER_TIMEOUT', HANDLE, attempts)
    return { fate, parts: 1, letter: null }
  }
  switch (fate) {
    case 'tick':
    case 'others':
    case 'none':
      return { fate, parts: 0, letter: null }
    case 'many':
      return { fate, parts: 2, letter: null }
    case 'part':
      return { fate, parts: 1, letter: { code: 'SLU_TELEMETRY_PART', stage: HANDLE, attempts: 1 } }
    case 'garbage':
    case 'nearLimit':
    case 'null':
      return letter('SLU_RECORD_UNDECODABLE', DECODE)
    case 'huge':
      return letter('SLU_RECORD_TOO_LARGE', DECODE)
    case 'throws':
    case 'internal':
    case 'astray':
    case 'noList':
      return letter('SLU_HANDLER_FAILED')
    case 'refused':
      return letter('SLU_RECORD_REFUSED')
    case 'big':
      return letter('SLU_LOG_RECORD_TOO_LARGE', SEND)
    case 'hopeless':
      return letter('SLU_LOG_UNREACHABLE', HANDLE, RETRY.attemptsMax)
    case 'slow':
    case 'deaf':
      return isTask ? letter('SLU_HANDLER_TIMEOUT', HANDLE, RETRY.attemptsMax) : { fate, parts: 1, letter: null }
    default:
      return { fate, parts: 1, letter: null }
  }
}

/** What folds the record into the state of its key; null = nothing. */
export function foldedBy(record: LogRecord): Item | null {
  const { fate, parts } = endingOf('fold', record)
  return parts > 0 || fate === 'none' || fate === 'big' ? itemOf(record) : null
}

/** What the checker hears of the handlers. */
export interface HandlerEyes {
  /** A handler ran to its end, whatever it emits. */
  handled(record: { readonly partition: number; readonly offset: bigint | number }): void
  /** A task began; call the result once when it is over or was told to stop. */
  began(process: StepProcess, record: LogRecord, lane: string): () => void
  /** A task was told that its partition is gone. */
  cut(process: StepProcess, record: LogRecord): void
  breach(text: string): void
}

export interface HandlerWorld {
  readonly dice: Dice
  readonly eyes: HandlerEyes
  /** Of a fold, as the site is set up when a process starts. */
  statesMax(): number
}

const outputs = (record: LogRecord, item: Item, parts: number, sum?: number): Emit[] =>
  Array.from({ length: parts }, (_, part): Emit => {
    const value: Output = { from: coordinateOf(record), id: item.id, part, ...(sum === undefined ? {} : { sum }) }
    return { to: 'topic', topic: part === 0 ? 'out' : 'side', key: item.key, value: Buffer.from(JSON.stringify(value)) }
  })

/** To a topic that nobody declared, or what no log can take. */
function astray({ key, n }: Item): readonly Emit[] {
  const wrong = [{ topic: 'elsewhere' }, { value: 'text' }, { key: 7 }, { headers: { a: 'b' } }, { headers: [['a', 'text']] }, { partition: 99 }, { value: undefined }]
  const sound = { to: 'topic', topic: 'out', key, value: Buffer.from('{}') } as const
  return [sound, { ...sound, ...wrong[n % wrong.length] } as Emit]
}

/** What a handler was given it may write into: the log, its dead letter and the next try do not see it. */
function scribble({ key, value, headers }: LogRecord): void {
  key?.fill('k')
  value?.fill('v')
  ;(headers as unknown[]).push(['mine', Buffer.from('m')])
}

/** Emits and throws of a fate that all kinds know. */
function act(fate: Fate, record: LogRecord, item: Item, sum?: number): readonly Emit[] {
  if (item.n % 2 === 0) scribble(record)
  switch (fate) {
    case 'none':
      return []
    case 'many':
      return outputs(record, item, 2, sum)
    case 'part':
      return [...outputs(record, item, 1, sum), { to: 'dead-letter', code: 'SLU_TELEMETRY_PART', reason: 'half of it' }]
    case 'throws':
      throw new TypeError(`no such thing in ${item.id}`)
    case 'refused':
      throw new SluiceError('SLU_RECORD_REFUSED', item.id)
    case 'internal':
      throw new SluiceError('SLU_INTERNAL', item.id)
    case 'astray':
      return astray(item)
    case 'noList':
      return undefined as unknown as readonly Emit[]
    case 'big':
      return [{ to: 'topic', topic: 'out', key: item.key, value: Buffer.alloc(OUT_BYTES_MAX + 1, 'z') }]
    case 'hopeless':
      throw new SluiceError('SLU_LOG_UNREACHABLE', item.id)
    default:
      return outputs(record, item, 1, sum)
  }
}

const decode = (record: LogRecord): Item => {
  if (record.value === null) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'no value')
  return itemOf(record)
}

/** True for the first tries of a process with a record. */
function tries(): (key: string, max: number) => boolean {
  const counts = new Map<string, number>()
  return (key, max) => {
    const count = (counts.get(key) ?? 0) + 1
    counts.set(key, count)
    return count <= max
  }
}

function mapFunction({ eyes, dice }: HandlerWorld): MapFunction<Item> {
  const isEarly = tries()
  return defineFunction<MapFunction<Item>>({
    kind: 'map',
    name: 'mapper',
    inputs: ['in'],
    outputs: ['out', 'side'],
    recordBytesMax: RECORD_BYTES_MAX,
    ...(dice.chance(0.3) ? { alignWithinMs: 100 } : {}),
    decode,
    handle: (item, record) => {
      const fate = fateOf(record)
      if (fate === 'held' && isEarly(coordinateOf(record), TRIES_HELD)) throw new SluiceError('SLU_EGRESS_HOLD', item.id)
      if (fate === 'flaky' && isEarly(coordinateOf(record), RETRY.attemptsMax - 1)) throw new SluiceError('SLU_HANDLER_RETRY', item.id)
      eyes.handled(record)
      return act(fate, record, item)
    },
  })
}

export interface State {
  readonly key: string
  readonly sum: number
  readonly count: number
}

export const stateKeyOf = (key: string, partition: number): string => `${key}/${partition}`

function foldFunction({ eyes, statesMax }: HandlerWorld): FoldFunction<Item, State> {
  const isEarly = tries()
  const row = (state: State, partition: number): Emit => ({ to: 'topic', topic: 'state', key: stateKeyOf(state.key, partition), value: Buffer.from(JSON.stringify(state)) })
  return defineFunction<FoldFunction<Item, State>>({
    kind: 'fold',
    name: 'folder',
    inputs: ['in'],
    outputs: ['out', 'side', 'state'],
    stateTopic: 'state',
    statesMax: statesMax(),
    recordBytesMax: RECORD_BYTES_MAX,
    decode,
    keyOf: (item) => item.key,
    initial: (key) => ({ key, sum: 0, count: 0 }),
    fold: (state, item, record) => {
      const fate = fateOf(record)
      if (fate === 'held' && isEarly(coordinateOf(record), TRIES_HELD)) throw new SluiceError('SLU_EGRESS_HOLD', item.id)
      if (fate === 'flaky' && isEarly(coordinateOf(record), RETRY.attemptsMax - 1)) throw new SluiceError('SLU_HANDLER_RETRY', item.id)
      eyes.handled(record)
      const next = { key: item.key, sum: state.sum + item.n, count: state.count + 1 }
      return [next, [row(next, record.partition), ...act(fate, record, item, next.sum)]]
    },
    restore: (record, partition) => {
      if (!String(record.key).endsWith(`/${partition}`)) return null
      const state = JSON.parse(String(record.value)) as State
      return { key: state.key, merge: () => state }
    },
    tick: { everyMs: 250, run: (state, _, __, partition) => [state, [row(state, partition)]] },
  })
}

function taskFunction(order: TaskFunction<Item>['order'], process: StepProcess, { eyes, dice }: HandlerWorld): TaskFunction<Item> {
  return defineFunction<TaskFunction<Item>>({
    kind: 'task',
    name: 'tasker',
    inputs: ['in'],
    outputs: ['out', 'side'],
    order,
    concurrency: CONCURRENCY,
    deadlineMs: DEADLINE_MS,
    recordBytesMax: RECORD_BYTES_MAX,
    decode,
    handle: (item, record, { attempt, deadlineMs, idempotencyKey, signal }) => {
      const fate = fateOf(record)
      if (idempotencyKey !== `in/${coordinateOf(record)}`) eyes.breach(`T1: idempotency key ${idempotencyKey}`)
      if (deadlineMs - process.clock.nowMs() !== DEADLINE_MS || signal.aborted) eyes.breach(`T1: deadline ${deadlineMs}, aborted ${signal.aborted}`)
      if (fate === 'astray' && dice.chance(0.5)) throw new RangeError('before the promise')
      const over = eyes.began(process, record, order === 'partition' ? '' : order === 'key' && record.key !== null ? item.key : coordinateOf(record))
      return new Promise((resolve, reject) => {
        let cancel = (): void => undefined
        const end = (run: () => void): void => {
          cancel()
          over()
          run()
        }
        const answer = (): void => {
          try {
            if ((fate === 'held' || fate === 'mixed') && attempt <= TRIES_HELD) throw new SluiceError('SLU_EGRESS_HOLD', item.id)
            const failuresFrom = fate === 'mixed' ? TRIES_HELD : 0
            if ((fate === 'flaky' || fate === 'mixed') && attempt < failuresFrom + RETRY.attemptsMax) throw new SluiceError('SLU_LOG_UNREACHABLE', item.id)
            eyes.handled(record)
            resolve(act(fate, record, item))
          } catch (thrown) {
            reject(thrown as Error)
          }
        }
        const isLong = fate === 'slow' || fate === 'deaf'
        cancel = process.clock.setTimer(isLong ? 3000 : 1 + dice.upTo(40), () => end(answer))
        signal.addEventListener('abort', () => {
          over()
          if (signal.reason instanceof SluiceError && signal.reason.code === 'SLU_LOG_STALE_EPOCH') eyes.cut(process, record)
          if (fate !== 'deaf') end(() => reject(signal.reason as Error))
        })
      })
    },
  })
}

function lambdaFunction(process: StepProcess, { eyes, dice }: HandlerWorld): LambdaFunction {
  const isEarly = tries()
  const fateOfKafkaRecord = (r: LambdaKafkaRecord): Fate => {
    const headers = r.headers.flatMap((one) => Object.entries(one)).map(([name, bytes]) => [name, Buffer.from([...bytes])] as const)
    const value = r.value === undefined ? null : Buffer.from(r.value, 'base64')
    return fateOf({ topic: 'in', partition: r.partition, offset: BigInt(r.offset), timestampMs: 0, appendMs: 0, key: null, value, headers })
  }
  const wait = (ms: number): Promise<void> => new Promise((resolve) => void process.clock.setTimer(ms, resolve))
  return defineFunction<LambdaFunction>({
    kind: 'lambda',
    name: 'lambda',
    inputs: ['in'],
    outputs: [],
    ...LAMBDA,
    bisectOnError: true,
    concurrency: 2,
    bootstrapServers: '',
    recordBytesMax: RECORD_BYTES_MAX,
    handler: async (event: LambdaKafkaEvent) => {
      const records = Object.values(event.records).flat()
      const failures: { itemIdentifier: { partition: string; offset: number } }[] = []
      if (new Set(records.map((r) => r.partition)).size !== 1 || records.length > LAMBDA.batchSize) eyes.breach(`lambda: a batch of ${records.map(coordinateOf).join()}`)
      await wait(1 + dice.upTo(20))
      for (const r of records) {
        const fate = fateOfKafkaRecord(r)
        if (fate === 'tick' || fate === 'others' || fate === 'huge') eyes.breach(`lambda: ${fate} reached the handler`)
        if (fate === 'slow') await wait(3000)
        if (fate === 'garbage' || fate === 'throws') throw new TypeError('poison')
        if (fate === 'refused') throw new SluiceError('SLU_RECORD_REFUSED', r.topic)
        if (fate === 'hopeless') throw new SluiceError('SLU_LOG_UNREACHABLE', r.topic)
        if (fate === 'internal') return { batchItemFailures: [{ itemIdentifier: { partition: 'in-9', offset: r.offset } }] }
        if (fate === 'null' || fate === 'astray' || ((fate === 'flaky' || fate === 'held') && isEarly(coordinateOf(r), LAMBDA.retriesMax)))
          failures.push({ itemIdentifier: { partition: `in-${r.partition}`, offset: r.offset } })
        else eyes.handled(r)
      }
      return failures.length > 0 || dice.chance(0.5) ? { batchItemFailures: failures } : undefined
    },
  })
}

function plainFunction(kind: Exclude<PlainKind, 'requests'>, process: StepProcess, world: HandlerWorld): AnyFunction {
  switch (kind) {
    case 'map':
      return mapFunction(world)
    case 'fold':
      return foldFunction(world)
    case 'lambda':
      return lambdaFunction(process, world)
    default:
      return taskFunction(kind.slice('task-'.length) as TaskFunction<Item>['order'], process, world)
  }
}

export function functionOf(kind: Exclude<Kind, 'requests'>, process: StepProcess, world: HandlerWorld): AnyFunction {
  const plain = plainFunction(plainKind(kind) as Exclude<PlainKind, 'requests'>, process, world)
  if (kind.startsWith('park-')) return defineFunction({ ...plain, park: 'key' } as AnyFunction)
  return kind.startsWith('tx-') ? defineFunction({ ...plain, delivery: 'transactional' } as AnyFunction) : plain
}
