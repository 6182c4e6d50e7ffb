/**
 * A seeded simulation of windows in two stages (W1–W11): the real processors, partition loops and committers on a log that answers when told to.
 *
 * Owns: the script of one seed. Owners are killed, sleep, are thrown out and go on as zombies, leave in good order; sends and commits are refused or
 * lose their answers; producers re-send; records are late, dated in the future or no reading at all; one partition falls idle and wakes up with
 * older records; some clocks run ahead; garbage lies among the partials. By profile also: metadata wiped or corrupted, offsets set by hand back,
 * forth and past what was read, retention, a partition added while metadata is wiped.
 * `mutation` takes one guard away from outside; `window-verdict.ts` says what a run came to.
 * One file over 300 lines because it is one script over one state.
 */
import { createHash } from 'node:crypto'
import type { SluiceError } from '../../schemas/errors.ts'
import type { Committed, LogDriver, LogRecord, OutRecord } from '../../schemas/log.ts'
import type { Random } from '../../schemas/ports.ts'
import { createCommitter, type Committer } from '../../streams/committer.ts'
import type { AnyFunction, MarkerFacts } from '../../streams/define-function.ts'
import { openPartition } from '../../streams/open-partition.ts'
import type { RunnerStats, RunningPartition } from '../../streams/partition.ts'
import { createPartitionSink } from '../../streams/partition-sink.ts'
import { createPlaces } from '../../streams/places.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { silent } from '../helpers/runner-world.ts'
import { seededRandom } from './once.ts'
import { StepLog, StepProcess } from './step-log.ts'
import { combineFunction, GARBAGE, GARBAGE_KEY, PARAMETERS, plainWindowFunction, PROFILES, SOURCES, windowFunction, type Profile, type Reading } from './window-reference.ts'
import { verdictOf, type Skip, type WindowVerdict } from './window-verdict.ts'

/** One guard taken away, from outside the code under test. */
export type Mutation =
  | 'metadata' /* C2: an owner never sees metadata, nor markers */
  | 'readThrough' /* W2 */
  | 'marks' /* W7: stage 2's metadata without marks */
  | 'onePair' /* C2: offset and metadata of two commits */
  | 'lowWaterMark' /* C1, W5: the position is committed */
  | 'epochs' /* C3 */
  | 'acknowledgements' /* W7: partials, then markers */
  | 'ticks' /* W8 */
  | 'identity' /* W10 */
  | 'suspicion' /* W6: metadata without what is suspect */
  | 'appendTime' /* W1: skew against the time of reading */

export interface WindowRun extends WindowVerdict {
  readonly seed: number
  readonly profile: Profile
  readonly kills: number
  readonly zombies: number
  readonly handovers: number
  readonly wipes: number
  readonly resets: number
  /** Owners with other parameters (W3): turned away, and let in. */
  readonly refused: number
  readonly mixed: number
  /** Ticks of owners that had not read to the end they knew of (W8). */
  readonly early: number
  /** Owners of stage 1 that first sent something else than what they restored (W7). */
  readonly unmarked: number
  /** Owners of stage 1 that sent windows as complete and then called them suspect (W6). */
  readonly unsaid: number
}

const PARTIALS = 2
const RECORDS = 30
const STEPS = 900
const STRIKES = 24
const HOUR_MS = 3_600_000

interface Owner {
  readonly stage: 1 | 2
  readonly topic: string
  readonly partition: number
  readonly epoch: number
  readonly process: StepProcess
  readonly abort: AbortController
  readonly committer: Committer
  running: RunningPartition | null
  fetchAt: bigint
  endSeen: bigint | null
  /** A zombie ends then. */
  untilMs: number
}

const codecs = testCodecs()
const hash = (text: string): string => createHash('sha256').update(text).digest('hex')
const decodeMarker = (row: LogRecord): MarkerFacts | null => {
  try {
    return windowFunction.decodeMarker(row, { codecs, site: 's' })
  } catch {
    return null
  }
}
const isTick = ({ headers = [] }: OutRecord): boolean => headers.some(([name]) => name === 'sluice.tick')
const drained = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

const MARKS_GONE = (text: string): string =>
  text.replace(/"marks":"[^"]*"/, (all) => `"marks":"${Buffer.alloc(Buffer.from(all.slice(9, -1), 'base64').length).toString('base64')}"`)

/** What the producers will write, in order of time. */
function readings(random: Random, partition: number, profile: Profile, fromMs = 1000): { readonly atMs: number; readonly value: Buffer }[] {
  const planned: { atMs: number; value: Buffer }[] = []
  const counters = [0, 0, 0]
  const isIdler = partition === SOURCES - 1
  let atMs = fromMs
  for (let i = 0; i < RECORDS; i++) {
    const isWaking = isIdler && i % 10 === 9
    atMs += Math.floor(random() * 40) + (isWaking ? 350 + Math.floor(random() * 200) : 0)
    let eventMs = atMs + Math.floor((random() + random() + random() - 1.5) * 60)
    if (random() < 0.06) eventMs -= 150
    if (isWaking) eventMs -= Math.floor(random() * 500)
    if (random() < 0.03) eventMs = atMs + PARAMETERS.skewMs + 1 + Math.floor(random() * 200)
    const device = Math.floor(random() * 3)
    const counter = ((counters[device] as number) += 1 + Math.floor(random() * 5))
    // Where history is lost, a record is late to one owner and torn for another.
    const fault = random() < 0.02 ? 'identity' : random() < 0.01 && (profile === 'plain' || profile === 'lossy') ? 'add' : undefined
    const reading: Reading = { id: `${partition}:${i}`, eventMs: Math.max(0, eventMs), device, counter, ...(fault === undefined ? {} : { fault }) }
    const value = Buffer.from(random() < 0.02 ? `broken ${reading.id}` : JSON.stringify(reading))
    planned.push({ atMs, value })
    if (random() < 0.08) planned.push({ atMs: atMs + Math.floor(random() * 60), value })
  }
  return planned.sort((a, b) => a.atMs - b.atMs)
}

/** Why over 70 lines: one script, read from top to bottom. */
export async function simulateWindows(seed: number, mutation: Mutation | null = null, profile: Profile = PROFILES[seed % PROFILES.length] as Profile): Promise<WindowRun> {
  const random = seededRandom(seed * 2654435761)
  const chance = (p: number): boolean => random() < p
  const upTo = (n: number): number => Math.floor(random() * n)
  /** How far a clock that a time server has set right is off. */
  const rightClockMs = (): number => upTo(41) - 20
  const pick = <T>(all: readonly T[]): T | undefined => all[upTo(all.length)]
  const log = new StepLog(random, { epochs: mutation !== 'epochs', acknowledgements: mutation !== 'acknowledgements' })
  const count = { kills: 0, zombies: 0, handovers: 0, wipes: 0, resets: 0, refused: 0, mixed: 0, early: 0, unmarked: 0, unsaid: 0 }
  const fatal: SluiceError[] = []
  const stats: RunnerStats = { in: 0, out: 0, late: 0, deadLetters: 0, skipped: 0, windowsClosed: 0, retries: 0, rebalances: 0 }
  for (const [topic, partitions] of Object.entries({ in: SOURCES, partials: PARTIALS, windows: 1, 'in.late': SOURCES, 'in.dlq': SOURCES, 'partials.late': 1, 'partials.dlq': 1 }))
    log.create(topic, partitions)
  const plans = Array.from({ length: SOURCES }, (_, partition) => readings(random, partition, profile))
  const growsAtMs = 1200 + upTo(600)
  let owners: Owner[] = []
  let zombies: Owner[] = []
  /** Partitions without owner, and when the next one comes. */
  let vacant: { stage: 1 | 2; partition: number; atMs: number; isSkipping?: boolean }[] = []
  const earlier = new Map<string, string>()
  const skips: Skip[] = []

  const hasPredecessors = seed % 4 > 0
  const stage1 = hasPredecessors ? windowFunction : plainWindowFunction
  const functionOf = (stage: 1 | 2): AnyFunction => {
    if (stage === 1) return mutation === 'identity' ? { ...stage1, identity: () => String(random()) } : stage1
    return combineFunction
  }

  const unflagged = new Map<StepProcess, number>()
  const senders = new Set<StepProcess>()
  const ticksBegun = new Map<StepProcess, string>()
  log.watch = {
    begun: ({ process, records, kind }) => {
      if (kind === 'send' && !senders.has(process)) {
        senders.add(process)
        const isMarkers = records.every((record) => record.topic === 'partials' && record.key === null)
        if (!isMarkers && owners.some((owner) => owner.process === process && owner.stage === 1)) count.unmarked++
      }
      for (const { topic, key, value } of records) {
        if (topic !== 'partials' || value === null) continue
        const row = JSON.parse(String(value)) as { startMs: number; partial: boolean; suspectMs: number }
        const lowest = unflagged.get(process) ?? Infinity
        if (key !== null && !row.partial) unflagged.set(process, Math.min(lowest, row.startMs))
        else if (key === null && row.suspectMs >= lowest) count.unsaid++
      }
      const tick = records.find(isTick)
      // Tried again it is the same tick, and the end may have moved on.
      if (tick === undefined || ticksBegun.get(process) === String(tick.headers?.[0]?.[1])) return
      ticksBegun.set(process, String(tick.headers?.[0]?.[1]))
      const owner = [...owners, ...zombies].find((other) => other.process === process)
      const position = owner?.running?.status().position ?? null
      if (owner !== undefined && (owner.endSeen === null || position === null || position < owner.endSeen)) count.early++
      // Its clock is set right before it reads its tick again.
      if (process.skewMs > PARAMETERS.windowMs && chance(0.3)) process.skewMs = rightClockMs()
    },
  }

  /** W3: somebody deploys other parameters under the same group. True = what is committed says that they are other ones. */
  const isForeign = (committed: Committed | null): boolean => {
    if (committed === null || mutation !== null || !chance(0.03)) return false
    try {
      const { v } = JSON.parse(committed.metadata) as { v?: number }
      return v === 1
    } catch {
      return false
    }
  }
  const foreign = (stage: 1 | 2): AnyFunction =>
    stage === 1 ? { ...stage1, parameters: { ...PARAMETERS, graceMs: PARAMETERS.graceMs * 2 } } : { ...combineFunction, windowMs: PARAMETERS.windowMs / 2 }

  /** What the group hands to a new owner. */
  const handed = (key: string, stage: 1 | 2): Committed | null => {
    const committed = log.committed.get(key) ?? null
    if (committed === null || mutation === null) return committed
    const before = earlier.get(key) ?? ''
    if (mutation === 'metadata') return { ...committed, metadata: '' }
    if (mutation === 'onePair' && before !== '') return { ...committed, metadata: before }
    if (mutation === 'readThrough' && stage === 1) return { ...committed, metadata: committed.metadata.replace(/"readThrough":"\d+"/, '"readThrough":"0"') }
    if (mutation === 'suspicion') return { ...committed, metadata: committed.metadata.replace(/"suspectMs":\d+/, '"suspectMs":null') }
    if (mutation === 'marks' && stage === 2) return { ...committed, metadata: MARKS_GONE(committed.metadata) }
    return committed
  }

  const open = (stage: 1 | 2, partition: number): void => {
    const key = StepLog.keyOf(stage, partition)
    const epoch = (log.epochs.get(key) ?? 0) + 1
    log.epochs.set(key, epoch)
    const committed = handed(key, stage)
    const topic = stage === 1 ? 'in' : 'partials'
    const process = new StepProcess(log, chance(0.1) ? upTo(chance(0.3) ? HOUR_MS : 600) : rightClockMs())
    const isOther = isForeign(committed)
    const definition = isOther ? foreign(stage) : functionOf(stage)
    const commit = (entries: Parameters<typeof process.commit>[1]): Promise<void> => {
      earlier.set(key, log.committed.get(key)?.metadata ?? '')
      const position = owner.running?.status().position ?? null
      return process.commit(stage, mutation === 'lowWaterMark' && position !== null ? entries.map((entry) => ({ ...entry, nextOffset: position })) : entries)
    }
    const abort = new AbortController()
    const committer = createCommitter({ commit }, silent)
    const owner: Owner = { stage, topic, partition, epoch, process, abort, committer, running: null, fetchAt: 0n, endSeen: null, untilMs: Infinity }
    owners.push(owner)
    const { clock, producer, reader } = process
    const onFatal = (error: SluiceError): void => void fatal.push(error)
    const noMarkers = { ...reader, open: (o: Parameters<typeof reader.open>[0]) => reader.open({ ...o, partitions: [] }) }
    const logStart = log.at(owner).start
    const environment = {
      functionName: definition.name,
      group: '',
      clock,
      random,
      telemetry: silent,
      retry: { attemptsMax: 3, baseMs: 5, capMs: 30 },
      stats,
      onFatal,
      onProgress: () => undefined,
    }
    const partitionsOf = new Map([...log.topics].map(([name, partitions]) => [name, partitions.length]))
    void openPartition({
      parts: {
        definition,
        context: { site: 's', codecs, nowMs: clock.nowMs },
        driver: { admin: () => process.admin } as unknown as LogDriver,
        producer,
        reader: mutation === 'metadata' ? noMarkers : reader,
        topicPrefix: '',
        partitionsOf,
        places: createPlaces(1, () => undefined),
        aligned: null,
        hash,
        ready: Promise.resolve(),
      },
      environment,
      topic,
      partition,
      committed,
      logStart,
      abort,
      sink: createPartitionSink({ environment, producer, topicPrefix: '', partitionsOf, signal: abort.signal }),
      endOffset: () => owner.endSeen,
      prove: () => Promise.resolve(),
    }).then(
      (opened) => {
        if (isOther) count.mixed++
        owner.fetchAt = opened.nextOffset === 'start' ? logStart : opened.nextOffset
        owner.running = opened.running
      },
      (error: SluiceError) => {
        if (isOther && error.code === 'SLU_WINDOW_PARAMETERS') {
          count.refused++
          if (owners.includes(owner)) leave(owner, upTo(50))
        } else if (error.code !== 'SLU_LOG_STALE_EPOCH') fatal.push(error)
      },
    )
  }

  const leave = (owner: Owner, inMs: number): void => {
    owners = owners.filter((other) => other !== owner)
    vacant.push({ stage: owner.stage, partition: owner.partition, atMs: log.nowMs + inMs })
  }
  const kill = (owner: Owner): void => {
    owner.process.isDead = true
    log.operations = log.operations.filter((operation) => operation.process !== owner.process || chance(0.5))
  }
  const close = (owner: Owner): void => {
    owner.abort.abort()
    void owner.running?.close()
  }
  /** C4: intake stops, what is in flight may end, commit, close; or time is up before. */
  const handOver = (owner: Owner): void => {
    count.handovers++
    owners = owners.filter((other) => other !== owner)
    zombies.push(owner)
    const { running } = owner
    if (running === null) {
      close(owner)
      return leave(owner, 0)
    }
    running.stopIntake()
    let isOver = false
    const end = (): void => {
      if (isOver) return
      isOver = true
      close(owner)
      leave(owner, 0)
    }
    const finish = async (): Promise<void> => {
      await running.settled()
      await owner.committer.commit([targetOf(owner, running)])
      end()
    }
    owner.process.clock.setTimer(60, end)
    // Asleep or killed meanwhile, the group goes on without it.
    deadlines.push({ atMs: log.nowMs + 120, run: end })
    void finish()
  }
  let deadlines: { readonly atMs: number; readonly run: () => void }[] = []
  const targetOf = ({ topic, partition, epoch }: Owner, running: RunningPartition) => ({ topic, partition, epoch, running })

  const deliver = (owner: Owner): boolean => {
    const { running } = owner
    if (running === null || running.load().records > 8) return false
    const { records, start, end } = log.at(owner)
    owner.endSeen = end
    if (owner.fetchAt >= end || owner.fetchAt < start) return false
    // A fetch that was answered before may come once more.
    const from = chance(0.1) ? owner.fetchAt - BigInt(upTo(4)) : owner.fetchAt
    const ready = records.filter((record) => record.offset >= from && record.offset >= start)
    const taken = ready.slice(0, 1 + upTo(5))
    const last = taken.at(-1)
    const readTo = taken.length === ready.length ? end : (last as LogRecord).offset + 1n
    if (readTo <= owner.fetchAt) return false
    owner.fetchAt = readTo
    running.take(mutation === 'appendTime' ? taken.map((record) => ({ ...record, appendMs: log.nowMs })) : taken, readTo)
    return true
  }
  const commit = (owner: Owner): boolean => {
    if (owner.running === null || owner.running.uncommitted() === null) return false
    if (log.operations.some((operation) => operation.process === owner.process)) return false
    void owner.committer.commit([targetOf(owner, owner.running)])
    return true
  }
  const onTimer = (owner: Owner): void => {
    if (mutation !== 'ticks') owner.running?.onTimer(owner.process.clock.nowMs(), log.nowMs)
  }

  const act = (owner: Owner): void => {
    const what = random()
    const operation = pick(log.operations.filter((other) => other.process === owner.process))
    if (operation !== undefined && what < 0.6) return log.complete(operation, chance(0.05) ? 'refused' : chance(0.05) ? 'unanswered' : 'done')
    if (what < 0.65 && owner.process.runTimer()) return
    if (what < 0.85) deliver(owner)
    else if (what < 0.93) onTimer(owner)
    else commit(owner)
  }

  /** How far the markers say that an input partition was read: beyond it nobody can tell an offset of ours from one set by hand (W6). */
  const readThrough = (source: number): bigint => {
    const rows = log.topics.get('partials')?.flatMap(({ records, start }) => records.filter((row) => row.offset >= start)) ?? []
    return rows.reduce((highest, row) => {
      const marker = row.key === null ? decodeMarker(row) : null
      return marker?.sourcePartition === source && marker.readThrough > highest ? marker.readThrough : highest
    }, 0n)
  }
  const setCommitted = (stage: 1 | 2, partition: number, nextOffset: bigint, metadata: string): void => {
    log.committed.set(StepLog.keyOf(stage, partition), { nextOffset, metadata })
    const from = stage === 1 ? readThrough(partition) : nextOffset
    if (nextOffset > from) skips.push({ source: partition, from, to: nextOffset })
  }
  const wipe = (stage: 1 | 2, partition: number): void => {
    const committed = log.committed.get(StepLog.keyOf(stage, partition))
    if (committed === undefined) return
    count.wipes++
    const { nextOffset, metadata } = committed
    const broken = ['', 'moved by a tool', '{"v":2}', metadata.slice(0, -2), metadata.replace(/\d+/, '99')]
    setCommitted(stage, partition, nextOffset, pick(broken) as string)
  }
  /** By hand, while the group stands still: stage 1 anywhere below what was read, stage 2 back. */
  const reset = (stage: 1 | 2, partition: number): void => {
    const key = StepLog.keyOf(stage, partition)
    const committed = log.committed.get(key)
    if (committed === undefined) return
    count.resets++
    const end = stage === 1 ? readThrough(partition) : committed.nextOffset
    if (chance(0.3)) log.committed.delete(key)
    else setCommitted(stage, partition, BigInt(upTo(Number(end) + 1)), '')
  }
  /** By hand, past what was read: what stands between is lost on purpose. */
  const skip = (partition: number): void => {
    const { end } = log.at({ topic: 'in', partition })
    const from = readThrough(partition)
    if (end <= from) return
    count.resets++
    setCommitted(1, partition, from + 1n + BigInt(upTo(Number(end - from))), '')
  }

  /** What was committed may go from the log, and then the commit itself. */
  const expire = (stage: 1 | 2, partition: number): void => {
    const key = StepLog.keyOf(stage, partition)
    const at = log.at({ topic: stage === 1 ? 'in' : 'partials', partition })
    const committed = log.committed.get(key)?.nextOffset ?? 0n
    // An owner that lost metadata may commit lower than stands there: past that the partition would be held for good (C7), which is looked at elsewhere.
    const mayRegress = log.operations.some(({ kind }) => kind === 'commit')
    if (committed > at.start && !mayRegress) at.start += BigInt(upTo(Number(committed - at.start) + 1))
    const fate = random()
    if (fate < 0.3) wipe(stage, partition)
    else if (fate < 0.5) log.committed.delete(key)
  }

  const strike = (): void => {
    const owner = pick(owners)
    if (owner === undefined) return
    const fate = random()
    if (fate < 0.4) {
      count.kills++
      kill(owner)
      leave(owner, chance(0.5) ? 0 : upTo(150))
    } else if (fate < 0.7) {
      count.zombies++
      owner.untilMs = log.nowMs + 20 + upTo(400)
      if (chance(0.5)) owner.process.sleepUntilMs = log.nowMs + upTo(200)
      leave(owner, 0)
      zombies.push(owner)
    } else if (fate < 0.85) handOver(owner)
    else if (fate < 0.93) owner.process.sleepUntilMs = log.nowMs + upTo(150)
    // A time server sets its clock right, or wrong.
    else owner.process.skewMs = chance(0.3) ? upTo(HOUR_MS) : rightClockMs()
    const left = vacant.at(-1)
    if (left !== undefined && (profile === 'lossy' || profile === 'growth') && chance(0.6)) wipe(left.stage, left.partition)
    if (left !== undefined && profile === 'reset' && fate < 0.7 && chance(0.5)) reset(left.stage, left.partition)
    if (left !== undefined && profile === 'retention' && chance(0.4)) expire(left.stage, left.partition)
    if (left !== undefined && profile === 'skip' && fate < 0.7 && left.stage === 1 && chance(0.5)) {
      left.isSkipping = true
      left.atMs = log.nowMs + 100 + upTo(150)
    }
  }

  const pass = (ms: number): void => {
    log.nowMs += ms
    for (const [partition, plan] of plans.entries()) {
      const due: OutRecord[] = []
      while (plan.length > 0 && (plan[0] as { atMs: number }).atMs <= log.nowMs) due.push({ topic: 'in', partition, key: null, value: plan.shift()?.value ?? null })
      log.append(due)
    }
    const over = deadlines.filter((deadline) => deadline.atMs <= log.nowMs)
    deadlines = deadlines.filter((deadline) => deadline.atMs > log.nowMs)
    for (const { run } of over) run()
    for (const zombie of zombies.filter((z) => z.untilMs <= log.nowMs)) {
      if (chance(0.5)) kill(zombie)
      else close(zombie)
    }
    zombies = zombies.filter((z) => z.untilMs > log.nowMs && !z.abort.signal.aborted)
    const coming = vacant.filter((v) => v.atMs <= log.nowMs)
    vacant = vacant.filter((v) => v.atMs > log.nowMs)
    for (const { stage, partition, isSkipping } of coming) {
      if (isSkipping === true) skip(partition)
      open(stage, partition)
    }
    if (profile === 'growth' && plans.length === SOURCES && log.nowMs > growsAtMs) {
      log.create('in', SOURCES + 1)
      plans.push(readings(random, SOURCES, profile, log.nowMs))
      vacant.push({ stage: 1, partition: SOURCES, atMs: log.nowMs + upTo(100) })
    }
    if (plans.some((plan) => plan.length > 0) && chance(0.01)) log.append([{ topic: 'partials', partition: upTo(PARTIALS), key: GARBAGE_KEY, value: pick(GARBAGE) as Buffer }])
  }

  for (let partition = 0; partition < SOURCES; partition++) open(1, partition)
  for (let partition = 0; partition < PARTIALS; partition++) open(2, partition)
  for (let step = 0; step < STEPS; step++) {
    if (chance(0.6)) pass(upTo(8))
    if (chance(STRIKES / STEPS)) strike()
    const orphan = pick(log.operations.filter((operation) => operation.process.isDead))
    if (orphan !== undefined && chance(0.2)) log.complete(orphan, chance(0.8) ? 'done' : 'unanswered')
    const owner = pick([...owners, ...zombies].filter((o) => o.process.isAwake()))
    if (owner !== undefined) act(owner)
    await drained()
  }

  // Calm: the owners that there are finish; the clock runs on until idleness has closed every window.
  if (chance(0.5)) for (const owner of owners) owner.process.skewMs = rightClockMs()
  for (const { run } of deadlines) run()
  deadlines = []
  for (const zombie of zombies) kill(zombie)
  zombies = []
  for (const { stage, partition } of vacant) open(stage, partition)
  vacant = []
  for (const operation of log.operations.filter((other) => other.process.isDead)) log.complete(operation, 'done')
  for (let round = 0; round < 18; round += plans.every((plan) => plan.length === 0) ? 1 : 0) {
    for (let isBusy = true; isBusy;) {
      isBusy = false
      for (const owner of owners) {
        owner.process.sleepUntilMs = 0
        while (owner.process.runTimer()) isBusy = true
        for (const operation of log.operations.filter((other) => other.process === owner.process)) {
          log.complete(operation, 'done')
          isBusy = true
        }
        if (deliver(owner) || commit(owner)) isBusy = true
      }
      await drained()
    }
    pass(60)
    for (const owner of owners) onTimer(owner)
    await drained()
  }
  const held = owners.filter((owner) => owner.running === null || owner.running.status().isHeld).length
  return { seed, profile, ...count, ...verdictOf(log, profile, skips, hasPredecessors), fatal: fatal.length + held }
}
