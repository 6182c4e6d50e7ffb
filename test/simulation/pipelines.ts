/**
 * A seeded simulation of one function of each kind (C1–C8, D1–D6, T1–T3, R1): real runners, several members and partitions, on a log that answers when told to.
 *
 * Owns: the script of one seed: what is produced (`seed` picks the kind), which faults there are beside deaths, and the count. Profiles: outages of
 * the dead-letter and output topics, offsets set by hand back and forth, lost metadata, retention, a partition added, clocks that jump, folds that may hold
 * less than they have keys, dead letters put back by operators, twice at a time; with parking by key also a topic made anew beside its old DLQ, and owners that
 * die while the note of a handled copy is not written (`isSpiteful`); one seed in five is orderly: nobody dies, and then nothing may come out twice.
 */
import { redrive } from '../../cli/dlq.ts'
import type { DeadLetter } from '../../streams/redrive.ts'
import type { AnyFunction } from '../../streams/define-function.ts'
import { seededRandom } from './once.ts'
import { drawRecord, functionOf, KINDS, LETTER_BYTES_MAX, OUT_BYTES_MAX, plainKind, type Kind } from './pipeline-functions.ts'
import { createRequests, RequestChecker, requestFunction } from './pipeline-requests.ts'
import { PipelineChecker, RECORDS_MAX } from './pipeline-verdict.ts'
import type { OutRecord } from '../../schemas/log.ts'
import { diceOf, PipelineWorld, type Dice, type WorldCounts } from './pipeline-world.ts'
import { StepGroup } from './step-group.ts'
import { StepLog, type PartitionLog, type StepProcess } from './step-log.ts'

export interface PipelineRun extends WorldCounts {
  readonly seed: number
  readonly kind: Kind
  readonly lost: number
  readonly wrong: number
  readonly doubled: number
  readonly breaches: readonly string[]
  readonly records: number
  readonly resets: number
  readonly truncations: number
  readonly redrives: number
  readonly repeats: number
}

const PARTITIONS = 3
const RECORDS = 54
const STEPS = 700
const CALM_MS = 30_000
const REDRIVES_AT_LAST = 5

const EARLIER = 'earlier-life'
const isOfEarlierLife = ({ record }: DeadLetter): boolean => record.headers.some(([name]) => name === EARLIER)

/** Dead letters that parked a key at offsets which records are to come to again, of the same keys and with other values. */
function earlierLife(dice: Dice, functionName: string, partition: number): OutRecord[] {
  return Array.from({ length: 8 }, (_, offset) => {
    const facts = { topic: 'in', partition, offset, 'connector.name': functionName, stage: 'TASK_PUT' }
    return {
      topic: 'in.dlq',
      partition,
      key: Buffer.from(`k${partition}${dice.upTo(4)}`),
      value: Buffer.from(`of an earlier life ${offset}`),
      headers: [
        [EARLIER, Buffer.alloc(0)],
        ...Object.entries(facts).map(([name, value]) => [`__connect.errors.${name}`, Buffer.from(String(value))] as const),
        ['sluice.error.code', Buffer.from('SLU_HANDLER_FAILED')],
        ['sluice.park.order', Buffer.from(String(offset))],
      ],
    }
  })
}

/** Whoever is about to note that a copy was handled finds the DLQ unwritable for a while, goes on committing, and dies. */
function spite(world: PipelineWorld, log: StepLog, dice: Dice): void {
  const isNote = ({ headers = [] }: OutRecord): boolean => headers.some(([name]) => name === 'sluice.park.handled')
  const writing = log.operations.find(({ process, records }) => !process.isDead && records.some(isNote))
  const member = world.members.find(({ process, state }) => process === writing?.process && state === 'live')
  if (member === undefined) return
  world.breakDown('.dlq', 150)
  world.at(60 + dice.upTo(60), () => world.restart(member))
}

/** Why over 70 lines: one script, read from top to bottom. */
export async function simulatePipeline(seed: number, kind: Kind = KINDS[seed % KINDS.length] as Kind): Promise<PipelineRun> {
  const dice = diceOf(seededRandom(seed * 2654435761 + 17))
  // With parking order is by offset, for good.
  const isParking = kind.startsWith('park-')
  const isOrderly = dice.chance(0.2)
  const may = (p: number): boolean => !isOrderly && dice.chance(p)
  // A fold has no state, and R1 no first request, of what was passed over: there is no crash-free function of such a log to compare with.
  const mayPass = plainKind(kind) !== 'fold' && kind !== 'requests' && !isParking
  // What is read again because somebody moved the offset back comes out again, however it is written.
  const mayRepeat = !kind.startsWith('tx-') && !isParking
  // Dead letters of an earlier life of the topic, whose offsets begin again; lost metadata would make them count.
  const isMadeAnew = isParking && dice.chance(0.3)
  const isSpiteful = isParking && !isMadeAnew && may(0.4)
  const has = {
    resets: mayRepeat && may(0.25),
    truncation: mayPass && may(0.25),
    wipes: isSpiteful || (!isMadeAnew && may(0.3)),
    growth: !isParking && dice.chance(0.2),
    redrives: isSpiteful || (kind !== 'requests' && may(isParking ? 0.8 : 0.4)),
  }
  const log = new StepLog(dice.random, { epochs: true, acknowledgements: true })
  // With parking what stands behind a record too large must not be written beside it; a map learns of it from the log, once the others are written.
  log.isPartial = !isOrderly && !isParking
  const count = { resets: 0, truncations: 0, redrives: 0 }
  log.create('in', PARTITIONS)
  log.create('out', 2, { maxMessageBytes: OUT_BYTES_MAX })
  log.create('side', 2)
  log.create('results', PARTITIONS, { maxMessageBytes: OUT_BYTES_MAX })
  log.create('state', 2, { cleanup: 'compact' })
  log.create('state.dlq', 1)
  log.create('in.dlq', PARTITIONS, { maxMessageBytes: LETTER_BYTES_MAX, timestampType: 'CreateTime' })
  if (isMadeAnew) for (let partition = 0; partition < PARTITIONS; partition++) log.append(earlierLife(dice, kind === 'park-map' ? 'mapper' : 'tasker', partition))
  const checker = kind === 'requests' ? new RequestChecker(log) : new PipelineChecker(kind, log)
  const group = new StepGroup(log, 'group', ['in'], checker)
  log.watch = checker
  // Fewer than there are keys, until operators have seen why partitions stand and raised it.
  let isRaised = isOrderly
  const handlers = { dice, eyes: checker, statesMax: () => (!isRaised && dice.chance(0.3) ? 2 : 100) }
  const define = (process: StepProcess): AnyFunction => (kind === 'requests' ? requestFunction(process, handlers) : functionOf(kind, process, handlers))
  const spec = { group, membersMax: 3, limits: { recordsInFlightMax: RECORDS_MAX }, define }
  const world = new PipelineWorld(log, dice, [spec], {
    orderly: isOrderly,
    clockJumps: dice.chance(0.3),
    outages: may(0.5) ? ['.dlq', kind === 'requests' ? 'results' : 'out'] : [],
  })
  checker.members = () => world.members

  const requests = createRequests(dice, log)
  let produced = 0
  const produce = (): void => {
    const partitions = log.topics.get('in')?.length ?? PARTITIONS
    const record = kind === 'requests' ? requests.next(partitions) : drawRecord(dice, dice.upTo(partitions), produced)
    produced++
    // A producer that was not answered sends again.
    log.append(dice.chance(0.06) ? [record, record] : [record])
  }
  /** By hand: only while nobody owns the partition. */
  const byHand = (): void => {
    const at = dice.pick(group.vacant())
    if (at === undefined) return
    const key = group.key(at)
    const committed = log.committed.get(key)
    const { start, end } = log.at(at)
    if (has.wipes && committed !== undefined && dice.chance(0.5)) log.committed.set(key, { ...committed, metadata: dice.pick(['', 'moved by a tool', '{"v":2}']) as string })
    if (committed !== undefined && committed.nextOffset < start) return
    if (has.resets && committed !== undefined && dice.chance(0.3)) {
      count.resets++
      checker.isReset = true
      const isForward = mayPass && dice.chance(0.3)
      const to = isForward ? committed.nextOffset + BigInt(dice.upTo(Number(end - committed.nextOffset) + 3)) : start + BigInt(dice.upTo(Number(committed.nextOffset - start) + 1))
      if (isForward) checker.excuses.push({ partition: at.partition, from: committed.nextOffset, to })
      log.committed.set(key, { nextOffset: to, metadata: '' })
    }
    // Expired: the group begins where the log does.
    if (has.resets && committed !== undefined && dice.chance(0.1)) {
      checker.isReset = true
      log.committed.delete(key)
      return
    }
    if (has.truncation && committed !== undefined && dice.chance(0.2) && committed.nextOffset < end) {
      count.truncations++
      log.at(at).start = committed.nextOffset + BigInt(1 + dice.upTo(Number(end - committed.nextOffset)))
    }
  }
  /** C7: an operator finds partitions that stand, and accepts what is gone. */
  const mend = (): void => {
    for (const at of group.vacant()) {
      const key = group.key(at)
      const committed = log.committed.get(key)
      const { start, end } = log.at(at)
      if (committed === undefined || (committed.nextOffset >= start && committed.nextOffset <= end)) continue
      checker.isReset = true
      const to = committed.nextOffset < start ? start : end
      if (committed.nextOffset < start) checker.excuses.push({ partition: at.partition, from: committed.nextOffset, to: start })
      log.committed.set(key, { nextOffset: to, metadata: '' })
    }
  }
  const letOff = (then: () => void): void => {
    for (const consumer of group.members) {
      const stuck = [...consumer.owned.values()].filter((at) => at.isHeld && at.revokedMs === null)
      if (stuck.length > 0) void consumer.release(stuck).then(then)
    }
  }

  for (let step = 0; step < STEPS; step++) {
    if (produced < RECORDS && dice.chance(0.12)) produce()
    if (dice.chance(0.2)) byHand()
    if (dice.chance(0.02)) letOff(dice.chance(0.5) ? mend : () => undefined)
    if (isSpiteful && dice.chance(0.1)) spite(world, log, dice)
    if (has.redrives && dice.chance(isSpiteful ? 0.02 : 0.006)) {
      count.redrives++
      const skipped = BigInt(dice.upTo(4))
      const choice = { matches: (letter: DeadLetter) => letter.record.offset % 4n !== skipped && !isOfEarlierLife(letter), limit: 1000 }
      for (let operators = dice.chance(0.4) ? 2 : 1; operators > 0; operators--) world.operate((driver) => redrive(driver, 'in.dlq', choice))
    }
    if (has.growth && step === 300) for (const topic of ['in', 'results']) log.create(topic, PARTITIONS + 1)
    await world.step()
  }
  for (let left = RECORDS - produced; left > 0; left--) produce()
  const isSettled = (): boolean => {
    mend()
    letOff(mend)
    for (const member of world.members) if (member.runner.partitions().some(({ code }) => code === 'SLU_HANDLER_STATE_FULL')) world.restart(member)
    // Where nothing is held and nothing was committed there is nothing to commit.
    const isCommitted = ({ start, end }: PartitionLog, partition: number): boolean => (log.committed.get(group.key({ topic: 'in', partition }))?.nextOffset ?? start) >= end
    return checker.isDone() && (log.topics.get('in') ?? []).every(isCommitted)
  }
  isRaised = true
  let isCalm = await world.calm(isSettled, CALM_MS)
  // D4: put back until only what cannot be handled is left. Dead letters beside an output (N2) park nothing and would be new records each time.
  for (let round = 0; isParking && round < REDRIVES_AT_LAST && isCalm; round++) {
    let isOver = false
    world.operate((driver) =>
      redrive(driver, 'in.dlq', { matches: (letter) => letter.code !== 'SLU_TELEMETRY_PART' && !isOfEarlierLife(letter), limit: 1000 }).finally(() => (isOver = true)),
    )
    isCalm = await world.calm(() => isOver && isSettled(), CALM_MS)
  }
  if (!isCalm && checker.isDone()) checker.breach('C1: all has ended, and it is not committed')
  for (const error of world.fatal) checker.breach(`fatal: ${error.message}`)
  const verdict = checker.verdict(isOrderly && world.counts.overruns === 0)
  world.end()
  return { seed, kind, ...verdict, breaches: checker.breaches, records: checker.records().length, ...count, ...world.counts, repeats: checker.repeats }
}
