/**
 * The runner: one member of the consumer group of one function.
 *
 * Owns: the life of the member and of its partitions. Stages: topics checked → joined → partitions opened as they are assigned → records handed
 * over → commits at most every `commitEveryMs` → on revocation: intake stops, work in flight is awaited up to 0.2 × the session, committed,
 * dropped (C4); on loss: dropped. Invariants: C2/C3 (every commit names the epoch of its assignment; records of another epoch are not taken), C4,
 * C5/C6 (a partition over its limits is paused, never failed), W9 (three lags), D3 and C7 as its partitions state them. No record ends the
 * runner (D6); only what the error table calls fatal does, through `onFatal`.
 * Over 300 lines because it is one state machine over the partitions owned.
 * Everything comes in as arguments: no clock, no randomness, no log of its own.
 */
import type { Codecs } from '../schemas/codec.ts'
import { asSluiceError, causeChain, SluiceError } from '../schemas/errors.ts'
import type { Assignment, Committed, LogAdmin, LogConsumer, LogDriver, LogProducer, LogReader, LogRecord, PartitionRange, StartAt, TopicPartition } from '../schemas/log.ts'
import type { Clock, Hashing, Random, Telemetry } from '../schemas/ports.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import { localise } from '../schemas/topics.ts'
import { createAlignment } from './alignment.ts'
import { createCommitter, type Committer, type CommitTarget } from './committer.ts'
import type { AnyFunction, FunctionContext } from './define-function.ts'
import { hasElapsed } from './elapsed.ts'
import { openPartition, type MemberParts } from './open-partition.ts'
import type { PartitionEnvironment, PartitionStatus, RunnerStats, RunningPartition } from './partition.ts'
import { createPartitionSink, type PartitionSink } from './partition-sink.ts'
import { createPlaces } from './places.ts'
import { RETRY_DEFAULT, sleep, type RetryPolicy } from './retry.ts'
import { checkDriver, checkTopics } from './start-checks.ts'

export interface RunnerLimits {
  /** Records of one partition in memory before it is paused (C6). */
  readonly recordsInFlightMax?: number
  /** Bytes of all partitions of the member in memory; each has its share. More than a broker sends while a chunk is handled only grows old in memory. */
  readonly bytesInFlightMax?: number
  readonly commitEveryMs?: number
  /** The group session; a revocation waits 0.2 of it for work in flight (C4). */
  readonly sessionMs?: number
}

export interface RunnerOptions {
  readonly definition: AnyFunction
  readonly driver: LogDriver
  /** Default `<topicPrefix>sluice.<name>`. */
  readonly group?: string
  readonly topicPrefix: string
  readonly site: string
  readonly codecs: Codecs
  readonly clock: Clock
  readonly random: Random
  readonly hashing: Hashing
  readonly telemetry: Telemetry
  readonly limits?: RunnerLimits
  readonly retry?: RetryPolicy
  /** Called at most once: the process must stop with the exit code of the error. */
  onFatal(error: SluiceError): void
}

export interface Runner {
  /** Resolves once joined. Rejects with SLU_LOG_TOPIC_MISSING, SLU_LOG_TOPIC_MISCONFIGURED, SLU_LOG_UNREACHABLE… */
  start(): Promise<void>
  /** Intake stops, work in flight has `graceMs`, then commit and leave. */
  stop(graceMs: number): Promise<void>
  stats(): Readonly<RunnerStats>
  partitions(): PartitionStatus[]
  /** What keeps the member from its log, though it goes on trying; it may own nothing meanwhile. */
  trouble(): SluiceError | null
  /**
   * Position = end, nothing in flight or buffered, all committed, for every owned partition. False before the first assignment; a member that
   * was given none within 2 s of joining (more members than partitions) has nothing to drain.
   */
  drained(): boolean
}

const TIMER_MS = 250
const METRICS_EVERY_MS = 1000
const IDLE_PROOF_EVERY_MS = 60_000
const UNASSIGNED_AFTER_MS = 2000
/** How long the last commit of a partition is waited for. */
const COMMIT_WAIT_MS = 3000
/** Finished records behind a slow one, per record in flight (C6). */
const TRACKED_PER_RECORD_MAX = 50

interface Owned {
  readonly topic: string
  readonly brokerTopic: string
  readonly partition: number
  readonly epoch: number
  readonly abort: AbortController
  readonly environment: PartitionEnvironment
  readonly sink: PartitionSink
  /** Null while it opens. */
  running: RunningPartition | null
  isPaused: boolean
  /** As last measured. */
  blockedBy: string | null
  /** What keeps it from being read; it is tried again. */
  stalledBy: SluiceError | null
  /** Handed over up to here: what a fetch brings again is not handed over twice. */
  takenTo: bigint | null
  /** It could not take in what it was given: some of that may be in hand, so that nothing of it is committed any more (C1). */
  isBroken: boolean
}

type StartsOf = (topic: string) => Promise<ReadonlyMap<number, bigint>>

/** What `sluice ps` says of it. */
const OPENING = 'being opened: what it goes on from is read from the log'

const nameOf = (tp: TopicPartition): string => `${tp.topic}/${tp.partition}`

/** Why over 70 lines: one state machine over the partitions owned. */
export function createRunner(options: RunnerOptions): Runner {
  const { definition, driver, clock, random, telemetry, topicPrefix } = options
  const group = options.group ?? `${topicPrefix}sluice.${definition.name}`
  const recordsMax = options.limits?.recordsInFlightMax ?? 2000
  const bytesMax = options.limits?.bytesInFlightMax ?? 16 * 1024 * 1024
  const commitEveryMs = options.limits?.commitEveryMs ?? 500
  const sessionMs = options.limits?.sessionMs ?? 30_000
  const stats: RunnerStats = { in: 0, out: 0, late: 0, deadLetters: 0, skipped: 0, windowsClosed: 0, retries: 0, rebalances: 0 }
  const owned = new Map<string, Owned>()
  /** Its values, for the turns of places: made anew only when they change, because every place that comes free asks. */
  let inTurn: readonly Owned[] = []
  const context: FunctionContext = { site: options.site, codecs: options.codecs, nowMs: () => clock.nowMs() }
  const stopping = new AbortController()
  const inputs = definition.inputs.map((topic) => topicPrefix + topic)
  let consumer: LogConsumer | null = null
  let committer: Committer | null = null
  let parts: MemberParts | null = null
  let admin: LogAdmin | null = null
  let producer: LogProducer | null = null
  let reader: LogReader | null = null
  let cancelTimer = (): void => undefined
  let turn = 0
  let hasAssigned = false
  let joinedMs: number | null = null
  let isFatal = false
  let lastCommitMs = 0
  let lastMetricsMs = 0
  let lastIdleProofMs = 0
  let steadyMs = 0
  let trouble: SluiceError | null = null

  const fatal = (error: SluiceError): void => {
    if (isFatal) return
    isFatal = true
    options.onFatal(error)
  }

  const targetOf = (one: Owned): CommitTarget[] =>
    one.running === null || one.isBroken ? [] : [{ topic: one.brokerTopic, partition: one.partition, epoch: one.epoch, running: one.running }]
  const commit = (which: readonly Owned[]): Promise<void> => committer?.commit(which.flatMap(targetOf)) ?? Promise.resolve()

  /** C5, C6: pause over the limit, resume at half of it. */
  const applyLimits = (one: Owned): void => {
    if (one.running === null || consumer === null || owned.get(`${one.brokerTopic}/${one.partition}`) !== one) return
    const { records, bytes, tracked } = one.running.load()
    const share = bytesMax / Math.max(1, owned.size)
    const tp = { topic: one.brokerTopic, partition: one.partition }
    if (!one.isPaused && (records >= recordsMax || bytes >= share || tracked >= recordsMax * TRACKED_PER_RECORD_MAX)) {
      one.isPaused = true
      consumer.pause([tp])
    } else if (one.isPaused && records <= recordsMax / 2 && bytes <= share / 2 && tracked <= (recordsMax * TRACKED_PER_RECORD_MAX) / 2) {
      one.isPaused = false
      consumer.resume([tp])
    }
  }

  const environmentOf = (onProgress: () => void): PartitionEnvironment => ({
    functionName: definition.name,
    group,
    clock,
    random,
    telemetry,
    retry: options.retry ?? RETRY_DEFAULT,
    stats,
    onFatal: fatal,
    onProgress,
  })

  /** At once: a partition that is taken back while it opens is known, and its opening void (C3). */
  const own = (assignment: Assignment): Owned => {
    const { topic: brokerTopic, partition, epoch } = assignment
    const topic = brokerTopic.slice(topicPrefix.length)
    const abort = new AbortController()
    const { producer: shared, partitionsOf } = parts as MemberParts
    const environment = environmentOf(() => applyLimits(one))
    const sink = createPartitionSink({ environment, producer: shared, topicPrefix, partitionsOf, signal: abort.signal })
    const one: Owned = {
      topic,
      brokerTopic,
      partition,
      epoch,
      abort,
      environment,
      sink,
      running: null,
      isPaused: false,
      blockedBy: null,
      stalledBy: null,
      takenTo: null,
      isBroken: false,
    }
    owned.set(nameOf(assignment), one)
    inTurn = [...owned.values()]
    return one
  }

  const assignOne = async (assignment: Assignment, one: Owned, startsOf: StartsOf, begin: (start: StartAt) => void): Promise<StartAt> => {
    const { topic, partition } = one
    const { committed } = assignment
    const tp = { topic: assignment.topic, partition }
    if (one.abort.signal.aborted) return { ...tp, nextOffset: committed?.nextOffset ?? 'start' }
    const prove = async (given?: Committed): Promise<void> => {
      const [target] = targetOf(one)
      if (target === undefined) throw new SluiceError('SLU_LOG_STALE_EPOCH', nameOf(assignment))
      await (committer as Committer).prove(target, logStart, given)
    }
    let logStart = 0n
    try {
      if (committed === null) logStart = await one.sink.persist(async () => (await startsOf(tp.topic)).get(partition) ?? 0n)
      const opened = await openPartition({
        parts: parts as MemberParts,
        environment: one.environment,
        topic,
        partition,
        committed,
        logStart,
        abort: one.abort,
        sink: one.sink,
        endOffset: () => consumer?.endOffset(tp) ?? null,
        prove,
      })
      one.running = opened.running
      if (opened.nextOffset !== 'start') one.takenTo = opened.nextOffset
      const start = { ...tp, nextOffset: opened.nextOffset }
      if (one.abort.signal.aborted) await opened.running.close()
      else begin(start)
      return start
    } catch (thrown) {
      // Given up while it was opening: the next assignment begins anew (C3).
      if (one.abort.signal.aborted) return { ...tp, nextOffset: committed?.nextOffset ?? 'start' }
      throw thrown
    }
  }

  /** Where the partitions of a topic begin, asked once for all that open together; what failed is asked again. */
  const logStarts = (): StartsOf => {
    const asked = new Map<string, Promise<ReadonlyMap<number, bigint>>>()
    return (topic) => {
      const starts = asked.get(topic) ?? (admin as LogAdmin).ranges(topic).then((ranges) => new Map(ranges.map((range) => [range.partition, range.startOffset])))
      asked.set(topic, starts)
      starts.catch(() => asked.delete(topic))
      return starts
    }
  }

  const assigned = async (assignments: readonly Assignment[], begin: (start: StartAt) => void = () => {}): Promise<StartAt[]> => {
    stats.rebalances++
    telemetry.count(metricNames.rebalances, 1, { [attributeNames.function]: definition.name })
    const ones = assignments.map((a) => [a, own(a)] as const)
    try {
      const startsOf = logStarts()
      const startAts = await Promise.all(ones.map(([a, one]) => assignOne(a, one, startsOf, begin)))
      hasAssigned = true
      return startAts
    } catch (thrown) {
      const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
      if (error.disposition === 'fatal') fatal(error)
      throw error
    }
  }

  /** What `work` does, but no longer than `boundMs`. */
  const within = async (work: Promise<unknown>, boundMs: number): Promise<void> => {
    const over = new AbortController()
    await Promise.race([work, sleep(clock, boundMs, over.signal)])
    over.abort()
  }

  const release = async (which: readonly Owned[], waitMs: number): Promise<void> => {
    for (const one of which) one.running?.stopIntake()
    await within(Promise.all(which.map((one) => one.running?.settled() ?? Promise.resolve())), waitMs)
    // A log that does not answer must not hold up the group or the exit; what is not committed is done again (C1).
    await within(commit(which), COMMIT_WAIT_MS)
  }

  const close = async (which: readonly Owned[]): Promise<void> => {
    for (const one of which) {
      if (owned.get(`${one.brokerTopic}/${one.partition}`) === one) owned.delete(`${one.brokerTopic}/${one.partition}`)
      showBlocked(one, null)
      one.abort.abort(new SluiceError('SLU_LOG_STALE_EPOCH', `${one.topic}/${one.partition}`))
    }
    inTurn = [...owned.values()]
    await Promise.all(which.map((one) => one.running?.close() ?? Promise.resolve()))
  }

  const revoked = async (partitions: readonly TopicPartition[], isLost: boolean): Promise<void> => {
    const which = partitions.flatMap((tp) => owned.get(nameOf(tp)) ?? [])
    if (!isLost) await release(which, 0.2 * sessionMs)
    await close(which)
  }

  const onRecords = (tp: TopicPartition, epoch: number, records: readonly LogRecord[], readTo: bigint): void => {
    const one = owned.get(nameOf(tp))
    if (one === undefined || one.running === null || one.epoch !== epoch || stopping.signal.aborted) return
    const { takenTo } = one
    if (takenTo !== null && readTo <= takenTo) return
    const first = records[0]
    const fresh = takenTo === null || first === undefined || first.offset >= takenTo ? records : records.filter((record) => record.offset >= takenTo)
    one.takenTo = readTo
    try {
      one.running.take(topicPrefix === '' ? fresh : fresh.map((record) => localise(record, one.topic)), readTo)
    } catch (thrown) {
      one.isBroken = true
      const error = asSluiceError(thrown, 'SLU_INTERNAL')
      one.running.hold(error)
      if (error.disposition === 'fatal') fatal(error)
      return
    }
    applyLimits(one)
  }

  const endOf = (one: Owned): bigint | null => consumer?.endOffset({ topic: one.brokerTopic, partition: one.partition }) ?? null

  const tellTrouble = (error: SluiceError | null, isOver: string): void => {
    const about = { [attributeNames.function]: definition.name }
    if (error === null) telemetry.log('info', `${definition.name}: ${isOver}`, about)
    else
      telemetry.log(error.disposition === 'retry' ? 'warn' : 'error', error.message, {
        ...about,
        [attributeNames.code]: error.code,
        [attributeNames.errorChain]: causeChain(error.cause).join(': '),
      })
  }

  const troubled = (error: SluiceError | null): void => {
    trouble = error
    tellTrouble(error, 'the log answers again')
  }

  /** B6, D6: this partition stands, with its reason; the others go on. */
  const stalled = (tp: TopicPartition, error: SluiceError | null): void => {
    const one = owned.get(nameOf(tp))
    if (one === undefined) return
    one.stalledBy = error
    tellTrouble(error, `${one.topic}/${one.partition} is read again`)
  }

  /** Not open yet: what it needs may be a minute of reading, or not to be had. */
  const openingOf = ({ sink }: Owned): ReturnType<RunningPartition['status']> => {
    const why = sink.held() ?? sink.waitsFor() ?? trouble
    const unopened = { position: null, committed: null, watermarkMs: null, inFlight: 0, isIdle: false, isHeld: sink.held() !== null }
    return why === null ? { ...unopened, reason: OPENING } : { ...unopened, code: why.code, reason: `${OPENING}: ${why.message}` }
  }

  /** Why it cannot be read, else what the partition says, else what keeps the member from the log, else why its commits fail: it goes on, and its offset does not. */
  const statusOf = (one: Owned): ReturnType<RunningPartition['status']> => {
    if (one.running === null) return openingOf(one)
    const status = one.running.status()
    if (one.stalledBy !== null) return { ...status, isHeld: true, code: one.stalledBy.code, reason: one.stalledBy.message }
    const refusal = committer?.refusal(one.running) ?? null
    if (status.reason !== undefined) return status
    if (trouble !== null) return { ...status, code: trouble.code, reason: trouble.message }
    return refusal === null ? status : { ...status, code: refusal.code, reason: `its commits fail: ${refusal.message}` }
  }

  /** B6: which partition does not go on, and why; the reason before it ends. */
  const showBlocked = (one: Owned, reason: string | null): void => {
    const show = (value: number, by: string): void =>
      telemetry.gauge(metricNames.partitionBlocked, value, {
        [attributeNames.function]: definition.name,
        [attributeNames.destination]: one.topic,
        [attributeNames.partition]: String(one.partition),
        [attributeNames.reason]: by,
      })
    if (one.blockedBy !== null && one.blockedBy !== reason) show(0, one.blockedBy)
    if (reason !== null) show(1, reason)
    one.blockedBy = reason
  }

  const measure = (nowMs: number): void => {
    let held = 0
    for (const one of owned.values()) {
      const status = statusOf(one)
      if (status.isHeld) held++
      if (one.running === null) {
        showBlocked(one, status.code ?? null)
        continue
      }
      const end = endOf(one)
      const attributes = { [attributeNames.group]: group, [attributeNames.destination]: one.topic, [attributeNames.partition]: String(one.partition) }
      if (end !== null && status.position !== null)
        telemetry.gauge(metricNames.consumerLag, Number(end - status.position), { ...attributes, [attributeNames.lagKind]: 'processing' })
      if (end !== null && status.committed !== null)
        telemetry.gauge(metricNames.consumerLag, Number(end - status.committed), { ...attributes, [attributeNames.lagKind]: 'committed' })
      showBlocked(one, status.code ?? (status.reason === undefined ? null : 'places'))
      const byFunction = { [attributeNames.function]: definition.name, [attributeNames.partition]: String(one.partition) }
      if (status.watermarkMs !== null) telemetry.gauge(metricNames.watermarkDelay, (nowMs - status.watermarkMs) / 1000, byFunction)
      const open = one.running.openWindows()
      if (open !== null) telemetry.gauge(metricNames.windowsOpen, open, byFunction)
    }
    telemetry.gauge(metricNames.partitionHeld, held, { [attributeNames.function]: definition.name })
  }

  /** R1: lets `resultsFrom` move on in partitions that stand idle, so that it never falls behind the retention of the results. */
  const proveIdle = async (): Promise<void> => {
    const idle = [...owned.values()].filter((one) => one.running?.idleSince !== undefined && one.running.status().isIdle)
    for (const topic of new Set(idle.map((one) => one.brokerTopic))) {
      const atMs = steadyMs
      const ends = new Map((await (admin as LogAdmin).ranges(topic)).map((range: PartitionRange) => [range.partition, range.endOffset]))
      for (const one of idle) if (one.brokerTopic === topic && ends.get(one.partition) === one.running?.status().position) one.running?.idleSince?.(atMs)
    }
  }

  const everySoOften = (): void => {
    if (stopping.signal.aborted) return
    const nowMs = clock.nowMs()
    for (const one of owned.values()) one.running?.onTimer(nowMs, steadyMs)
    if (hasElapsed(lastCommitMs, commitEveryMs, nowMs)) {
      lastCommitMs = nowMs
      void commit([...owned.values()])
    }
    if (hasElapsed(lastMetricsMs, METRICS_EVERY_MS, nowMs)) {
      lastMetricsMs = nowMs
      measure(nowMs)
    }
    if (definition.kind === 'task' && definition.once !== undefined && hasElapsed(lastIdleProofMs, IDLE_PROOF_EVERY_MS, nowMs)) {
      lastIdleProofMs = nowMs
      proveIdle().catch((thrown: unknown) => telemetry.log('warn', asSluiceError(thrown, 'SLU_LOG_FAILED').message))
    }
    const periodMs = Math.min(TIMER_MS, commitEveryMs)
    cancelTimer = clock.setTimer(periodMs, () => {
      steadyMs += periodMs
      everySoOften()
    })
  }

  const start = async (): Promise<void> => {
    checkDriver(definition, driver)
    admin = driver.admin()
    const infos = await admin.topics(topicPrefix)
    checkTopics(definition, topicPrefix, infos)
    if (stopping.signal.aborted) return
    producer = driver.producer()
    reader = driver.reader()
    const ready = definition.kind === 'task' && definition.ready !== undefined ? definition.ready() : Promise.resolve()
    // Every partition awaits it and reports its failure; before the first partition nobody does.
    ready.catch(() => undefined)
    const places = createPlaces(definition.kind === 'task' || definition.kind === 'lambda' ? definition.concurrency : 1, () => {
      // In turns: the partition that is asked first gets the place, so another one is first each time.
      const all = inTurn
      turn++
      for (let i = 0; i < all.length; i++) all[(turn + i) % all.length]?.running?.pump()
    })
    const hash = (text: string): string => options.hashing.sha256(Buffer.from(text, 'utf8')).toString('hex')
    const partitionsOf = new Map(infos.map((info) => [info.name, info.partitions]))
    // Half of it between the partitions, half within what is handled at once.
    const spanMs = definition.kind === 'map' && definition.alignWithinMs !== undefined ? definition.alignWithinMs / 2 : null
    const aligned = spanMs === null ? null : { alignment: createAlignment(spanMs, clock.nowMs), spanMs }
    parts = { definition, context, driver, producer, reader, topicPrefix, partitionsOf, places, aligned, hash, ready }
    consumer = driver.consumer({
      group,
      topics: inputs,
      bytesInFlightMax: bytesMax,
      recordsInFlightMax: recordsMax,
      ...(options.limits?.sessionMs === undefined ? {} : { sessionMs }),
    })
    committer = createCommitter(consumer, telemetry)
    lastCommitMs = lastMetricsMs = lastIdleProofMs = clock.nowMs()
    everySoOften()
    await consumer.start({
      assigned,
      revoked,
      records: onRecords,
      held: (tp, error) => owned.get(nameOf(tp))?.running?.hold(asSluiceError(error, 'SLU_LOG_FAILED')),
      stalled: (tp, error) => stalled(tp, error === null ? null : asSluiceError(error, 'SLU_LOG_FAILED')),
      troubled: (error) => troubled(error === null ? null : asSluiceError(error, 'SLU_LOG_FAILED')),
      failed: (error) => fatal(asSluiceError(error, 'SLU_LOG_FAILED')),
    })
    joinedMs = clock.nowMs()
  }

  return {
    start,
    stop: async (graceMs) => {
      if (stopping.signal.aborted) return
      stopping.abort()
      cancelTimer()
      const which = [...owned.values()]
      await release(which, graceMs)
      await close(which)
      await consumer?.stop()
      await producer?.close()
      await reader?.close()
      await admin?.close()
    },
    stats: () => ({ ...stats }),
    trouble: () => trouble,
    partitions: () =>
      [...owned.values()].map((one) => {
        const { isHeld, isIdle: _, ...rest } = statusOf(one)
        return { topic: one.topic, partition: one.partition, end: endOf(one), ...rest, state: isHeld ? 'held' : one.isPaused ? 'paused' : 'running' }
      }),
    drained: () =>
      (hasAssigned || (joinedMs !== null && hasElapsed(joinedMs, UNASSIGNED_AFTER_MS, clock.nowMs()))) &&
      [...owned.values()].every((one) => {
        const status = statusOf(one)
        const end = endOf(one)
        return status.isIdle && !status.isHeld && end !== null && (status.position ?? -1n) >= end && one.running?.uncommitted() === null
      }),
  }
}
