/**
 * A log in memory whose every answer waits for the script of a simulation: nothing an owner awaits happens by itself.
 *
 * Owns: topics with append time, committed offsets, and the operations under way. An operation is a send, a commit or a read; the script decides
 * when it happens and how: done, refused, landed in part or whole with its answer lost, or (its process dead) landed later unheard.
 * A crash between any two awaits of the code under test is thus one choice of the script. `regressed` counts commits that moved an offset back.
 */
import { Buffer } from 'node:buffer'
import { SluiceError } from '../../schemas/errors.ts'
import type { Appended, CommitEntry, Committed, LogAdmin, LogProducer, LogReader, LogRecord, OutRecord, PartitionRange, TailBatch, TopicPartition } from '../../schemas/log.ts'
import type { Clock, Random } from '../../schemas/ports.ts'

export interface PartitionLog {
  /** Every record ever appended; retention only moves `start`. */
  readonly records: LogRecord[]
  start: bigint
  end: bigint
}

type Fate = 'done' | 'refused' | 'unanswered'

interface Operation {
  readonly process: StepProcess
  readonly land: () => unknown
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
  readonly clock: Clock
  readonly #log: StepLog

  /** `skewMs` = how far its clock is off. */
  constructor(log: StepLog, skewMs: number) {
    this.#log = log
    this.clock = {
      nowMs: () => log.nowMs + skewMs,
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
          () => this.#log.append(records),
          () => void this.#log.append(this.#log.someOf(records)),
        ),
      close: () => Promise.resolve(),
    }
  }

  get reader(): LogReader {
    return {
      open: async ({ topic, partitions }) => {
        const batches = await this.#log.operation(this, () => this.#log.batches(topic, partitions))
        return {
          caughtUp: Promise.resolve(),
          close: () => Promise.resolve(),
          async *[Symbol.asyncIterator]() {
            yield* batches
          },
        }
      },
      close: () => Promise.resolve(),
    }
  }

  get admin(): Pick<LogAdmin, 'ranges' | 'close'> {
    const ranges = (topic: string): PartitionRange[] => (this.#log.topics.get(topic) ?? []).map(({ start, end }, partition) => ({ partition, startOffset: start, endOffset: end }))
    return { ranges: (topic) => this.#log.operation(this, () => ranges(topic)), close: () => Promise.resolve() }
  }

  commit(stage: number, entries: readonly CommitEntry[]): Promise<void> {
    return this.#log.operation(this, () => this.#log.commit(stage, entries))
  }
}

/** A named set of guards that hold in the real log; a mutation takes one away. */
export interface LogGuards {
  /** C3: a commit of an older epoch is refused. */
  readonly epochs: boolean
  /** W7: a send is acknowledged only once it is written. */
  readonly acknowledgements: boolean
}

export class StepLog {
  nowMs = 1000
  regressed = 0
  operations: Operation[] = []
  readonly topics = new Map<string, PartitionLog[]>()
  readonly committed = new Map<string, Committed>()
  readonly epochs = new Map<string, number>()
  readonly random: Random
  readonly #guards: LogGuards

  constructor(random: Random, guards: LogGuards) {
    this.random = random
    this.#guards = guards
  }

  create(topic: string, partitions: number): void {
    const all = this.topics.get(topic) ?? []
    while (all.length < partitions) all.push({ records: [], start: 0n, end: 0n })
    this.topics.set(topic, all)
  }

  at({ topic, partition }: TopicPartition): PartitionLog {
    const found = this.topics.get(topic)?.[partition]
    if (found === undefined) throw new Error(`${topic} has no partition ${partition}`)
    return found
  }

  /** One after the other: a record without partition goes where its key says. */
  append(records: readonly OutRecord[]): Appended[] {
    return records.map((record) => {
      const count = this.topics.get(record.topic)?.length ?? 0
      const partition = record.partition ?? [...(record.key ?? [])].reduce((sum, byte) => sum + byte, 0) % count
      const log = this.at({ topic: record.topic, partition })
      const offset = log.end
      // Now and then a control record stands behind a record, as a transaction of another producer leaves one.
      log.end = offset + (this.random() < 0.03 ? 2n : 1n)
      const { topic, key, value, headers = [] } = record
      log.records.push({ topic, partition, offset, timestampMs: this.nowMs, appendMs: this.nowMs, key, value: value === null ? null : Buffer.from(value), headers })
      return { topic, partition, offset }
    })
  }

  /** What some of the brokers had written when the others failed: whole partitions. */
  someOf(records: readonly OutRecord[]): OutRecord[] {
    const half = this.random() < 0.5
    return records.filter((record) => ((record.key?.at(-1) ?? record.partition ?? 0) % 2 === 0) === half)
  }

  batches(topic: string, partitions: readonly number[] | 'all'): TailBatch[] {
    const all = this.topics.get(topic) ?? []
    return all.flatMap((log, partition) => {
      if (partitions !== 'all' && !partitions.includes(partition)) return []
      return [{ topic, partition, records: log.records.filter((record) => record.offset >= log.start), readTo: log.end }]
    })
  }

  static keyOf(stage: number, partition: number): string {
    return `${stage}/${partition}`
  }

  commit(stage: number, entries: readonly CommitEntry[]): void {
    for (const { partition, epoch, nextOffset, metadata } of entries) {
      const key = StepLog.keyOf(stage, partition)
      if (this.#guards.epochs && epoch !== this.epochs.get(key)) throw new SluiceError('SLU_LOG_STALE_EPOCH', key)
      if (nextOffset < (this.committed.get(key)?.nextOffset ?? 0n)) this.regressed++
      this.committed.set(key, { nextOffset, metadata })
    }
  }

  operation<T>(process: StepProcess, land: () => T, landSome: (() => void) | null = null): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.operations.push({ process, land, landSome, resolve: resolve as (value: never) => void, reject })
    })
  }

  complete(operation: Operation, fate: Fate): void {
    this.operations = this.operations.filter((other) => other !== operation)
    if (operation.process.isDead) {
      // Written by a process that does not live to hear of it.
      if (fate !== 'refused') attempt(fate === 'done' ? operation.land : (operation.landSome ?? operation.land))
      return
    }
    if (fate === 'unanswered') attempt(this.random() < 0.5 ? operation.land : (operation.landSome ?? operation.land))
    if (fate !== 'done') return operation.reject(new SluiceError('SLU_LOG_UNREACHABLE', 'the simulation'))
    try {
      operation.resolve(this.#landed(operation) as never)
    } catch (thrown) {
      operation.reject(thrown as Error)
    }
  }

  /** Without the guard a send may be acknowledged first and written later, when the next one has overtaken it. */
  #landed(operation: Operation): unknown {
    if (this.#guards.acknowledgements || operation.landSome === null || this.random() < 0.8) return operation.land()
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
