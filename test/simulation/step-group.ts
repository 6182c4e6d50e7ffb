/**
 * A consumer group on the log of a simulation: who owns what, and when a member hears of it, is the script's choice.
 *
 * Owns: members, owners by epoch, and the driver of one process. The script deals out partitions, moves them, throws members out who go on without
 * knowing it, and delivers records: some once more, as a fetch that was answered before, some under an epoch that is over. Contract of
 * `schemas/log.ts`: nothing is delivered before `assigned` resolves or to a paused partition; a commit is refused unless its epoch owns the partition
 * when it lands (C3); a position the log does not hold puts the partition on hold (C7).
 */
import { asSluiceError, SluiceError } from '../../schemas/errors.ts'
import type { CommitEntry, ConsumerEvents, LogConsumer, LogDriver, LogRecord, StartAt, TopicPartition } from '../../schemas/log.ts'
import type { StepLog, StepProcess } from './step-log.ts'

export interface OwnedPartition extends TopicPartition {
  readonly epoch: number
  /** Null until `assigned` has answered, and once the partition is held. */
  position: bigint | null
  isPaused: boolean
  /** When the group asked for it back. */
  revokedMs: number | null
  endSeen: bigint | null
  /** C7: the log does not hold its position. */
  isHeld: boolean
}

/** A checker's eyes. */
export interface GroupWatch {
  committed?(consumer: StepConsumer, entry: CommitEntry, before: bigint | null): void
  assigned?(consumer: StepConsumer, at: OwnedPartition): void
  delivered?(consumer: StepConsumer, at: OwnedPartition): void
  held?(consumer: StepConsumer, at: OwnedPartition): void
  /** The member has let go. */
  released?(consumer: StepConsumer, at: OwnedPartition): void
}

/** With bytes of its own, as from a wire: what becomes of them in a member does not change the log. */
const fetched = (record: LogRecord): LogRecord => ({
  ...record,
  key: record.key === null ? null : Buffer.from(record.key),
  value: record.value === null ? null : Buffer.from(record.value),
  headers: record.headers.map(([name, value]) => [name, Buffer.from(value)] as const),
})

const nameOf = ({ topic, partition }: TopicPartition): string => `${topic}/${partition}`

export class StepGroup {
  readonly log: StepLog
  readonly name: string
  readonly topics: readonly string[]
  readonly watch: GroupWatch
  readonly owners = new Map<string, { readonly consumer: StepConsumer; readonly epoch: number }>()
  members: StepConsumer[] = []

  constructor(log: StepLog, name: string, topics: readonly string[], watch: GroupWatch) {
    this.log = log
    this.name = name
    this.topics = topics
    this.watch = watch
  }

  key(at: TopicPartition): string {
    return `${this.name}/${nameOf(at)}`
  }

  /** Partitions that nobody owns. */
  vacant(): TopicPartition[] {
    const all = this.topics.flatMap((topic) => (this.log.topics.get(topic) ?? []).map((_, partition) => ({ topic, partition })))
    return all.filter((at) => !this.owners.has(nameOf(at)))
  }

  assign(consumer: StepConsumer, partitions: readonly TopicPartition[]): void {
    const owned = partitions.map((at): OwnedPartition => {
      const epoch = (this.log.epochs.get(this.key(at)) ?? 0) + 1
      this.log.epochs.set(this.key(at), epoch)
      this.owners.set(nameOf(at), { consumer, epoch })
      return { ...at, epoch, position: null, isPaused: false, revokedMs: null, endSeen: null, isHeld: false }
    })
    consumer.take(owned)
  }

  isOwner(consumer: StepConsumer, at: TopicPartition, epoch: number): boolean {
    const owner = this.owners.get(nameOf(at))
    return owner !== undefined && owner.consumer === consumer && owner.epoch === epoch
  }

  free(consumer: StepConsumer, at: OwnedPartition): void {
    if (this.isOwner(consumer, at, at.epoch)) this.owners.delete(nameOf(at))
  }

  /** Its session is over: others take over. It does not know. */
  evict(consumer: StepConsumer): void {
    this.members = this.members.filter((other) => other !== consumer)
    for (const at of consumer.owned.values()) this.free(consumer, at)
  }

  commit(consumer: StepConsumer, entries: readonly CommitEntry[]): void {
    for (const entry of entries)
      if (this.log.guards.epochs && !this.isOwner(consumer, entry, entry.epoch)) throw new SluiceError('SLU_LOG_STALE_EPOCH', `${nameOf(entry)} epoch ${entry.epoch}`)
    for (const entry of entries) {
      const before = this.log.committed.get(this.key(entry))
      this.watch.committed?.(consumer, entry, before?.nextOffset ?? null)
      this.log.committed.set(this.key(entry), { nextOffset: entry.nextOffset, metadata: entry.metadata })
    }
  }
}

export class StepConsumer implements LogConsumer {
  readonly process: StepProcess
  readonly group: StepGroup
  readonly owned = new Map<string, OwnedPartition>()
  /** Commits that came back with an error. */
  failedCommits = 0
  /** Paused behind the runner's back or not, it is called no more. */
  isClosed = false
  #events: ConsumerEvents | null = null
  #former: OwnedPartition[] = []

  constructor(process: StepProcess, group: StepGroup) {
    this.process = process
    this.group = group
  }

  async start(events: ConsumerEvents): Promise<void> {
    await this.group.log.operation(this.process, () => undefined, null, { kind: 'join', records: [] })
    this.#events = events
    if (!this.isClosed) this.group.members.push(this)
  }

  pause(partitions: readonly TopicPartition[]): void {
    this.#set(partitions, true)
  }

  resume(partitions: readonly TopicPartition[]): void {
    this.#set(partitions, false)
  }

  #set(partitions: readonly TopicPartition[], isPaused: boolean): void {
    for (const at of partitions) {
      const owned = this.owned.get(nameOf(at))
      if (owned !== undefined) owned.isPaused = isPaused
    }
  }

  async commit(entries: readonly CommitEntry[]): Promise<void> {
    try {
      await this.group.log.operation(this.process, () => this.group.commit(this, entries), null, { kind: 'commit', records: [] })
    } catch (thrown) {
      this.failedCommits++
      throw thrown
    }
  }

  endOffset(at: TopicPartition): bigint | null {
    return this.owned.get(nameOf(at))?.endSeen ?? null
  }

  stop(): Promise<void> {
    this.isClosed = true
    this.group.evict(this)
    this.owned.clear()
    return Promise.resolve()
  }

  /** The group gives it partitions. */
  take(partitions: readonly OwnedPartition[]): void {
    const events = this.#events as ConsumerEvents
    for (const at of partitions) {
      this.owned.set(nameOf(at), at)
      this.group.watch.assigned?.(this, at)
    }
    const assignments = partitions.map(({ topic, partition, epoch }) => ({
      topic,
      partition,
      epoch,
      committed: this.group.log.committed.get(this.group.key({ topic, partition })) ?? null,
    }))
    const opening = new Map(partitions.map((at) => [nameOf(at), at]))
    const begin = (start: StartAt): void => {
      const at = opening.get(nameOf(start))
      opening.delete(nameOf(start))
      if (at !== undefined) this.#begin(at, start.nextOffset)
    }
    events.assigned(assignments, begin).then(
      (starts) => {
        for (const start of starts) begin(start)
      },
      (thrown: unknown) => {
        // As the members of real groups do: what may pass is tried again by joining again, the rest ends the process.
        const error = asSluiceError(thrown, 'SLU_INTERNAL')
        if (error.disposition === 'retry') void this.lose(partitions.filter((at) => this.#isOurs(at)))
        else if (!this.process.isDead) events.failed(error)
      },
    )
  }

  #isOurs(at: OwnedPartition): boolean {
    return this.owned.get(nameOf(at)) === at && !this.isClosed
  }

  #begin(at: OwnedPartition, asked: StartAt['nextOffset']): void {
    if (!this.#isOurs(at)) return
    const { start, end } = this.group.log.at(at)
    at.position = asked === 'start' ? start : asked
    at.endSeen = end
    this.#isHeld(at)
  }

  #isHeld(at: OwnedPartition): boolean {
    if (at.position === null) return true
    const { start, end } = this.group.log.at(at)
    if (at.position >= start && at.position <= end) return false
    const detail = `${nameOf(at)}: offset ${at.position}, the log holds ${start} to ${end}`
    at.position = null
    at.isHeld = true
    this.#events?.held(at, new SluiceError('SLU_LOG_TRUNCATED', detail))
    this.group.watch.held?.(this, at)
    return true
  }

  /** Everything that can be delivered now. */
  ready(): OwnedPartition[] {
    return [...this.owned.values()].filter(
      (at) => at.position !== null && !at.isPaused && at.revokedMs === null && (at.position < this.group.log.at(at).end || at.endSeen !== at.position),
    )
  }

  deliver(at: OwnedPartition): void {
    if (this.#isHeld(at)) return
    const { log } = this.group
    const { records, end } = log.at(at)
    const position = at.position as bigint
    at.endSeen = end
    // A fetch that was answered before may come once more.
    const from = log.random() < 0.1 ? position - BigInt(Math.floor(log.random() * 4)) : position
    const ready = records.filter(({ offset }) => offset >= from && offset >= log.at(at).start)
    const taken = ready.slice(0, 1 + Math.floor(log.random() * 5))
    const readTo = taken.length === ready.length ? end : (taken.at(-1)?.offset ?? position) + 1n
    if (readTo <= position) return
    at.position = readTo
    this.#events?.records(at, at.epoch, taken.map(fetched), readTo)
    this.group.watch.delivered?.(this, at)
    const old = this.#former.find((other) => nameOf(other) === nameOf(at) && other.position !== null)
    if (old === undefined || log.random() > 0.1) return
    // What was fetched for the epoch before comes now, from where that one stood.
    const former = old.position as bigint
    const stale = records.filter(({ offset }) => offset >= former).slice(0, 3)
    if (stale.length > 0) this.#events?.records(old, old.epoch, stale.map(fetched), (stale.at(-1)?.offset ?? former) + 1n)
  }

  /** C4: intake has stopped; resolves when the runner has let go. */
  async release(partitions: readonly OwnedPartition[]): Promise<void> {
    for (const at of partitions) at.revokedMs = this.group.log.nowMs
    await this.#events?.revoked(partitions, false)
    for (const at of partitions) {
      this.group.watch.released?.(this, at)
      this.#drop(at)
    }
  }

  /** It finds out that it was thrown out. */
  async lose(partitions: readonly OwnedPartition[]): Promise<void> {
    for (const at of partitions) this.#drop(at)
    await this.#events?.revoked(partitions, true)
  }

  #drop(at: OwnedPartition): void {
    if (this.owned.get(nameOf(at)) === at) this.owned.delete(nameOf(at))
    this.group.free(this, at)
    this.#former = [...this.#former.filter((other) => nameOf(other) !== nameOf(at)), at]
  }

  /** An evicted member finds out and joins again. */
  async rejoin(): Promise<void> {
    await this.lose([...this.owned.values()])
    if (!this.isClosed && !this.group.members.includes(this)) this.group.members.push(this)
  }
}

/** One process on the log; `onConsumer` hears of the member it becomes. */
export function stepDriver(process: StepProcess, group: StepGroup, onConsumer: (consumer: StepConsumer) => void): LogDriver {
  return {
    name: 'memory',
    capabilities: { transactions: true, commitMetadata: true, perPartitionPause: 'native', codecs: [] },
    consumer: () => {
      const consumer = new StepConsumer(process, group)
      onConsumer(consumer)
      return consumer
    },
    producer: () => process.producer,
    fencedProducer: (name) => process.fencedProducer(name),
    reader: () => process.reader,
    admin: () => process.admin,
    close: () => Promise.resolve(),
  }
}
