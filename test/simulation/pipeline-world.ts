/**
 * The script's hand on running members: real runners in processes that are killed, sleep, are thrown out of their group and go on, are stopped in
 * good order, have clocks that jump, and whose every await is answered when the script says so.
 *
 * Owns: the members of each function, the faults and their dates, and the calm at the end in which everything must come to rest.
 * It knows nothing of what the functions do; a checker listens (`Eyes`).
 */
import { nodeHashing } from '../../infra/hashing.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogDriver } from '../../schemas/log.ts'
import type { Random } from '../../schemas/ports.ts'
import type { AnyFunction } from '../../streams/define-function.ts'
import { createRunner, type Runner, type RunnerLimits } from '../../streams/runner.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { silent } from '../helpers/runner-world.ts'
import { stepDriver, type StepConsumer, type StepGroup } from './step-group.ts'
import { StepProcess, type Fate, type Operation, type StepLog } from './step-log.ts'

const codecs = testCodecs()
export const RETRY = { attemptsMax: 3, baseMs: 5, capMs: 30 }
/** A member that has not let go by then is thrown out. */
const REVOCATION_MS = 600
const HOUR_MS = 3_600_000

export interface Dice {
  readonly random: Random
  chance(p: number): boolean
  /** 0 to n − 1. */
  upTo(n: number): number
  pick<T>(all: readonly T[]): T | undefined
}

export function diceOf(random: Random): Dice {
  const upTo = (n: number): number => Math.floor(random() * n)
  return { random, chance: (p) => random() < p, upTo, pick: (all) => all[upTo(all.length)] }
}

/** One function of the pipeline and its members. */
export interface MemberSpec {
  readonly group: StepGroup
  readonly membersMax: number
  readonly limits: RunnerLimits
  define(process: StepProcess): AnyFunction
}

export interface Member {
  readonly spec: MemberSpec
  readonly process: StepProcess
  readonly runner: Runner
  consumer: StepConsumer | null
  state: 'starting' | 'live' | 'zombie' | 'stopping' | 'gone'
}

/** What may go wrong in a run, apart from deaths. */
export interface Faults {
  /** Nobody dies, nothing is refused: members only come, hand over and leave. */
  readonly orderly: boolean
  readonly clockJumps: boolean
  /** Topics that are unwritable for a while now and then, by ending. */
  readonly outages: readonly string[]
}

export interface WorldCounts {
  kills: number
  zombies: number
  moves: number
  stops: number
  /** Stops and hand-overs that ran out of their time. */
  overruns: number
  jumps: number
  outages: number
  refusals: number
}

export const drained = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

export class PipelineWorld {
  readonly log: StepLog
  readonly dice: Dice
  readonly counts: WorldCounts = { kills: 0, zombies: 0, moves: 0, stops: 0, overruns: 0, jumps: 0, outages: 0, refusals: 0 }
  readonly fatal: SluiceError[] = []
  members: Member[] = []
  readonly #specs: readonly MemberSpec[]
  readonly #faults: Faults
  /** Processes without a member: operators at the command line. */
  #operators: StepProcess[] = []
  #dates: { readonly atMs: number; readonly run: () => void }[] = []
  #outages: { readonly ending: string; readonly untilMs: number }[] = []
  #isCalm = false

  constructor(log: StepLog, dice: Dice, specs: readonly MemberSpec[], faults: Faults) {
    this.log = log
    this.dice = dice
    this.#specs = specs
    this.#faults = faults
    for (const spec of specs) this.start(spec)
  }

  start(spec: MemberSpec): void {
    const { dice } = this
    const process = new StepProcess(this.log, dice.chance(0.1) ? dice.upTo(600) : dice.upTo(41) - 20)
    const driver = stepDriver(process, spec.group, (consumer) => {
      member.consumer = consumer
    })
    const runner = createRunner({
      definition: spec.define(process),
      driver,
      group: spec.group.name,
      topicPrefix: '',
      site: 'hall-1',
      codecs,
      clock: process.clock,
      random: dice.random,
      hashing: nodeHashing,
      telemetry: silent,
      limits: { commitEveryMs: 40, sessionMs: 500, ...spec.limits },
      retry: RETRY,
      onFatal: (error) => void this.fatal.push(error),
    })
    const member: Member = { spec, process, runner, consumer: null, state: 'starting' }
    this.members.push(member)
    runner.start().then(
      () => {
        if (member.state === 'starting') member.state = 'live'
      },
      (thrown: unknown) => {
        // A process that cannot start ends; the next one tries again.
        if (!(thrown instanceof SluiceError && thrown.disposition === 'retry')) this.fatal.push(thrown as SluiceError)
        this.#bury(member)
      },
    )
  }

  /** A process that runs `work` once, e.g. a command at the terminal. What the log refuses it, it reports and ends. */
  operate(work: (driver: LogDriver) => Promise<unknown>): void {
    const process = new StepProcess(this.log, 0)
    const [spec] = this.#specs
    this.#operators.push(process)
    const over = (): void => {
      this.#operators = this.#operators.filter((other) => other !== process)
    }
    work(stepDriver(process, (spec as MemberSpec).group, () => undefined)).then(over, (thrown: unknown) => {
      over()
      if (!(thrown instanceof SluiceError && thrown.disposition === 'retry')) this.fatal.push(thrown as SluiceError)
    })
  }

  at(inMs: number, run: () => void): void {
    this.#dates.push({ atMs: this.log.nowMs + inMs, run })
  }

  async step(): Promise<void> {
    const { dice, log } = this
    if (dice.chance(0.6)) this.pass(dice.upTo(8))
    if (dice.chance(0.03)) this.#strike()
    if (dice.chance(0.006)) this.#breakDown()
    for (const spec of this.#specs) this.#deal(spec)
    const orphan = dice.pick(log.operations.filter((operation) => operation.process.isDead))
    if (orphan !== undefined && dice.chance(0.2)) log.complete(orphan, dice.chance(0.8) ? 'done' : 'unanswered')
    const process = dice.pick([...this.#alive().map((member) => member.process), ...this.#operators].filter((p) => p.isAwake()))
    if (process !== undefined) this.#act(process)
    await drained()
  }

  /** By an operator who has changed what processes start with: it ends at once, another one starts when it is missing. */
  restart(member: Member): void {
    this.#bury(member)
  }

  pass(ms: number): void {
    this.log.nowMs += ms
    const due = this.#dates.filter((date) => date.atMs <= this.log.nowMs)
    this.#dates = this.#dates.filter((date) => date.atMs > this.log.nowMs)
    for (const { run } of due) run()
  }

  /** No more faults: what there is must come to rest. True = `isDone` within the bound. */
  async calm(isDone: () => boolean, boundMs: number): Promise<boolean> {
    this.#isCalm = true
    this.#outages = []
    for (const { run } of this.#dates) run()
    this.#dates = []
    for (const member of this.members) if (member.state === 'zombie') this.#kill(member, 0)
    const untilMs = this.log.nowMs + boundMs
    while (this.log.nowMs < untilMs) {
      for (const spec of this.#specs) if (!this.members.some((member) => member.spec === spec && (member.state === 'live' || member.state === 'starting'))) this.start(spec)
      for (let isBusy = true; isBusy;) isBusy = await this.#rest()
      if (isDone()) return true
      this.pass(20)
    }
    return false
  }

  /** Ends every timer and promise of the run. */
  end(): void {
    for (const member of this.members) member.process.isDead = true
  }

  #alive(): Member[] {
    return this.members.filter((member) => member.state !== 'gone')
  }

  async #rest(): Promise<boolean> {
    let isBusy = false
    for (const process of [...this.#alive().map((member) => member.process), ...this.#operators]) {
      process.sleepUntilMs = 0
      // One at a time: what a timer sets off comes before the next one, as in a real process.
      if (process.runTimer()) isBusy = true
    }
    for (const operation of this.log.operations) {
      this.log.complete(operation, 'done')
      isBusy = true
    }
    for (const { consumer } of this.#alive())
      for (const at of consumer?.ready() ?? []) {
        consumer?.deliver(at)
        isBusy = true
      }
    for (const spec of this.#specs) if (this.#deal(spec)) isBusy = true
    await drained()
    return isBusy
  }

  #deal(spec: MemberSpec): boolean {
    const { group } = spec
    const members = group.members.filter((consumer) => consumer.process.isAwake() && !consumer.isClosed)
    if (members.length === 0) return false
    const vacant = group.vacant().filter(() => this.#isCalm || this.dice.chance(0.15))
    if (vacant.length === 0) return false
    const shares = Map.groupBy(vacant, () => this.dice.pick(members) as StepConsumer)
    for (const [consumer, partitions] of shares) {
      group.assign(consumer, partitions)
      // Another member comes while this one still opens them.
      if (!this.#isCalm && this.dice.chance(0.1)) this.at(this.dice.upTo(10), () => this.#move(consumer))
    }
    return true
  }

  #act(process: StepProcess): void {
    const { dice, log } = this
    const what = dice.random()
    const operation = dice.pick(log.operations.filter((other) => other.process === process))
    if (operation !== undefined && what < 0.5) return log.complete(operation, this.#fateOf(operation))
    if (what < 0.75 && process.runTimer()) return
    const member = this.members.find((other) => other.process === process)
    const at = dice.pick(member?.consumer?.ready() ?? [])
    if (at !== undefined) member?.consumer?.deliver(at)
    else if (operation !== undefined) log.complete(operation, this.#fateOf(operation))
  }

  #fateOf(operation: Operation): Fate {
    const isDown = this.#outages.some(({ ending, untilMs }) => untilMs > this.log.nowMs && operation.records.some(({ topic }) => topic.endsWith(ending)))
    const fate = this.#faults.orderly ? 'done' : isDown ? 'refused' : this.dice.chance(0.05) ? 'refused' : this.dice.chance(0.05) ? 'unanswered' : 'done'
    if (fate !== 'done') this.counts.refusals++
    return fate
  }

  #breakDown(): void {
    const ending = this.dice.pick(this.#faults.outages)
    if (ending === undefined) return
    this.breakDown(ending, 20 + this.dice.upTo(150))
  }

  /** Topics of this ending are unwritable from now on. */
  breakDown(ending: string, forMs: number): void {
    this.counts.outages++
    this.#outages.push({ ending, untilMs: this.log.nowMs + forMs })
  }

  #kill(member: Member, foundInMs: number): void {
    const { process, consumer, spec } = member
    process.isDead = true
    member.state = 'gone'
    this.log.operations = this.log.operations.filter((operation) => operation.process !== process || this.dice.chance(0.5))
    if (consumer === null) return
    if (foundInMs === 0) spec.group.evict(consumer)
    else this.at(foundInMs, () => spec.group.evict(consumer))
  }

  #bury(member: Member): void {
    if (member.state !== 'gone') this.#kill(member, 0)
  }

  #strike(): void {
    const { dice } = this
    for (const spec of this.#specs) {
      const count = this.#alive().filter((member) => member.spec === spec && member.state !== 'zombie').length
      if (count < spec.membersMax && dice.chance(0.6)) this.start(spec)
    }
    const member = dice.pick(this.members.filter((other) => other.state === 'live' || other.state === 'starting'))
    if (member === undefined) return
    const { consumer, process } = member
    const fate = this.#faults.orderly ? 0.5 + dice.random() * 0.3 : dice.random()
    if (fate < 0.3) {
      this.counts.kills++
      this.#kill(member, dice.chance(0.5) ? 0 : dice.upTo(150))
    } else if (fate < 0.5 && consumer !== null && member.state === 'live') this.#outlive(member, consumer)
    else if (fate < 0.75 && consumer !== null) this.#move(consumer)
    else if (fate < 0.8 && member.state === 'live') {
      this.counts.stops++
      member.state = 'stopping'
      const graceMs = this.#faults.orderly ? 1000 : dice.upTo(200)
      const sinceMs = this.log.nowMs
      void member.runner.stop(graceMs).then(() => {
        if (this.log.nowMs - sinceMs >= graceMs) this.counts.overruns++
        this.#bury(member)
      })
      // Its supervisor does not wait for ever.
      this.at(1500, () => {
        if (member.state === 'stopping') this.counts.overruns++
        this.#bury(member)
      })
    } else if (fate < 0.9) process.sleepUntilMs = this.log.nowMs + dice.upTo(150)
    else if (this.#faults.clockJumps) {
      this.counts.jumps++
      process.skewMs += dice.chance(0.3) ? (dice.chance(0.5) ? HOUR_MS : -HOUR_MS) : dice.upTo(4001) - 2000
    }
  }

  /** Thrown out without knowing it: goes on, finds out later or never. */
  #outlive(member: Member, consumer: StepConsumer): void {
    const { dice } = this
    this.counts.zombies++
    member.state = 'zombie'
    member.spec.group.evict(consumer)
    if (dice.chance(0.5)) member.process.sleepUntilMs = this.log.nowMs + dice.upTo(200)
    this.at(20 + dice.upTo(400), () => {
      if (member.state !== 'zombie') return
      if (dice.chance(0.5)) return this.#kill(member, 0)
      member.state = 'live'
      void consumer.rejoin()
    })
  }

  /** One partition, or all of the member, in good order; or it is too slow and thrown out. */
  #move(consumer: StepConsumer): void {
    const { dice } = this
    const owned = [...consumer.owned.values()].filter((at) => at.revokedMs === null)
    const one = dice.pick(owned)
    if (one === undefined) return
    this.counts.moves++
    const moved = dice.chance(0.6) ? [one] : owned
    void consumer.release(moved)
    this.at(REVOCATION_MS, () => {
      if (moved.some((at) => consumer.owned.get(`${at.topic}/${at.partition}`) === at)) {
        this.counts.overruns++
        consumer.group.evict(consumer)
        void consumer.rejoin()
      }
    })
  }
}
