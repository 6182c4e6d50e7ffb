/** Runners on the in-memory log under a virtual clock: one world per test. */
import { nodeHashing } from '../../infra/hashing.ts'
import type { ConsumerEvents, LogConsumer, LogDriver, LogRecord, OutRecord, TopicSpec } from '../../schemas/log.ts'
import type { SluiceError } from '../../schemas/errors.ts'
import type { Random, Telemetry } from '../../schemas/ports.ts'
import type { AnyFunction } from '../../streams/define-function.ts'
import { createRunner, type Runner, type RunnerLimits } from '../../streams/runner.ts'
import { createMemoryLog, type MemoryLog } from '../fakes/memory-log.ts'
import { createVirtualClock, type VirtualClock } from '../fakes/virtual-clock.ts'
import { testCodecs } from './codecs.ts'

const codecs = testCodecs()

export const silent: Telemetry = {
  count: () => undefined,
  record: () => undefined,
  gauge: () => undefined,
  span: () => ({ carrier: {}, set: () => undefined, end: () => undefined }),
  log: () => undefined,
}

export interface RunnerWorld {
  readonly clock: VirtualClock
  readonly log: MemoryLog
  readonly fatal: SluiceError[]
  /** `openDelayMs` = how long the opening of a fenced producer takes before and after it fences; default 0. */
  runner(definition: AnyFunction, process: string, limits?: RunnerLimits, openDelayMs?: () => number): Runner
  /** Advances in steps until `isDone`; fails past `boundMs`. */
  until(what: string, isDone: () => boolean, boundMs?: number): Promise<void>
}

/** The gaps between (1), (2) and (3) of R1, made wide. */
function slowToOpen(driver: LogDriver, clock: VirtualClock, delayMs: () => number): LogDriver {
  const wait = (): Promise<void> => new Promise((resolve) => void clock.setTimer(delayMs(), resolve))
  return {
    ...driver,
    fencedProducer: async (name) => {
      await wait()
      const producer = await driver.fencedProducer(name)
      await wait()
      return producer
    },
  }
}

export function runnerWorld(topics: Record<string, number | [number, Partial<TopicSpec>]>, random?: Random, telemetry: Telemetry = silent): RunnerWorld {
  const clock = createVirtualClock()
  const log = createMemoryLog({ clock, ...(random === undefined ? {} : { random }) })
  for (const [name, spec] of Object.entries(topics)) {
    const [partitions, more] = typeof spec === 'number' ? [spec, {}] : spec
    log.create(name, partitions, more)
  }
  const fatal: SluiceError[] = []
  return {
    clock,
    log,
    fatal,
    runner: (definition, process, limits, openDelayMs) =>
      createRunner({
        definition,
        driver: openDelayMs === undefined ? log.driver(process) : slowToOpen(log.driver(process), clock, openDelayMs),
        topicPrefix: '',
        site: 'hall',
        codecs,
        clock,
        random: random ?? (() => 0.5),
        hashing: nodeHashing,
        telemetry,
        limits: { commitEveryMs: 100, ...limits },
        retry: { attemptsMax: 3, baseMs: 50, capMs: 400 },
        onFatal: (error) => void fatal.push(error),
      }),
    until: async (what, isDone, boundMs = 60_000) => {
      const boundAtMs = clock.nowMs() + boundMs
      while (!isDone()) {
        if (clock.nowMs() > boundAtMs) throw new Error(`not within ${boundMs} ms: ${what}`)
        await clock.advance(50)
      }
    },
  }
}

type ConsumerOptions = Parameters<LogDriver['consumer']>[0]

/** From now on the consumers of the world's log do as `wrap` says, and as before in all else. */
export function wrapConsumers(w: RunnerWorld, wrap: (inner: LogConsumer, options: ConsumerOptions) => Partial<LogConsumer>): void {
  const driver = w.log.driver.bind(w.log)
  const wrapped = (inner: LogConsumer, options: ConsumerOptions): LogConsumer => ({
    start: inner.start.bind(inner),
    pause: inner.pause.bind(inner),
    resume: inner.resume.bind(inner),
    commit: inner.commit.bind(inner),
    endOffset: inner.endOffset.bind(inner),
    stop: inner.stop.bind(inner),
    ...wrap(inner, options),
  })
  Object.assign(w.log, {
    driver: (name: string): LogDriver => {
      const own = driver(name)
      return { ...own, consumer: (options) => wrapped(own.consumer(options), options) }
    },
  })
}

/** What the consumer of the next runner is given: for what only a Kafka client can meet. */
export function eavesdrop(w: RunnerWorld): () => ConsumerEvents {
  let events: ConsumerEvents | undefined
  wrapConsumers(w, (inner) => ({ start: (given) => inner.start((events = given)) }))
  return () => events as ConsumerEvents
}

export const text = (r: LogRecord | OutRecord): string => r.value?.toString() ?? 'null'
export const headerOf = (r: LogRecord, name: string): string | undefined => r.headers.find(([n]) => n === name)?.[1].toString()
