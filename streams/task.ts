/**
 * Kind `task`: one asynchronous effect per record of a partition (T1–T3), with R1 where the function is `once`.
 *
 * Owns: which records are in flight, their tries, and the low-water mark. Stages of a record: tick or cancel? → (once: decoded; key, horizon) → waits for
 * its key and for a place in the member's pool → decoded, or parked as too large or undecodable → (once: answered already?) → handler → emits written
 * and acknowledged → done. Invariants: C1 (records finish in any order, the mark waits for the lowest), T1, T2 (one in flight per key; once:
 * per id, so a duplicate waits for the one in flight), C5 (a full pool only makes records wait), D1 (a record that waits for another try keeps
 * its key and gives its place back), D3 (while the DLQ cannot be written nothing new starts), C3 (nothing is written after `close`).
 * D4 with parking by key: what stands behind a parked record of its key is not tried but follows it to the DLQ, in order.
 * With transactional delivery each record's emits or dead letter and its offset are one transaction.
 * Why over 300 lines: the stages of a record share the mark, the lanes, the places and the abort of the partition; what can be told apart (lanes,
 * mark, R1, writing) stands in its own file.
 */
import { SluiceError, asSluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord } from '../schemas/log.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import type { Emit, FunctionContext, OnceOptions, TaskContext, TaskFunction } from './define-function.ts'
import { assertRecordSize, asynchronous, carrierOf, handed, sortEmits, synchronous, type PartitionCountOf } from './emits.ts'
import { isForAnother } from './redrive.ts'
import { isTick } from './tick.ts'
import { createKeyOrder, type Ordered } from './key-order.ts'
import { createLowWaterMark } from './low-water-mark.ts'
import { appendMsOf, type OncePartition } from './once.ts'
import { recordBytes } from './chunks.ts'
import { staleEpoch, traced, type PartitionSink } from './partition-sink.ts'
import { NO_PLACE, type PartitionEnvironment, type RunningPartition } from './partition.ts'
import type { Places } from './places.ts'
import type { Parked } from './processor.ts'
import { behind, type Parking } from './parking.ts'
import type { Leavings, TransactionalSink } from './transactional-sink.ts'
import { createTaskCall, type TaskCall } from './task-call.ts'
import { createRetries } from './retries.ts'
import { outcomeOf, retryDelayMs } from './retry.ts'

/** Records begun in one turn of the event loop: handlers that answer at once would else hold it until all that was fetched is done (T3). */
const BEGUN_MAX = 1000
/** Operation name of the messaging conventions. */
const PROCESS = 'process'

export interface TaskPartitionOptions<T> {
  readonly definition: TaskFunction<T>
  readonly context: FunctionContext
  readonly environment: PartitionEnvironment
  /** Logical. */
  readonly topic: string
  readonly partition: number
  readonly committed: Committed | null
  readonly start: bigint
  readonly sink: PartitionSink
  /** Of outputs. */
  readonly partitionCountOf?: PartitionCountOf
  readonly once: OncePartition | null
  /** Emits, dead letters and offset in one transaction; null = written, then committed. */
  readonly transactional: (TransactionalSink & { close(): Promise<void> }) | null
  /** D4; null = a dead letter holds nothing back. */
  readonly parking: Parking | null
  readonly abort: AbortController
  /** The member's pool, shared by its partitions. */
  readonly places: Places
  /** `definition.ready`, once per member. */
  readonly ready: Promise<void>
}

interface Work<T> extends Ordered {
  readonly record: LogRecord
  /** What admitted it, where the function is `once`. Others are decoded when their turn comes: what waits is the record alone. */
  readonly admitted: { readonly value: T } | null
  /** D4: it was its turn, and nothing of its key stood before it. */
  isLooked: boolean
  readonly id: string
  readonly digest: string
  /** Tries begun. */
  attempt: number
  /** Tries after which it has to wait for another, those that do not count among them. */
  rests: number
  call: TaskCall | null
  /** In `atWork`. */
  place: number
  isCancelled: boolean
}

const keyOf = (record: LogRecord): string => record.key?.toString('latin1') ?? ''
const workOf = <T>(record: LogRecord, id: string, digest: string, admitted: Work<T>['admitted']): Work<T> => ({
  record,
  admitted,
  isLooked: false,
  id,
  digest,
  attempt: 0,
  rests: 0,
  call: null,
  place: -1,
  isCancelled: false,
  lane: null,
  isResting: false,
})

/** Why over 70 lines: one state machine over the records of the partition. */
export function createTaskPartition<T>(options: TaskPartitionOptions<T>): RunningPartition {
  const { definition, context, environment, sink, once, transactional, parking, abort, topic, partition } = options
  const { clock, telemetry, stats } = environment
  const { site, codecs, nowMs } = context
  const mark = createLowWaterMark(options.start)
  const order = createKeyOrder<Work<T>>(definition.once !== undefined && definition.order === 'unordered' ? 'key' : definition.order, definition.concurrency)
  const share = options.places.join()
  const retries = createRetries(environment.retry.attemptsMax, clock.nowMs)
  /** Whose handlers are at work: a partition that is given up tells them. */
  const atWork: Work<T>[] = []
  abort.signal.addEventListener('abort', () => {
    for (const { call } of atWork) call?.cancel(staleEpoch(), true)
  })
  /** R1, of a function that is `once`: whom a cancel concerns, and when what is not done yet was appended. */
  const isOnce = definition.once !== undefined
  const byId = new Map<string, Set<Work<T>>>()
  const appends = new Map<bigint, number>()
  const attributes = {
    [attributeNames.system]: 'kafka',
    [attributeNames.operation]: PROCESS,
    [attributeNames.group]: environment.group,
    [attributeNames.destination]: topic,
    [attributeNames.partition]: String(partition),
  }
  const spanName = [PROCESS, topic].join(' ')
  let bytes = 0
  let position = options.start
  let committed = options.committed
  let lowAppendMs: number | null = null
  let isIdleProven = false
  /** R1: the log's own time is no less than `logMs` and what has passed since `steadyMs`. Our clock has no say in it: it may be an hour ahead. */
  let logTime: { readonly logMs: number; readonly steadyMs: number } | null = null
  let isReady = false
  let isStopped = false
  let isDead = false
  let active = 0
  let waiters: (() => void)[] = []

  const settle = (): void => {
    if (active > 0) return
    const woken = waiters
    waiters = []
    for (const wake of woken) wake()
  }
  /** Something asynchronous is under way; `settled` waits for it. */
  const track = (run: () => Promise<void>): void => {
    active++
    void run()
      .catch(fail)
      .finally(() => {
        active--
        settle()
        environment.onProgress()
      })
  }
  const fail = (thrown: unknown): void => {
    if (abort.signal.aborted) return
    const error = asSluiceError(thrown, 'SLU_INTERNAL')
    isDead = true
    share.leave()
    sink.end(error)
    if (error.disposition === 'fatal') environment.onFatal(error)
  }
  const done = (record: LogRecord): void => {
    if (abort.signal.aborted) return
    mark.done(record.offset)
    retries.over(record)
    if (isOnce) appends.delete(record.offset)
    bytes -= recordBytes(record)
  }
  const park = async (parked: Parked, attempts: number): Promise<void> => {
    await sink.deadLetters([parked], attempts)
    done(parked.record)
  }
  const finish = (work: Work<T>): void => {
    order.finish(work)
    if (!isOnce) return
    const same = byId.get(work.id)
    same?.delete(work)
    if (same?.size === 0) byId.delete(work.id)
  }

  /** A null value under an id (R1): whoever has it in hand answers SLU_ROUTE_CANCELLED. Unknown or answered: nothing to do. */
  const cancel = (record: LogRecord): void => {
    for (const work of byId.get(record.key?.toString('utf8') ?? '') ?? []) {
      work.isCancelled = true
      work.call?.cancel(new SluiceError('SLU_ROUTE_CANCELLED', work.id))
    }
    done(record)
  }

  const decode = (record: LogRecord): T => {
    assertRecordSize(record, definition)
    return synchronous(definition.decode(handed(record, definition), context), definition, 'decode')
  }

  /** R1. Throws the error the record is parked with. */
  const admit = (record: LogRecord, rules: OnceOptions<T>): Work<T> => {
    const value = decode(record)
    const id = rules.id(value)
    if (record.key === null || id !== record.key.toString('utf8')) throw new SluiceError('SLU_ROUTE_KEY_MISMATCH', `key is not id ${id.slice(0, 100)}`)
    const createdMs = rules.createdMs(value)
    const appendMs = appendMsOf(record)
    if (!(appendMs - createdMs <= rules.dedupeMs)) throw new SluiceError('SLU_ROUTE_STALE', `${appendMs - createdMs} ms old at append, horizon ${rules.dedupeMs} ms`)
    if (createdMs > appendMs + rules.skewMs) throw new SluiceError('SLU_ROUTE_STALE', `created ${createdMs - appendMs} ms after append`)
    return workOf(record, id, rules.digest(value), { value })
  }

  const line = (work: Work<T>): void => {
    if (isOnce) {
      const same = byId.get(work.id)
      if (same === undefined) byId.set(work.id, new Set([work]))
      else same.add(work)
    }
    order.add(work.record.key === null ? null : work.id, work)
  }

  const takeOne = (record: LogRecord): void => {
    mark.take(record.offset)
    if (isOnce) appends.set(record.offset, appendMsOf(record))
    lowAppendMs = Math.max(lowAppendMs ?? 0, appendMsOf(record))
    bytes += recordBytes(record)
    stats.in++
    if (isTick(record) || isForAnother(record, definition.name)) {
      stats.skipped++
      done(record)
      return
    }
    if (definition.once !== undefined && record.value === null) {
      cancel(record)
      return
    }
    if (definition.once === undefined) {
      line(workOf(record, keyOf(record), '', null))
      return
    }
    try {
      const work = admit(record, definition.once)
      once?.answers().took(record.offset, work.id)
      line(work)
    } catch (thrown) {
      const { error } = outcomeOf(thrown, 'SLU_RECORD_UNDECODABLE')
      track(() => park({ record, error, stage: 'decode' }, 1))
    }
  }

  /** For the try to come. What was admitted is the first try's: its handler may have written into it. */
  const decodedOf = ({ attempt, admitted, record }: Work<T>): { readonly value: T } | SluiceError => {
    if (admitted !== null && (attempt === 0 || definition.readsOnly === true)) return admitted
    try {
      return { value: decode(record) }
    } catch (thrown) {
      return outcomeOf(thrown, 'SLU_RECORD_UNDECODABLE').error
    }
  }

  const execute = async (work: Work<T>, value: T, carrier: Readonly<Record<string, string>>): Promise<readonly Emit[]> => {
    const call = createTaskCall(clock, definition.deadlineMs)
    const taskContext: TaskContext = {
      site,
      codecs,
      nowMs,
      signal: call.signal,
      deadlineMs: clock.nowMs() + definition.deadlineMs,
      attempt: work.attempt,
      idempotencyKey: definition.once === undefined ? `${topic}/${partition}/${work.record.offset}` : work.id,
      carrier,
    }
    work.call = call
    work.place = atWork.push(work) - 1
    if (work.isCancelled) call.cancel(new SluiceError('SLU_ROUTE_CANCELLED', work.id))
    try {
      return await call.run(() => asynchronous(definition.handle(value, handed(work.record, definition), taskContext), definition))
    } finally {
      work.call = null
      const last = atWork.pop() as Work<T>
      if (last !== work) {
        atWork[work.place] = last
        last.place = work.place
      }
    }
  }

  const write = async (work: Work<T>, emits: readonly Emit[], carrier: Readonly<Record<string, string>>): Promise<void> => {
    const { outgoing, parked } = sortEmits(emits, work.record, definition, options.partitionCountOf)
    const records = traced(outgoing, carrier)
    if (transactional !== null) {
      await moveTo(work.record, { outgoing: records, deadLetters: parked }, work.attempt)
      return
    }
    if (parking !== null) {
      const error = await parking.trySend(records)
      if (error !== null) throw error
    } else if (once === null) {
      if (records.length > 0) await sink.send(records, undefined, work.attempt)
    } else {
      await once.answer(work.id, work.digest, work.record, records)
      stats.out += records.length
    }
    if (parked.length > 0) await sink.deadLetters(parked, work.attempt)
    if (parking?.handled(work.record) === true) await parking.write({ kind: 'handled', record: work.record })
  }

  /** The offset moves past `record` together with what it leaves behind. */
  const moveTo = async (record: LogRecord, leavings: Leavings, attempts: number): Promise<void> => {
    const to = { nextOffset: record.offset + 1n, metadata: '' }
    await (transactional as TransactionalSink).write(leavings, to, attempts)
    committed = to
  }

  /** D4. A key more than may be remembered waits, and its later records with it. */
  const parkByKey = (parked: Parked, attempts: number): Promise<void> => {
    ;(parking as Parking).park(parked)
    return (parking as Parking).write({ kind: 'parked', parked, attempts })
  }

  /** What stands behind a parked record of its key, and what the DLQ already knows, is not tried. Its lane goes on at once: the line of writes keeps order. */
  const passBy = (work: Work<T>): 'handle' | 'over' | 'full' => {
    const { record } = work
    try {
      const look = work.isLooked ? 'handle' : (parking?.look(record) ?? 'handle')
      if (look === 'handle') {
        work.isLooked = true
        return 'handle'
      }
      if (look === 'settled') {
        stats.skipped++
        done(record)
        return 'over'
      }
      const written = parkByKey(behind(record), 0)
      track(async () => {
        await written
        done(record)
      })
      return 'over'
    } catch (thrown) {
      sink.hold(work, asSluiceError(thrown, 'SLU_INTERNAL'))
      return 'full'
    }
  }

  const parkWork = (work: Work<T>, error: SluiceError, stage: Parked['stage'], attempts: number): Promise<void> => {
    const parked = [{ record: work.record, error, stage }]
    if (parking !== null) return parkByKey({ record: work.record, error, stage }, attempts)
    return transactional === null ? sink.deadLetters(parked, attempts) : moveTo(work.record, { outgoing: [], deadLetters: parked }, attempts)
  }

  /** False = it may not be parked now (D4, bound): it waits and is tried again. */
  const endParked = async (work: Work<T>, error: SluiceError, stage: Parked['stage'], attempts: number): Promise<boolean> => {
    try {
      await parkWork(work, error, stage, attempts)
      return true
    } catch (thrown) {
      const refused = asSluiceError(thrown, 'SLU_INTERNAL')
      if (refused.code !== 'SLU_RECORD_PARKED_FULL') throw thrown
      sink.hold(work, refused)
      return false
    }
  }

  /** One try. Returns whether the work is over. */
  const tryOnce = async (work: Work<T>, value: T): Promise<boolean> => {
    const known = once?.answers().lookUp(work.id, work.digest) ?? 'none'
    if (known === 'same') {
      stats.skipped++
      return true
    }
    if (known === 'other') {
      await parkWork(work, new SluiceError('SLU_ROUTE_ID_REUSED', work.id.slice(0, 100)), 'handle', 1)
      return true
    }
    work.attempt++
    const startMs = clock.nowMs()
    telemetry.record(metricNames.queueDuration, Math.max(0, startMs - work.record.timestampMs) / 1000, attributes)
    const span = telemetry.span({
      name: spanName,
      kind: 'consumer',
      parent: carrierOf(work.record.headers),
      attributes,
    })
    span.set({ [attributeNames.offset]: String(work.record.offset) })
    const measure = (code?: string): void => {
      span.end(code === undefined ? undefined : { code })
      telemetry.record(metricNames.processDuration, (clock.nowMs() - startMs) / 1000, code === undefined ? attributes : { ...attributes, [attributeNames.errorType]: code })
    }
    try {
      await write(work, await execute(work, value, span.carrier), span.carrier)
      measure()
      return true
    } catch (thrown) {
      const { action, error } = outcomeOf(thrown, 'SLU_HANDLER_FAILED')
      measure(error.code)
      if (abort.signal.aborted) throw error
      if (action === 'fatal') throw error
      if (action === 'hold') {
        // Never counted: no outage spends the tries of a record (C5, D1).
        sink.hold(work, error)
        return false
      }
      if (action === 'retry' && retries.failed({ record: work.record, error, stage: 'handle' }) < environment.retry.attemptsMax) {
        sink.hold(work, null)
        return false
      }
      return endParked(work, error, parking !== null && error.code === 'SLU_LOG_RECORD_TOO_LARGE' ? 'send' : 'handle', work.attempt)
    }
  }

  /**
   * What cannot be decoded, of a function where nothing stands behind a dead letter: its key and its place are free at once, or a topic written with the wrong
   * schema would be parked at one acknowledgement at a time, from places that others wait for.
   */
  const parkAside = ({ record, attempt }: Work<T>, error: SluiceError): void => track(() => park({ record, error, stage: 'decode' }, Math.max(1, attempt)))

  const run = async (work: Work<T>): Promise<void> => {
    let passed = passBy(work)
    const decoded = passed === 'handle' ? decodedOf(work) : null
    if (decoded instanceof SluiceError && parking === null && transactional === null) {
      parkAside(work, decoded)
      passed = 'over'
    }
    if (passed === 'over') {
      sink.hold(work, null)
      // Not within the call of `pump` that started it: a long lane would pile up.
      await Promise.resolve()
      share.giveBack()
      finish(work)
      pump()
      return
    }
    let isOver = false
    try {
      if (decoded instanceof SluiceError) isOver = await endParked(work, decoded, 'decode', Math.max(1, work.attempt))
      else if (decoded !== null) isOver = await tryOnce(work, decoded.value)
    } finally {
      share.giveBack()
    }
    if (isOver) {
      sink.hold(work, null)
      finish(work)
      done(work.record)
    } else {
      order.rest(work)
      stats.retries++
      clock.setTimer(retryDelayMs(++work.rests, environment.retry, environment.random), () => {
        order.again(work)
        pump()
      })
    }
    pump()
  }

  /** What the DLQ says is not read back yet. Ticks are done with all the same, but how far back a successor must read is not known before. */
  const isUnread = (): boolean => parking !== null && !isReady

  const isBlocked = (): boolean => !isReady || isStopped || isDead || abort.signal.aborted || sink.held()?.code === 'SLU_LOG_DLQ_UNWRITABLE' || once?.isOpen() === false

  /** C5: work waits, and the pool of the function has no place for it. */
  const waitsForPlace = (): boolean => !isBlocked() && order.waiting() > 0 && share.isRefused()

  /** Since the loop last turned. */
  let begun = 0
  const turned = (): void => {
    const isWaiting = begun === BEGUN_MAX
    begun = 0
    if (isWaiting) pump()
  }

  const pump = (): void => {
    while (begun < BEGUN_MAX && !isBlocked() && order.hasNext() && share.take()) {
      if (begun++ === 0) clock.setTimer(0, turned)
      const work = order.next() as Work<T>
      track(() => run(work))
    }
    if (!isBlocked() && order.hasNext()) share.wait()
    else share.rest()
  }

  /** Offsets behind the last record that left something: ticks, control records. */
  const moveIdle = (): void => {
    const to = { nextOffset: mark.mark(), metadata: '' }
    if (transactional === null || isStopped || isDead || active > 0 || to.nextOffset <= (committed?.nextOffset ?? options.start)) return
    track(async () => {
      await transactional.write({ outgoing: [], deadLetters: [] }, to)
      if (committed === null || committed.nextOffset < to.nextOffset) committed = to
    })
  }

  const begin = async (): Promise<void> => {
    try {
      await options.ready
      await once?.open()
      await parking?.open(options.start, options.committed?.metadata ?? '')
      isReady = true
      pump()
    } catch (thrown) {
      fail(thrown)
    }
  }
  void begin()

  const readLogTime = (steadyMs: number): void => {
    const seenMs = Math.max(lowAppendMs ?? 0, once?.newestMs() ?? 0)
    if (seenMs > 0 && (logTime === null || seenMs > logTime.logMs + steadyMs - logTime.steadyMs)) logTime = { logMs: seenMs, steadyMs }
  }

  const lowestAppendMs = (): number | null => {
    const low = appends.get(mark.mark())
    return low ?? lowAppendMs
  }

  return {
    take: (records, readTo) => {
      for (const record of records) takeOne(record)
      if (records.length > 0) telemetry.record(metricNames.batchSize, records.length, attributes)
      mark.readTo(readTo)
      position = readTo
      pump()
      environment.onProgress()
    },
    stopIntake: () => {
      isStopped = true
    },
    settled: () => (active === 0 ? Promise.resolve() : new Promise((resolve) => waiters.push(resolve))),
    close: async () => {
      isStopped = true
      share.leave()
      abort.abort(new SluiceError('SLU_LOG_STALE_EPOCH', `${topic}/${partition}`))
      await once?.close()
      await transactional?.close()
      await parking?.close()
    },
    uncommitted: () => {
      if (transactional !== null || isUnread()) return null
      const nextOffset = mark.mark()
      const isSame = nextOffset === (committed?.nextOffset ?? options.start)
      if (isSame && !isIdleProven) return null
      const metadata = once?.metadata(nextOffset, lowestAppendMs()) ?? parking?.metadata(nextOffset) ?? ''
      return isSame && metadata === committed?.metadata ? null : { nextOffset, metadata }
    },
    idleSince: (steadyMs) => {
      if (logTime === null || definition.once === undefined || mark.pending() > 0) return
      lowAppendMs = Math.max(lowAppendMs ?? 0, logTime.logMs + steadyMs - logTime.steadyMs - definition.once.skewMs)
      isIdleProven = true
    },
    committed: (entry) => {
      committed = entry
      isIdleProven = false
    },
    lastCommitted: () => committed,
    onTimer: (_, steadyMs) => {
      readLogTime(steadyMs)
      moveIdle()
      pump()
    },
    pump,
    load: () => ({ records: mark.pending(), bytes, tracked: mark.tracked() }),
    hold: (error) => {
      isDead = true
      share.leave()
      sink.end(error)
    },
    status: () => {
      const held = sink.held()
      const why = held ?? sink.waitsFor() ?? retries.why()
      return {
        position,
        committed: committed?.nextOffset ?? null,
        watermarkMs: null,
        inFlight: mark.pending(),
        isIdle: mark.pending() === 0 && !isUnread(),
        isHeld: held !== null,
        ...(why !== null ? { code: why.code, reason: why.message } : waitsForPlace() ? { reason: NO_PLACE } : {}),
      }
    },
    openWindows: () => null,
  }
}
