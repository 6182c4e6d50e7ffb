/**
 * A log in memory whose every answer waits for the script of a simulation: nothing an owner awaits happens by itself.
 *
 * Owns: topics, committed offsets, fences, and the operations under way. An operation is a send, a transaction, the opening of a fence, a commit
 * or a read; the script decides when it happens and how: done, refused, landed in part or whole with its answer lost, or (its process dead) landed
 * later unheard. A crash between any two awaits of the code under test is thus one choice of the script. `regressed` counts commits that moved an
 * offset back. A record larger than its topic takes is refused as a broker does: with all of its partition, while other partitions may be written.
 */
import { Buffer } from 'node:buffer'
import { SluiceError } from '../../schemas/errors.ts'
import type {
  Appended,
  CommitEntry,
  Committed,
  FencedProducer,
  LogAdmin,
  LogProducer,
  LogReader,
  LogRecord,
  OutRecord,
  PartitionRange,
  TailBatch,
  TopicPartition,
  TopicSpec,
  TransactionOffsets,
} from '../../schemas/log.ts'
import type { Clock, Random } from '../../schemas/ports.ts'

export interface PartitionLog {
  /** Every record ever appended; retention only moves `start`. */
  readonly records: LogRecord[]
  start: bigint
  end: bigint
}

export type Fate = 'done' | 'refused' | 'unanswered'

const OTHER: About = { kind: 'read', records: [] }

/** What an operation is about: the script fails some topics and kinds more than others, a checker looks at what comes of them. */
export interface About {
  readonly kind: 'send' | 'transaction' | 'fence' | 'commit' | 'read' | 'admin' | 'join'
  readonly records: readonly OutRecord[]
  /** Of a fence. */
  readonly name?: string
}

export interface Operation extends About {
  readonly process: StepProcess
  /** In the order they were begun. */
  readonly serial: number
  /** `isHeard` = its process will learn that it happened. */
  readonly land: (isHeard: boolean) => unknown
  /** A send: part of it may be written, as when one of two brokers had done so. */
  readonly landSome: (() => void) | null
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

/** One process: what it awaits stands still while it sleeps and is never answered once it is dead. */
export class StepProcess {
  isDead = false
  sleepUntilMs = 0
  timers: { readonly atMs: number; readonly run: () => void }[] = []
  /** How far its clock is off; may jump. Timers go by the time that passes. */
  skewMs: number
  readonly clock: Clock
  readonly #log: StepLog

  constructor(log: StepLog, skewMs: number) {
    this.#log = log
    this.skewMs = skewMs
    this.clock = {
      nowMs: () => log.nowMs + this.skewMs,
      setTimer: (delayMs, run) => {
        const timer = { atMs: log.nowMs + Math.max(1, delayMs), run }
        this.timers.push(timer)
        return () => {
          this.timers = this.timers.filter((other) => other !== timer)
        }
      },
    }
  }

  isAwake(): boolean {
    return !this.isDead && this.sleepUntilMs <= this.#log.nowMs
  }

  /** Runs the earliest timer that is due. */
  runTimer(): boolean {
    const due = this.timers.filter((timer) => timer.atMs <= this.#log.nowMs)
    const first = due.reduce<(typeof due)[number] | undefined>((a, b) => (a === undefined || b.atMs < a.atMs ? b : a), undefined)
    if (first === undefined) return false
    this.timers = this.timers.filter((timer) => timer !== first)
    first.run()
    return true
  }

  get producer(): LogProducer {
    return {
      send: (records) =>
        this.#log.operation(
          this,
          () => this.#log.send(records),
          () => void this.#log.append(this.#log.someOf(records)),
          { kind: 'send', records },
        ),
      close: () => Promise.resolve(),
    }
  }

  /** Once open, every earlier holder of the name is refused. A transaction is written whole or not at all. */
  async fencedProducer(name: string): Promise<FencedProducer> {
    const log = this.#log
    const open = (): number => {
      const next = (log.fences.get(name) ?? 0) + 1
      log.fences.set(name, next)
      return next
    }
    const epoch = await log.operation(this, open, null, { kind: 'fence', records: [], name })
    return {
      transaction: (records, offsets) =>
        log.operation(
          this,
          (isHeard) => {
            if (log.guards.fences && log.fences.get(name) !== epoch) throw new SluiceError('SLU_LOG_FENCED', name)
            return log.transact(this, name, records, isHeard, offsets)
          },
          null,
          { kind: 'transaction', records },
        ),
      close: () => Promise.resolve(),
    }
  }

  /** Reads to the ends seen when it was opened, a partition at a time. */
  get reader(): LogReader {
    const log = this.#log
    return {
      open: async ({ topic, partitions, from }) => {
        const ends = await log.operation(this, () => log.ends(topic, partitions))
        const fromOf = (partition: number): bigint => (typeof from === 'string' ? 0n : (from.get(partition) ?? 0n))
        const read = (partition: number, end: bigint): Promise<TailBatch> => log.operation(this, () => log.batch({ topic, partition }, fromOf(partition), end))
        return {
          caughtUp: Promise.resolve(),
          close: () => Promise.resolve(),
          async *[Symbol.asyncIterator]() {
            // As the drivers do, nothing where there is nothing to read.
            for (const [partition, end] of ends) if (fromOf(partition) < end) yield await read(partition, end)
          },
        }
      },
      close: () => Promise.resolve(),
    }
  }

  get admin(): LogAdmin {
    const log = this.#log
    const ranges = (topic: string): PartitionRange[] => (log.topics.get(topic) ?? []).map(({ start, end }, partition) => ({ partition, startOffset: start, endOffset: end }))
    const infos = () => [...log.specs.values()].map((spec) => ({ ...spec, partitions: log.topics.get(spec.name)?.length ?? 0 }))
    const never = (): Promise<never> => Promise.reject(new Error('no part of the simulation'))
    return {
      topics: () => log.operation(this, infos, null, { kind: 'admin', records: [] }),
      ranges: (topic) => log.operation(this, () => ranges(topic), null, { kind: 'admin', records: [] }),
      mayAppend: () => log.operation(this, () => true, null, { kind: 'admin', records: [] }),
      createTopics: never,
      committed: (group, topic) => log.operation(this, () => log.committedOf(group, topic), null, { kind: 'admin', records: [] }),
      close: () => Promise.resolve(),
    }
  }

  commit(stage: number, entries: readonly CommitEntry[]): Promise<void> {
    return this.#log.operation(this, () => this.#log.commit(stage, entries), null, { kind: 'commit', records: [] })
  }
}

/** A named set of guards that hold in the real log; a mutation takes one away. */
export interface LogGuards {
  /** C3: a commit of an older epoch is refused. */
  readonly epochs: boolean
  /** W7: a send is acknowledged only once it is written. */
  readonly acknowledgements: boolean
  /** C8, R1: an earlier holder of a fenced producer is refused. */
  readonly fences?: boolean
}

/** A transaction as it landed. */
export interface Transaction {
  readonly process: StepProcess
  readonly name: string
  readonly records: readonly LogRecord[]
  /** Its process learned of it, or died. */
  readonly isHeard: boolean
}

/** A checker's eyes: told of everything that lands, as it lands. */
export interface Watch {
  appended?(record: LogRecord): void
  begun?(operation: Operation): void
  transacted?(transaction: Transaction): void
  /** An offset moved in a transaction. */
  moved?(at: TopicPartition, nextOffset: bigint): void
  /** What came of an operation of a living process. */
  ended?(operation: Operation, fate: Fate): void
}

export class StepLog {
  nowMs = 1000
  regressed = 0
  operations: Operation[] = []
  /** Operations begun so far. */
  serial = 0
  readonly topics = new Map<string, PartitionLog[]>()
  readonly committed = new Map<string, Committed>()
  readonly epochs = new Map<string, number>()
  readonly specs = new Map<string, TopicSpec>()
  readonly fences = new Map<string, number>()
  readonly random: Random
  readonly guards: LogGuards & { readonly fences: boolean }
  watch: Watch = {}
  /** Other partitions may be written when one of a send is refused as too large. */
  isPartial = true

  constructor(random: Random, guards: LogGuards) {
    this.random = random
    this.guards = { fences: true, ...guards }
  }

  /** A topic that is there gets more partitions. */
  create(topic: string, partitions: number, spec: Partial<TopicSpec> = {}): void {
    const all = this.topics.get(topic) ?? []
    const usual = { name: topic, partitions, replication: 1, timestampType: 'LogAppendTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 } as const
    if (!this.specs.has(topic)) this.specs.set(topic, { ...usual, ...spec })
    while (all.length < partitions) all.push({ records: [], start: 0n, end: 0n })
    this.topics.set(topic, all)
  }

  at({ topic, partition }: TopicPartition): PartitionLog {
    const found = this.topics.get(topic)?.[partition]
    if (found === undefined) throw new Error(`${topic} has no partition ${partition}`)
    return found
  }

  #placed(record: OutRecord): number {
    const count = this.topics.get(record.topic)?.length ?? 0
    return record.partition ?? [...(record.key ?? [])].reduce((sum, byte) => sum + byte, 0) % count
  }

  #isTooLarge({ topic, key, value, headers = [] }: OutRecord): boolean {
    const bytes = headers.reduce((sum, [name, text]) => sum + name.length + text.length, (key?.length ?? 0) + (value?.length ?? 0))
    return bytes > (this.specs.get(topic)?.maxMessageBytes ?? Infinity)
  }

  /** One after the other: a record without partition goes where its key says. */
  append(records: readonly OutRecord[]): Appended[] {
    return records.map((record) => {
      const { offset, topic, partition } = this.#write(record)
      // Now and then a control record stands behind a record, as a transaction of another producer leaves one.
      if (this.random() < 0.03) this.at({ topic, partition }).end += 1n
      return { topic, partition, offset }
    })
  }

  #write(record: OutRecord): LogRecord {
    const { topic, key, value, headers = [] } = record
    const partition = this.#placed(record)
    const log = this.at({ topic, partition })
    const offset = log.end
    log.end += 1n
    const isAppendTime = this.specs.get(topic)?.timestampType !== 'CreateTime'
    const times = isAppendTime ? { timestampMs: this.nowMs, appendMs: this.nowMs } : { timestampMs: record.timestampMs ?? this.nowMs, appendMs: null }
    const copy = (bytes: Buffer | null): Buffer | null => (bytes === null ? null : Buffer.from(bytes))
    const written = { topic, partition, offset, ...times, key: copy(key), value: copy(value), headers }
    log.records.push(written)
    this.watch.appended?.(written)
    return written
  }

  /** What is written beside a record too large: a broker refuses it with all of its partition. */
  #besideTooLarge(records: readonly OutRecord[]): readonly OutRecord[] {
    const placeOf = (record: OutRecord): string => `${record.topic}/${this.#placed(record)}`
    const full = new Set(records.filter((record) => this.#isTooLarge(record)).map(placeOf))
    if (full.size === 0) return records
    return this.isPartial ? records.filter((record) => !full.has(placeOf(record))) : []
  }

  send(records: readonly OutRecord[]): Appended[] {
    if (!records.some((record) => this.#isTooLarge(record))) return this.append(records)
    if (this.random() < 0.5) this.append(this.#besideTooLarge(records))
    throw new SluiceError('SLU_LOG_RECORD_TOO_LARGE', 'the simulation')
  }

  /** With its offsets, or neither. */
  transact(process: StepProcess, name: string, records: readonly OutRecord[], isHeard: boolean, offsets?: TransactionOffsets): Appended[] {
    if (records.some((record) => this.#isTooLarge(record))) throw new SluiceError('SLU_LOG_RECORD_TOO_LARGE', 'the simulation')
    const written = records.map((record) => this.#write(record))
    for (const at of new Map(written.map(({ topic, partition }) => [`${topic}/${partition}`, { topic, partition }])).values()) this.at(at).end += 1n
    this.watch.transacted?.({ process, name, records: written, isHeard })
    for (const { nextOffset, metadata, ...at } of offsets?.entries ?? []) {
      this.watch.moved?.(at, nextOffset)
      this.committed.set(`${offsets?.group}/${at.topic}/${at.partition}`, { nextOffset, metadata })
    }
    return written.map(({ topic, partition, offset }) => ({ topic, partition, offset }))
  }

  /** What some of the brokers had written when the others failed: whole partitions. */
  someOf(records: readonly OutRecord[]): OutRecord[] {
    const half = this.random() < 0.5
    return this.#besideTooLarge(records).filter((record) => ((record.key?.at(-1) ?? record.partition ?? 0) % 2 === 0) === half)
  }

  committedOf(group: string, topic: string): Map<number, Committed> {
    const found = new Map<number, Committed>()
    for (const partition of (this.topics.get(topic) ?? []).keys()) {
      const committed = this.committed.get(`${group}/${topic}/${partition}`)
      if (committed !== undefined) found.set(partition, committed)
    }
    return found
  }

  ends(topic: string, partitions: readonly number[] | 'all'): [number, bigint][] {
    const all = [...(this.topics.get(topic) ?? []).entries()].map(([partition, { end }]) => [partition, end] as [number, bigint])
    return partitions === 'all' ? all : all.filter(([partition]) => partitions.includes(partition))
  }

  /** A compacted topic may have lost what a later record of the same key replaced. */
  batch(at: TopicPartition, from: bigint, end: bigint): TailBatch {
    const { records, start } = this.at(at)
    if (from > 0n && from < start) throw new SluiceError('SLU_LOG_TRUNCATED', `${at.topic}/${at.partition}`)
    const held = records.filter(({ offset }) => offset >= start && offset >= from && offset < end)
    const isCompacted = this.specs.get(at.topic)?.cleanup === 'compact' && this.random() < 0.5
    const last = new Map(records.map((record) => [String(record.key), record.offset]))
    return { ...at, records: isCompacted ? held.filter((record) => last.get(String(record.key)) === record.offset) : held, readTo: end }
  }

  static keyOf(stage: number | string, partition: number): string {
    return `${stage}/${partition}`
  }

  commit(stage: number | string, entries: readonly CommitEntry[]): void {
    for (const { partition, epoch, nextOffset, metadata } of entries) {
      const key = StepLog.keyOf(stage, partition)
      if (this.guards.epochs && epoch !== this.epochs.get(key)) throw new SluiceError('SLU_LOG_STALE_EPOCH', key)
      if (nextOffset < (this.committed.get(key)?.nextOffset ?? 0n)) this.regressed++
      this.committed.set(key, { nextOffset, metadata })
    }
  }

  operation<T>(process: StepProcess, land: (isHeard: boolean) => T, landSome: (() => void) | null = null, about: About = OTHER): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const operation = { ...about, process, serial: ++this.serial, land, landSome, resolve: resolve as (value: never) => void, reject }
      this.operations.push(operation)
      this.watch.begun?.(operation)
    })
  }

  complete(operation: Operation, fate: Fate): void {
    this.operations = this.operations.filter((other) => other !== operation)
    const land = (isHeard: boolean): void => void operation.land(isHeard)
    if (operation.process.isDead) {
      // Written by a process that does not live to hear of it.
      if (fate !== 'refused') attempt(fate === 'done' || operation.landSome === null ? () => land(true) : operation.landSome)
      return
    }
    if (fate === 'unanswered') attempt(this.random() < 0.5 || operation.landSome === null ? () => land(false) : operation.landSome)
    this.watch.ended?.(operation, fate)
    if (fate !== 'done') return operation.reject(new SluiceError('SLU_LOG_UNREACHABLE', 'the simulation'))
    try {
      operation.resolve(this.#landed(operation) as never)
    } catch (thrown) {
      operation.reject(thrown as Error)
    }
  }

  /** Without the guard a send may be acknowledged first and written later, when the next one has overtaken it. */
  #landed(operation: Operation): unknown {
    if (this.guards.acknowledgements || operation.landSome === null || this.random() < 0.8) return operation.land(true)
    const process = new StepProcess(this, 0)
    process.isDead = true
    this.operations.push({ ...operation, process })
    return []
  }
}

function attempt(run: () => unknown): void {
  try {
    run()
  } catch (thrown) {
    // Refused where it arrived, and nobody listens: the stale commit of a dead process.
    if (!(thrown instanceof SluiceError)) throw thrown
  }
}
