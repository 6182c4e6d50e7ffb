/**
 * The in-memory twin of the log drivers: deterministic for a seed, hostile on demand.
 *
 * Owns: a store in memory and the hooks that hurt. Groups, tails and producers are those of `infra/log/embedded/`; the conformance
 * suite runs against it too. Delivery goes by promise turns, never by real time: with a virtual clock everything is settled after
 * `settled()` or `advance()`. Unlike SQLite it leaves an offset without record after each transaction, as Kafka's control records do.
 */
import { Buffer } from 'node:buffer'
import type { ErrorCode } from '../../schemas/errors.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { Appended, Committed, LogDriver, LogRecord, OutRecord, TopicPartition, TopicSpec, TransactionOffsets } from '../../schemas/log.ts'
import type { Clock, Random } from '../../schemas/ports.ts'
import type { Group } from '../../infra/log/embedded/group.ts'
import { createLocalDriver, type LocalDriver } from '../../infra/log/embedded/local-driver.ts'
import { createLocalLog } from '../../infra/log/embedded/local-log.ts'
import type { Fence, FetchLimits, LogStore, PlacedRecord } from '../../infra/log/embedded/store.ts'
import { place, recordBytes, topicOf } from '../../infra/log/embedded/store.ts'

export interface MemoryLogOptions {
  readonly clock: Clock
  /** With it, batches are small and of random size (1 to 5 records); without, as large as they come. */
  readonly random?: Random
}

export interface MemoryLog {
  /** One process. Its name is what `crash`, `zombie` and `wake` take. */
  driver(name?: string): LogDriver
  create(topic: string, partitions: number, spec?: Partial<TopicSpec>): void
  /** Appends at once, past every hook, as a foreign producer would. */
  append(records: OutRecord | readonly OutRecord[]): Appended[]
  /** All records held, by partition, then offset. */
  dump(topic: string): LogRecord[]
  committed(group: string, at: TopicPartition): Committed | null
  /** Sets or (null) deletes a committed offset by hand: lost metadata, a reset. */
  setCommitted(group: string, at: TopicPartition, committed: Committed | null): void
  /** Drops records below the offset, as retention does. */
  truncate(at: TopicPartition, startOffset: bigint): void
  /** The next `count` sends and transactions fail. `landed`: the records are written and only the answer is lost. */
  failSends(count: number, code: ErrorCode, options?: { topic?: string; landed?: boolean }): void
  failCommits(count: number, code: ErrorCode): void
  /** Every send takes this long from now on. */
  delaySends(ms: number): void
  /** The process vanishes: no revoke, no event, its pending and later calls never settle. Others take over. */
  crash(driver: string): void
  /** The process sleeps through its session: others take over; it does not know, goes on reading, and its commits are refused. */
  zombie(driver: string): void
  /** A zombie finds out: `revoked` (lost), then it joins again. */
  wake(driver: string): Promise<void>
}

interface Partition {
  records: LogRecord[]
  startOffset: bigint
  endOffset: bigint
}

interface SendFault {
  count: number
  readonly code: ErrorCode
  readonly topic: string | undefined
  readonly landed: boolean
}

const never = <T>(): Promise<T> => new Promise<T>(() => {})

class MemoryStore {
  readonly specs = new Map<string, TopicSpec>()
  readonly partitions = new Map<string, Partition[]>()
  readonly offsets = new Map<string, Committed>()
  readonly fences = new Map<string, number>()
  readonly listeners = new Set<() => void>()
  readonly sendFaults: SendFault[] = []
  readonly commitFaults: ErrorCode[] = []
  sendDelayMs = 0
  readonly clock: Clock

  constructor(clock: Clock) {
    this.clock = clock
  }

  partition(at: TopicPartition): Partition {
    topicOf({ topic: (name) => this.specs.get(name) }, at.topic)
    const found = this.partitions.get(at.topic)?.[at.partition]
    if (found === undefined) throw new SluiceError('SLU_LOG_FAILED', `${at.topic} has no partition ${at.partition}`)
    return found
  }

  write(records: readonly PlacedRecord[], isTransaction: boolean): Appended[] {
    const appendMs = this.clock.nowMs()
    const appended = records.map((record) => this.writeOne(record, appendMs))
    if (isTransaction) for (const key of new Set(records.map((r) => `${r.partition} ${r.topic}`))) this.partition(tpOf(key)).endOffset += 1n
    for (const listener of this.listeners) listener()
    return appended
  }

  private writeOne(record: PlacedRecord, appendMs: number): Appended {
    const partition = this.partition(record)
    const isAppendTime = this.specs.get(record.topic)?.timestampType === 'LogAppendTime'
    const offset = partition.endOffset
    partition.endOffset += 1n
    partition.records.push({
      topic: record.topic,
      partition: record.partition,
      offset,
      timestampMs: isAppendTime ? appendMs : (record.timestampMs ?? appendMs),
      appendMs: isAppendTime ? appendMs : null,
      key: record.key === null ? null : Buffer.from(record.key),
      value: record.value === null ? null : Buffer.from(record.value),
      headers: (record.headers ?? []).map(([name, value]) => [name, Buffer.from(value)] as const),
    })
    return { topic: record.topic, partition: record.partition, offset }
  }

  takeSendFault(records: readonly OutRecord[]): SendFault | undefined {
    const fault = this.sendFaults.find((f) => f.count > 0 && (f.topic === undefined || records.some((r) => r.topic === f.topic)))
    if (fault !== undefined) fault.count -= 1
    return fault
  }

  fetch(at: TopicPartition, from: bigint, below: bigint, limits: FetchLimits): { records: LogRecord[]; readTo: bigint } {
    const held = this.partition(at).records
    const records: LogRecord[] = []
    let bytes = 0
    for (let index = firstAtOrAfter(held, from); index < held.length; index += 1) {
      const record = held[index] as LogRecord
      if (record.offset >= below) break
      bytes += recordBytes(record)
      const isFull = records.length >= limits.recordsMax || (records.length > 0 && bytes > limits.bytesMax)
      if (isFull) return { records, readTo: (records.at(-1) as LogRecord).offset + 1n }
      records.push(record)
    }
    return { records, readTo: below }
  }
}

const tpOf = (key: string): TopicPartition => ({ partition: Number(key.slice(0, key.indexOf(' '))), topic: key.slice(key.indexOf(' ') + 1) })

function firstAtOrAfter(records: readonly LogRecord[], offset: bigint): number {
  let low = 0
  let high = records.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((records[middle] as LogRecord).offset < offset) low = middle + 1
    else high = middle
  }
  return low
}

/** One process's view of the store: its calls pass the hooks and never settle once it has crashed. */
function viewOf(store: MemoryStore, process: { isDead: boolean }): LogStore {
  let sending: Promise<unknown> = Promise.resolve()
  const offsetKey = (group: string, at: TopicPartition): string => `${at.partition} ${at.topic} ${group}`
  const delayed = async (): Promise<void> => {
    await Promise.resolve()
    if (store.sendDelayMs > 0) await new Promise<void>((resolve) => store.clock.setTimer(store.sendDelayMs, resolve))
    if (process.isDead) await never()
  }
  const appendNow = async (records: readonly PlacedRecord[], fence: Fence | null, offsets: TransactionOffsets | undefined): Promise<Appended[]> => {
    await delayed()
    if (fence !== null && store.fences.get(fence.name) !== fence.epoch) throw new SluiceError('SLU_LOG_FENCED', fence.name)
    const fault = store.takeSendFault(records)
    if (fault === undefined || fault.landed) {
      for (const { nextOffset, metadata, ...at } of offsets?.entries ?? []) store.offsets.set(offsetKey(offsets?.group as string, at), { nextOffset, metadata })
      const appended = store.write(records, fence !== null)
      if (fault === undefined) return appended
    }
    throw new SluiceError(fault.code, 'injected by the test')
  }
  return {
    topic: (name) => store.specs.get(name),
    topics: () => [...store.specs.values()],
    createTopic: (spec) => {
      if (store.specs.has(spec.name)) return false
      store.specs.set(spec.name, spec)
      store.partitions.set(
        spec.name,
        Array.from({ length: spec.partitions }, () => ({ records: [], startOffset: 0n, endOffset: 0n })),
      )
      return true
    },
    range: (at) => {
      const { startOffset, endOffset } = store.partition(at)
      return { partition: at.partition, startOffset, endOffset }
    },
    fetch: (at, from, below, limits) => store.fetch(at, from, below, limits),
    append: (records, fence, offsets) => {
      const result = sending.then(() => appendNow(records, fence, offsets))
      sending = result.catch(() => {})
      return result
    },
    openFence: async (name) => {
      await Promise.resolve()
      if (process.isDead) return never()
      const epoch = (store.fences.get(name) ?? 0) + 1
      store.fences.set(name, epoch)
      return { name, epoch }
    },
    committed: (group, at) => store.offsets.get(offsetKey(group, at)) ?? null,
    commit: async (group, entries, check) => {
      await Promise.resolve()
      if (process.isDead) return never()
      const code = store.commitFaults.shift()
      if (code !== undefined) throw new SluiceError(code, 'injected by the test')
      check()
      for (const entry of entries) store.offsets.set(offsetKey(group, entry), { nextOffset: entry.nextOffset, metadata: entry.metadata })
    },
    onAppend: (listener) => {
      const heard = (): void => {
        if (!process.isDead) listener()
      }
      store.listeners.add(heard)
      return () => store.listeners.delete(heard)
    },
  }
}

export function createMemoryLog(options: MemoryLogOptions): MemoryLog {
  const { clock, random } = options
  const store = new MemoryStore(clock)
  const groups = new Map<string, Group>()
  const processes = new Map<string, { isDead: boolean; driver: LocalDriver }>()
  const outside = viewOf(store, { isDead: false })
  const later = (run: () => void): void => void Promise.resolve().then(run)
  const limits = (): FetchLimits => ({ recordsMax: random === undefined ? 500 : 1 + Math.floor(random() * 5), bytesMax: 1 << 20 })
  const processOf = (name: string): { isDead: boolean; driver: LocalDriver } => {
    const found = processes.get(name)
    if (found === undefined) throw new Error(`no driver is named ${name}`)
    return found
  }
  let keyless = 0
  return {
    driver: (name = `process-${processes.size}`) => {
      const state = { isDead: false }
      const local = createLocalLog({ store: viewOf(store, state), clock, later: (run) => later(() => (state.isDead ? undefined : run())), limits, groups })
      const driver = createLocalDriver('memory', local, async () => {})
      processes.set(name, Object.assign(state, { driver }))
      return driver
    },
    create: (topic, partitions, spec) => {
      const usual = { replication: 1, timestampType: 'LogAppendTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1 << 20 } as const
      outside.createTopic({ name: topic, partitions, ...usual, ...spec })
    },
    append: (records) =>
      store.write(
        place(outside, Array.isArray(records) ? records : [records as OutRecord], (partitions) => keyless++ % partitions),
        false,
      ),
    dump: (topic) => (store.partitions.get(topic) ?? []).flatMap((partition) => partition.records),
    committed: (group, at) => outside.committed(group, at),
    setCommitted: (group, at, committed) => {
      const key = `${at.partition} ${at.topic} ${group}`
      if (committed === null) store.offsets.delete(key)
      else store.offsets.set(key, committed)
    },
    truncate: (at, startOffset) => {
      const partition = store.partition(at)
      partition.startOffset = startOffset
      partition.records = partition.records.filter((record) => record.offset >= startOffset)
    },
    failSends: (count, code, fault) => store.sendFaults.push({ count, code, topic: fault?.topic, landed: fault?.landed ?? false }),
    failCommits: (count, code) => store.commitFaults.push(...Array.from({ length: count }, () => code)),
    delaySends: (ms) => {
      store.sendDelayMs = ms
    },
    crash: (name) => {
      const process = processOf(name)
      process.isDead = true
      for (const consumer of process.driver.consumers) consumer.kill()
    },
    zombie: (name) => {
      for (const consumer of processOf(name).driver.consumers) consumer.evict()
    },
    wake: async (name) => {
      await Promise.all([...processOf(name).driver.consumers].map((consumer) => consumer.rejoin()))
    },
  }
}
