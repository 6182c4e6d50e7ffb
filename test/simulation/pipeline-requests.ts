/**
 * Requests under R1 in the pipelines simulation: a task that answers each id exactly once, and what its log must come to.
 *
 * Owns: the requests (published twice, with another body, too old, from the future, under another key, cancelled, no request at all), the function, and
 * the checker: one visible result per id, to the first admissible body, in the partition of the request; a letter for each that is none; nothing committed
 * before (C1). It shares no code with `streams/`.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { LogRecord, OutRecord } from '../../schemas/log.ts'
import { defineFunction, type TaskFunction } from '../../streams/define-function.ts'
import { CONCURRENCY, DEADLINE_MS, OUT_BYTES_MAX, type Ending, type HandlerWorld } from './pipeline-functions.ts'
import { headerOf, PipelineChecker } from './pipeline-verdict.ts'
import { RETRY, type Dice } from './pipeline-world.ts'
import type { StepLog, StepProcess } from './step-log.ts'

const DEDUPE_MS = 500
const SKEW_MS = 100
const CANCELLED = 'cancelled'

type RequestFate = 'ok' | 'flaky' | 'held' | 'dies' | 'slow' | 'big'

interface Request {
  readonly id: string
  readonly body: string
  readonly createdMs: number
  readonly fate: RequestFate
}

/** The producers: `next` is one more request, repeats and cancels among them. */
export function createRequests(dice: Dice, log: StepLog): { next(partitions: number): OutRecord } {
  const made: Request[] = []
  // Repeats go where the first one went, whatever has been added meanwhile.
  const partitionOf = new Map<string, number>()
  const fateOf = (): RequestFate => {
    const draw = dice.random()
    return draw < 0.08 ? 'flaky' : draw < 0.12 ? 'held' : draw < 0.2 ? 'dies' : draw < 0.23 ? 'slow' : draw < 0.26 ? 'big' : 'ok'
  }
  const fresh = (partitions: number): Request => {
    const late = dice.chance(0.05) ? DEDUPE_MS + 50 : dice.chance(0.04) ? -SKEW_MS - 60 : dice.upTo(30)
    const request = { id: `r${made.length}`, body: 'A', createdMs: log.nowMs - late, fate: fateOf() }
    partitionOf.set(request.id, dice.upTo(partitions))
    made.push(request)
    return request
  }
  return {
    next: (partitions) => {
      const earlier = dice.chance(0.35) ? dice.pick(made.slice(-25)) : undefined
      const request = earlier === undefined ? fresh(partitions) : { ...earlier, body: dice.chance(0.3) ? 'B' : 'A' }
      const isCancel = earlier !== undefined && request.fate === 'ok' && dice.chance(0.15)
      const value = dice.chance(0.03) ? `broken ${request.id}` : JSON.stringify(request)
      return {
        topic: 'in',
        partition: partitionOf.get(request.id) ?? 0,
        key: Buffer.from(dice.chance(0.03) ? `other ${request.id}` : request.id),
        value: isCancel ? null : Buffer.from(value),
        headers: [['origin', Buffer.from([0xff])]],
      }
    },
  }
}

const requestOf = (record: LogRecord): Request => JSON.parse(String(record.value)) as Request

/** As a producer would name it: R1 knows bodies by their digest. */
const digestOf = (body: string): string => Buffer.from(body).toString('hex')

export function requestFunction(process: StepProcess, { dice, eyes }: HandlerWorld): TaskFunction<Request> {
  return defineFunction<TaskFunction<Request>>({
    kind: 'task',
    name: 'requests',
    inputs: ['in'],
    outputs: ['results'],
    order: 'unordered',
    concurrency: CONCURRENCY,
    deadlineMs: DEADLINE_MS,
    decode: requestOf,
    once: { resultsTopic: 'results', dedupeMs: DEDUPE_MS, skewMs: SKEW_MS, id: (r) => r.id, createdMs: (r) => r.createdMs, digest: (r) => digestOf(r.body) },
    handle: ({ id, body, fate }, record, { attempt, idempotencyKey, signal }) => {
      if (idempotencyKey !== id) eyes.breach(`T1: idempotency key ${idempotencyKey} of ${id}`)
      const over = eyes.began(process, record, id)
      return new Promise((resolve, reject) => {
        const answer = (text: string): void => resolve([{ to: 'topic', topic: 'results', key: id, value: Buffer.from(`${id}=${text}`) }])
        const end = (run: () => void): void => {
          cancel()
          over()
          run()
        }
        const work = (): void => {
          if (fate === 'held' && attempt <= 2) return reject(new SluiceError('SLU_EGRESS_HOLD', id))
          if (fate === 'flaky' && attempt < RETRY.attemptsMax) return reject(new SluiceError('SLU_LOG_UNREACHABLE', id))
          if (fate === 'dies') return reject(new SluiceError('SLU_RECORD_REFUSED', id))
          answer(fate === 'big' ? 'x'.repeat(OUT_BYTES_MAX) : body)
        }
        const stop = (): void => {
          const { code } = signal.reason as SluiceError
          if (code === 'SLU_LOG_STALE_EPOCH') eyes.cut(process, record)
          end(() => (code === 'SLU_ROUTE_CANCELLED' ? answer(CANCELLED) : reject(signal.reason as Error)))
        }
        const cancel = process.clock.setTimer(fate === 'slow' ? 3000 : 1 + dice.upTo(60), () => end(work))
        if (signal.aborted) stop()
        else signal.addEventListener('abort', stop)
      })
    },
  })
}

/** The first admissible request of an id, and whether somebody wanted it cancelled. */
interface Known {
  readonly body: string
  readonly offset: bigint
}

const NOTHING: Ending = { fate: 'nothing', parts: 0, letter: null }
const letter = (fate: string, code: string, stage: string, attempts = 1): Ending => ({ fate, parts: 0, letter: { code, stage, attempts } })

export class RequestChecker extends PipelineChecker {
  readonly #first: Map<string, Known>
  readonly #cancelled = new Set<string>()
  readonly #results = new Map<string, number>()

  constructor(log: StepLog) {
    const first = new Map<string, Known>()
    super('requests', log, (record) => endingOf(record, first))
    this.#first = first
  }

  override appended(record: LogRecord): void {
    super.appended(record)
    // In the order of the log: what a request must come to depends on those before it.
    if (record.topic === 'in') this.endingOf(record)
    if (record.topic === 'in' && record.value === null) this.#cancelled.add(String(record.key))
    if (record.topic === 'results') this.#result(record)
  }

  #result(result: LogRecord): void {
    const [id = '', text = ''] = String(result.value).split('=')
    const count = (this.#results.get(id) ?? 0) + 1
    this.#results.set(id, count)
    const first = this.#first.get(id)
    if (first === undefined || String(result.key) !== id) return this.breach(`R1: a result of ${id}, which nobody asked for`)
    const request = this.log.topics.get('in')?.[result.partition]?.records.find((r) => r.offset === first.offset && String(r.key) === id)
    if (request === undefined) this.breach(`R1: the result of ${id} is not in the partition of its request`)
    if (text !== first.body && !(text === CANCELLED && this.#cancelled.has(id))) this.breach(`R1: ${id} is answered for ${text}, was asked for ${first.body}`)
    if (!['A', 'B'].map(digestOf).includes(headerOf(result, 'sluice.request.digest'))) this.breach(`R1: ${id} is answered without the digest of its request`)
    if (count > 1) {
      this.doubled++
      this.breach(`R1: ${id} is answered ${count} times`)
    }
  }

  override hasEnded(record: LogRecord): boolean {
    if (!super.hasEnded(record)) return false
    const { fate } = this.endingOf(record)
    return fate !== 'answered' || this.#results.has(requestOf(record).id)
  }
}

function endingOf(record: LogRecord, first: Map<string, Known>): Ending {
  if (record.value === null || headerOf(record, 'sluice.tick') !== '') return NOTHING
  if (record.value[0] !== 0x7b) return letter('garbage', 'SLU_RECORD_UNDECODABLE', 'VALUE_CONVERTER')
  const { id, body, createdMs, fate } = requestOf(record)
  const appendMs = record.appendMs as number
  if (String(record.key) !== id) return letter('mismatch', 'SLU_ROUTE_KEY_MISMATCH', 'VALUE_CONVERTER')
  if (appendMs - createdMs > DEDUPE_MS || createdMs > appendMs + SKEW_MS) return letter('stale', 'SLU_ROUTE_STALE', 'VALUE_CONVERTER')
  if (fate === 'dies') return letter(fate, 'SLU_RECORD_REFUSED', 'TASK_PUT')
  if (fate === 'slow') return letter(fate, 'SLU_HANDLER_TIMEOUT', 'TASK_PUT', RETRY.attemptsMax)
  if (fate === 'big') return letter(fate, 'SLU_LOG_RECORD_TOO_LARGE', 'TASK_PUT')
  const known = first.get(id)
  if (known === undefined) first.set(id, { body, offset: record.offset })
  return known === undefined || known.body === body ? { fate: 'answered', parts: 0, letter: null } : letter('other body', 'SLU_ROUTE_ID_REUSED', 'TASK_PUT')
}
