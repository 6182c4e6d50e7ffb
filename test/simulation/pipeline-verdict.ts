/**
 * What a run of the pipelines simulation does, looked at while it does it, against the crash-free function of its log.
 *
 * Owns: the assertion of each invariant, named in what it says: C1 (no commit above a record that has not ended), C3 and C8 (no write of an older epoch
 * after a newer one, rows never go back, each state is what the log says at the row's version, nothing folded twice), C4 (work in flight is not cut short
 * before its time; a hand-over without faults doubles nothing), C5 and D1 (tries as the fate says, order per key), C6 (never more in memory), C7 (a
 * partition whose offset is gone stands and says so), D2 (a dead letter's bytes, headers, coordinates), D3 (nothing starts while a dead letter cannot be
 * written), D5 (each put back once), D6 (every record ends in the places of its fate and in no other), T1, T2.
 */
import type { CommitEntry, LogRecord } from '../../schemas/log.ts'
import {
  CONCURRENCY,
  coordinateOf,
  endingOf,
  foldedBy,
  itemOf,
  stateKeyOf,
  plainKind,
  type Ending,
  type HandlerEyes,
  type Kind,
  type PlainKind,
  type Output,
  type State,
} from './pipeline-functions.ts'
import type { Member } from './pipeline-world.ts'
import type { GroupWatch, OwnedPartition, StepConsumer } from './step-group.ts'
import type { Fate, Operation, StepLog, StepProcess, Transaction, Watch } from './step-log.ts'

export const RECORDS_MAX = 8
/** Largest delivery of the simulated fetcher. */
const DELIVERY_MAX = 5
const HANDOVER_MS = 100
const CONNECT = '__connect.errors.'
const LETTER_HEADERS = ['topic', 'partition', 'offset', 'connector.name', 'task.id', 'stage', 'class.name', 'exception.class.name', 'exception.message', 'exception.stacktrace']
const IN_SHORT = new Set(['topic', 'partition', 'offset', 'connector.name', 'task.id', 'stage'])
const BREACHES_MAX = 12

export const headerOf = (record: Pick<LogRecord, 'headers'>, name: string): string => record.headers.findLast(([n]) => n === name)?.[1].toString() ?? ''

const isMarker = (record: LogRecord): boolean =>
  record.value === null && headerOf(record, `${CONNECT}topic`) === '' && (headerOf(record, 'sluice.redriven') !== '' || headerOf(record, 'sluice.park.handled') !== '')

const ORDER = 'sluice.park.order'
/** Fates that a redrive mends. */
const MENDED = new Set(['throws', 'refused', 'hopeless'])

/** D4: the offset under which the record first stood. */
const orderOf = (record: LogRecord): bigint => BigInt(headerOf(record, 'sluice.redrive.order').split('/')[1] ?? record.offset)

/** One order of a key. */
interface KeyOrder {
  isSettled: boolean
  isParked: boolean
  isHopeless: boolean
}

export interface PipelineVerdict {
  readonly lost: number
  readonly wrong: number
  readonly doubled: number
}

export class PipelineChecker implements Watch, GroupWatch, HandlerEyes {
  readonly breaches: string[] = []
  readonly kind: PlainKind
  /** Outputs, dead letters and offset in one transaction: nothing may be there twice. */
  readonly isTransactional: boolean
  /** D4: a dead letter holds back what follows of its key. */
  readonly isParking: boolean
  readonly log: StepLog
  /** Offsets that an operator passed over by hand, or let go when retention had taken them. */
  readonly excuses: { readonly partition: number; readonly from: bigint; readonly to: bigint }[] = []
  /** Somebody moved offsets by hand: first occurrences need not be in order. */
  isReset = false
  slowHandovers = 0
  repeats = 0
  members: () => readonly Member[] = () => []
  readonly #endings = new Map<string, Ending>()
  readonly #outputs = new Map<string, Set<number>>()
  readonly #letters = new Set<string>()
  readonly #handled = new Set<string>()
  readonly #newest = new Map<string, bigint>()
  readonly #commits = new Map<StepConsumer, Map<string, bigint>>()
  readonly #orders = new Map<string, Map<bigint, KeyOrder>>()
  readonly #parkedAt = new Set<string>()
  readonly #endedBelow = new Map<number, number>()
  readonly #running = new Map<StepProcess, Set<{ readonly lane: string }>>()
  readonly #unwritten = new Map<StepProcess, Set<string>>()
  /** By process and partition: the newest epoch, and the operations begun before it. */
  readonly #epochs = new Map<StepProcess, Map<number, { readonly epoch: number; readonly serial: number }>>()
  readonly #lastWriter = new Map<number, number>()
  readonly #versions = new Map<string, bigint>()
  readonly #folded = new Map<string, Transaction>()
  #wrong = 0
  protected doubled = 0

  /** Of a record of `in`, once it is written. */
  readonly #endingOf: (record: LogRecord) => Ending

  constructor(kind: Kind, log: StepLog, of: (record: LogRecord) => Ending = (record) => endingOf(plainKind(kind), record)) {
    this.kind = plainKind(kind)
    this.isTransactional = kind.startsWith('tx-')
    this.isParking = kind.startsWith('park-')
    this.log = log
    this.#endingOf = of
  }

  breach(text: string): void {
    this.#wrong++
    if (this.breaches.length < BREACHES_MAX) this.breaches.push(`${this.log.nowMs} ${text}`)
  }

  // ---- what lands

  appended(record: LogRecord): void {
    if (this.isParking && record.topic === 'in' && record.key !== null) this.#produced(record)
    if (record.topic === 'out' || record.topic === 'side') this.#output(record)
    else if (record.topic === 'in.dlq' && !isMarker(record)) this.#letter(record)
  }

  #produced(record: LogRecord): void {
    const { fate, letter } = this.endingOf(record)
    if (fate === 'tick' || fate === 'others') return
    const order = this.#orderOf(record)
    // A copy may be what its first one was not: whoever put it back has mended the handler.
    order.isHopeless = letter !== null && fate !== 'part' && (orderOf(record) !== record.offset || !MENDED.has(fate))
  }

  source(partition: number, offset: bigint): LogRecord | undefined {
    return this.log.topics.get('in')?.[partition]?.records.find((record) => record.offset === offset)
  }

  endingOf(record: LogRecord): Ending {
    const at = coordinateOf(record)
    const known = this.#endings.get(at)
    if (known !== undefined) return known
    const ending = this.#endingOf(record)
    this.#endings.set(at, ending)
    return ending
  }

  #output(record: LogRecord): void {
    const { from, id, part } = JSON.parse(String(record.value)) as Output
    const [partition = '', offset = ''] = from.split('/')
    const source = this.source(Number(partition), BigInt(offset))
    if (source === undefined) return this.breach(`D6: an output of ${from}, which is no record`)
    const { parts, fate } = this.endingOf(source)
    const item = itemOf(source)
    if (part >= parts || item.id !== id || record.key?.toString() !== item.key || (part === 0) !== (record.topic === 'out'))
      this.breach(`D6: output ${part} of ${from} (${fate}), which must have ${parts}`)
    const seen = this.#outputs.get(from) ?? new Set()
    this.#outputs.set(from, seen)
    if (seen.has(part)) this.#repeated(`output ${part} of ${from}`)
    this.#inOrder(record, source, seen.has(part))
    this.#settled(source)
    seen.add(part)
  }

  #repeated(what: string): void {
    this.repeats++
    if (!this.isTransactional) return
    this.doubled++
    this.breach(`C1: ${what} is there twice`)
  }

  /** D1, T2: of each key the first occurrences stand in the order of the source, whoever died. */
  #inOrder(record: LogRecord, source: LogRecord, isKnown: boolean): void {
    // With parking it is the order of the record that counts, not where its copy stands.
    if (this.isParking || this.isReset || this.kind === 'task-unordered' || (this.kind === 'task-key' && source.key === null)) return
    const lane = `${record.topic}/${source.partition}/${String(record.key)}`
    const newest = this.#newest.get(lane) ?? -1n
    if (source.offset > newest) this.#newest.set(lane, source.offset)
    else if (!isKnown) this.breach(`D1: ${lane}: ${source.offset} first came out after ${newest}`)
  }

  /** D2 */
  #letter(letter: LogRecord): void {
    const [partition, offset] = [Number(headerOf(letter, `${CONNECT}partition`)), BigInt(headerOf(letter, `${CONNECT}offset`) || -1)]
    const source = this.source(partition, offset)
    if (source === undefined) return this.breach(`D2: a dead letter of in/${partition}/${offset}, which is no record`)
    const at = coordinateOf(source)
    const { letter: due, fate } = this.endingOf(source)
    const same = (a: Buffer | null, b: Buffer | null): boolean => (a === null || b === null ? a === b : a.equals(b))
    if (!same(letter.key, source.key) || !same(letter.value, source.value) || letter.timestampMs !== source.timestampMs) this.breach(`D2: ${at}: key, value or time changed`)
    if (!source.headers.every(([name, value], i) => letter.headers[i]?.[0] === name && letter.headers[i][1].equals(value))) this.breach(`D2: ${at}: headers changed`)
    const added = letter.headers.slice(source.headers.length).map(([name]) => name)
    const order = headerOf(letter, ORDER)
    if (order !== '' && order !== String(orderOf(source))) this.breach(`D4: ${at} is parked as ${order}`)
    const full = [...LETTER_HEADERS.map((name) => CONNECT + name), 'sluice.error.code', 'sluice.attempts', ...(this.isParking && order !== '' ? [ORDER] : [])]
    const short = full.filter((name) => !name.startsWith(CONNECT) || IN_SHORT.has(name.slice(CONNECT.length)))
    const isShort = added.length < full.length
    if (added.join() !== (isShort ? short : full).join() || (isShort && (source.value?.length ?? 0) < 2000)) this.breach(`D2: ${at}: headers ${added.join()}`)
    const said = { code: headerOf(letter, 'sluice.error.code'), stage: headerOf(letter, `${CONNECT}stage`), attempts: Number(headerOf(letter, 'sluice.attempts')) }
    if (this.isParking && order !== '') this.#parked(source)
    if (this.isParking && said.code === 'SLU_RECORD_KEY_PARKED') return void this.#letters.add(at)
    if (due === null) return this.breach(`D6: ${at} (${fate}) is a dead letter: ${JSON.stringify(said)}`)
    // D1: tries of earlier rounds come back with a record that was put back.
    const tried = due.attempts + Number(headerOf(source, 'sluice.redrive.attempts') || 0)
    if (said.code !== due.code || said.stage !== due.stage || said.attempts !== tried || headerOf(letter, `${CONNECT}topic`) !== 'in')
      this.breach(`D1, D2: ${at} (${fate}): ${JSON.stringify(said)}, must be ${JSON.stringify(due)}`)
    if (this.#letters.has(at) && this.isTransactional) this.#repeated(`the dead letter of ${at}`)
    this.#letters.add(at)
  }

  #keyOf(source: LogRecord): Map<bigint, KeyOrder> {
    const name = `${source.partition}/${source.key?.toString('latin1')}`
    const orders = this.#orders.get(name) ?? new Map<bigint, KeyOrder>()
    this.#orders.set(name, orders)
    return orders
  }

  #orderOf(source: LogRecord): KeyOrder {
    const orders = this.#keyOf(source)
    const order = orders.get(orderOf(source)) ?? { isSettled: false, isParked: false, isHopeless: false }
    orders.set(orderOf(source), order)
    return order
  }

  /** D4: what stands in the DLQ of a key, each once; what follows it must have something before it. */
  #parked(source: LogRecord): void {
    const at = coordinateOf(source)
    if (this.#parkedAt.has(at)) this.breach(`D4: ${at} is parked twice`)
    this.#parkedAt.add(at)
    const mine = this.#orderOf(source)
    if (mine.isSettled && this.#outputs.has(at)) this.breach(`D4: ${at} is parked though it was handled`)
    mine.isParked = true
    const isOwnFault = this.endingOf(source).letter !== null
    if (!isOwnFault && ![...this.#keyOf(source)].some(([order, one]) => order < orderOf(source) && one.isParked)) this.breach(`D4: ${at} was diverted behind nothing`)
  }

  /** D4: handled for the first time, nothing of its key that stands before it may be open. */
  #settled(source: LogRecord): void {
    if (!this.isParking || source.key === null) return
    const mine = this.#orderOf(source)
    if (mine.isSettled) return
    mine.isSettled = true
    for (const [order, one] of this.#keyOf(source))
      if (order < orderOf(source) && !one.isSettled) this.breach(`D4: ${coordinateOf(source)} (order ${orderOf(source)}) was handled before order ${order} of its key`)
  }

  /** D4: after enough redrives only what cannot be handled at all is left, and what stands behind it. */
  #leftOver(): void {
    for (const [name, orders] of this.#orders)
      for (const [order, { isSettled, isHopeless }] of [...orders].sort((a, b) => (a[0] < b[0] ? -1 : 1))) {
        if (isHopeless) break
        if (!isSettled) this.breach(`D4: order ${order} of ${name} is still parked with nothing hopeless before it`)
      }
  }

  /** All that its fate says has landed. */
  hasEnded(record: LogRecord): boolean {
    const at = coordinateOf(record)
    if (this.isParking && this.#parkedAt.has(at)) return true
    const { fate, parts, letter } = this.endingOf(record)
    if (letter !== null && !this.#letters.has(at)) return false
    if (this.kind === 'requests') return true
    if (this.kind === 'lambda' ? letter === null && fate !== 'tick' && fate !== 'others' : fate === 'none') return this.#handled.has(at)
    return this.kind === 'lambda' || (this.#outputs.get(at)?.size ?? 0) >= parts
  }

  isExcused(partition: number, offset: bigint): boolean {
    return this.excuses.some((one) => one.partition === partition && offset >= one.from && offset < one.to)
  }

  /** C1, D3, and C7 where a commit jumps over what retention took. */
  committed(consumer: StepConsumer, { partition, epoch, nextOffset }: CommitEntry): void {
    const owner = `${partition}/${epoch}`
    const commits = this.#commits.get(consumer) ?? new Map<string, bigint>()
    this.#commits.set(consumer, commits)
    if (nextOffset < (commits.get(owner) ?? 0n)) this.breach(`C1: ${owner} committed ${nextOffset} after ${commits.get(owner)}`)
    commits.set(owner, nextOffset)
    this.moved({ partition }, nextOffset)
  }

  moved({ partition }: { readonly partition: number }, nextOffset: bigint): void {
    const records = this.log.topics.get('in')?.[partition]?.records ?? []
    let index = this.#endedBelow.get(partition) ?? 0
    for (let record = records[index]; record !== undefined && record.offset < nextOffset; record = records[++index])
      if (!this.hasEnded(record) && !this.isExcused(partition, record.offset))
        this.breach(`C1: committed ${nextOffset} above ${coordinateOf(record)} (${this.endingOf(record).fate}), which has not ended`)
    this.#endedBelow.set(partition, index)
  }

  // ---- C3, C8

  transacted(transaction: Transaction): void {
    if (this.kind === 'requests' || transaction.name.startsWith('sluice-redrive')) return
    const partition = Number(transaction.name.split('.').at(-1))
    const epoch = this.#epochs.get(transaction.process)?.get(partition)?.epoch ?? -1
    const last = this.#lastWriter.get(partition) ?? -1
    if (epoch < last) this.breach(`C3: in/${partition} is written under epoch ${epoch} after ${last}`)
    this.#lastWriter.set(partition, Math.max(epoch, last))
    if (this.kind !== 'fold') return
    const newest = new Map<string, bigint>()
    for (const record of transaction.records.filter(({ topic }) => topic !== 'in.dlq')) {
      const offset = BigInt(headerOf(record, 'sluice.source.offset') || -2)
      if (headerOf(record, 'sluice.source.partition') !== String(partition)) this.breach(`C8: a record of in/${partition} without its version`)
      if (record.topic === 'state') {
        this.#row(record, partition, offset)
        newest.set(String(record.key), offset)
      } else this.#once(record, transaction)
    }
    for (const [key, offset] of newest) {
      if (offset < (this.#versions.get(key) ?? -1n)) this.breach(`C8: ${key} went back from ${this.#versions.get(key)} to ${offset}`)
      this.#versions.set(key, offset)
    }
  }

  #row(record: LogRecord, partition: number, offset: bigint): void {
    const state = JSON.parse(String(record.value)) as State
    const items = this.#foldedTo(partition, state.key, offset)
    const sum = items.reduce((total, n) => total + n, 0)
    if (String(record.key) !== stateKeyOf(state.key, partition) || state.sum !== sum || state.count !== items.length)
      this.breach(`C8: ${String(record.key)} at ${offset} says ${state.sum} of ${state.count}, the log says ${sum} of ${items.length}`)
  }

  #foldedTo(partition: number, key: string, offset: bigint): number[] {
    return (this.log.topics.get('in')?.[partition]?.records ?? [])
      .filter((r) => r.offset <= offset)
      .flatMap((r) => {
        const item = foldedBy(r)
        return item !== null && item.key === key ? [item.n] : []
      })
  }

  /** An emit stands there twice only if its writer was never told of the first. */
  #once(record: LogRecord, transaction: Transaction): void {
    const { from, part, sum } = JSON.parse(String(record.value)) as Output
    const [partition = '', offset = ''] = from.split('/')
    const source = this.source(Number(partition), BigInt(offset))
    const due = source === undefined ? -1 : this.#foldedTo(source.partition, itemOf(source).key, source.offset).reduce((total, n) => total + n, 0)
    if (sum !== due) this.breach(`C8: ${from} came out as ${sum}, the log says ${due}`)
    const before = this.#folded.get(`${from}/${part}`)
    if (before?.isHeard === true) {
      this.doubled++
      this.breach(`C8: ${from} was folded twice`)
    }
    this.#folded.set(`${from}/${part}`, transaction)
  }

  // ---- members

  assigned({ process }: StepConsumer, { partition, epoch }: OwnedPartition): void {
    const epochs = this.#epochs.get(process) ?? new Map<number, { epoch: number; serial: number }>()
    this.#epochs.set(process, epochs.set(partition, { epoch, serial: this.log.serial }))
    const unwritten = this.#unwritten.get(process)
    for (const at of unwritten ?? []) if (at.startsWith(`${partition}/`)) unwritten?.delete(at)
  }

  #statusOf(consumer: StepConsumer, at: OwnedPartition) {
    const member = this.members().find((one) => one.consumer === consumer)
    return member?.runner.partitions().find((one) => one.topic === at.topic && one.partition === at.partition)
  }

  delivered(consumer: StepConsumer, at: OwnedPartition): void {
    const inFlight = this.#statusOf(consumer, at)?.inFlight ?? 0
    if (inFlight > RECORDS_MAX - 1 + DELIVERY_MAX) this.breach(`C6: ${inFlight} records of in/${at.partition} in memory`)
  }

  held(consumer: StepConsumer, at: OwnedPartition): void {
    const status = this.#statusOf(consumer, at)
    if (status !== undefined && (status.state !== 'held' || !['SLU_LOG_TRUNCATED', 'SLU_LOG_DLQ_UNWRITABLE'].includes(status.code ?? '')))
      this.breach(`C7: in/${at.partition} is ${status.state} ${status.code ?? ''} at an offset that is gone`)
  }

  released(_: StepConsumer, { revokedMs }: OwnedPartition): void {
    if (this.log.nowMs - (revokedMs ?? 0) >= HANDOVER_MS) this.slowHandovers++
  }

  /** C4: a task was told that its partition is gone. */
  cut(process: StepProcess, { partition }: LogRecord): void {
    const member = this.members().find((one) => one.process === process)
    // Who is stopped has the time its supervisor gives it.
    if (member?.state === 'stopping') return
    const at = member?.consumer?.owned.get(`in/${partition}`)
    if (at?.revokedMs != null && this.log.nowMs - at.revokedMs < HANDOVER_MS)
      this.breach(`C4: work on in/${partition} was cut ${this.log.nowMs - at.revokedMs} ms after the partition was asked for`)
  }

  // ---- handlers

  handled(record: { readonly partition: number; readonly offset: bigint | number }): void {
    this.#handled.add(coordinateOf(record))
    const source = this.isParking ? this.source(record.partition, BigInt(record.offset)) : undefined
    // A handler that emits nothing may run before what stands before it is written.
    if (source?.key != null && this.endingOf(source).fate === 'none') this.#orderOf(source).isSettled = true
  }

  began(process: StepProcess, record: LogRecord, lane: string): () => void {
    const running = this.#running.get(process) ?? new Set()
    this.#running.set(process, running)
    const name = `${record.partition}/${lane}`
    if ([...running].some((other) => other.lane === name)) this.breach(`T2: two of ${name} are in flight`)
    if (running.size >= CONCURRENCY) this.breach(`T2: ${running.size + 1} in flight`)
    const stuck = [...(this.#unwritten.get(process) ?? [])].find((at) => at.startsWith(`${record.partition}/`))
    if (stuck !== undefined) this.breach(`D3: ${coordinateOf(record)} began while the dead letter of ${stuck} cannot be written`)
    const one = { lane: name }
    running.add(one)
    return () => running.delete(one)
  }

  ended({ process, records, serial, name }: Operation, fate: Fate): void {
    if (name !== undefined && this.kind === 'requests') this.#fenced(process, serial, Number(name.split('.').at(-1)))
    const letter = records.find(({ topic, headers = [] }) => topic === 'in.dlq' && headerOf({ headers }, `${CONNECT}offset`) !== '')
    if (letter === undefined) return
    const headers = { headers: letter.headers ?? [] }
    const partition = Number(headerOf(headers, `${CONNECT}partition`))
    if (serial <= (this.#epochs.get(process)?.get(partition)?.serial ?? 0)) return
    const at = `${partition}/${headerOf(headers, `${CONNECT}offset`)}`
    const unwritten = this.#unwritten.get(process) ?? new Set()
    this.#unwritten.set(process, unwritten)
    // A transaction that landed unheard is settled by looking, not written again.
    if (fate === 'done' || ((this.isTransactional || this.isParking) && this.#letters.has(at))) unwritten.delete(at)
    else unwritten.add(at)
  }

  /** T3: the answer of `assigned` holds the poll, so a task must not wait for the log there. */
  #fenced(process: StepProcess, serial: number, partition: number): void {
    const at = this.members()
      .find((member) => member.process === process)
      ?.consumer?.owned.get(`in/${partition}`)
    if (at !== undefined && at.position === null && !at.isHeld && serial > (this.#epochs.get(process)?.get(partition)?.serial ?? 0))
      this.breach(`T3: in/${partition} holds the poll while its producer is opened`)
  }

  // ---- the end

  records(): LogRecord[] {
    return (this.log.topics.get('in') ?? []).flatMap(({ records }) => records)
  }

  /** Every record has ended, or was passed over by hand. */
  isDone(): boolean {
    return this.records().every((record) => this.hasEnded(record) || this.isExcused(record.partition, record.offset))
  }

  /** `isOrderly` = nobody died and every stop ended in its time. */
  verdict(isOrderly: boolean): PipelineVerdict {
    let lost = 0
    for (const record of this.records())
      if (!this.hasEnded(record) && !this.isExcused(record.partition, record.offset)) {
        lost++
        if (this.breaches.length < BREACHES_MAX) this.breaches.push(`D6: ${coordinateOf(record)} (${this.endingOf(record).fate}) has not ended`)
      }
    // Finished behind one that waits for its next try, or beside one that ran out of time, is done again: only orders without such are looked at.
    if (isOrderly && !['task-key', 'task-unordered'].includes(this.kind) && this.slowHandovers === 0 && this.repeats > 0)
      this.breach(`C4: ${this.repeats} outputs came twice though every member left in good order`)
    if (this.isParking) this.#leftOver()
    const redriven = this.records()
      .map((record) => headerOf(record, 'sluice.redrive'))
      .filter((name) => name !== '')
    if (new Set(redriven).size !== redriven.length) this.breach(`D5: a dead letter was put back twice`)
    return { lost, wrong: this.#wrong, doubled: this.doubled }
  }
}
