/** What a partition of the stream core needs, in memory: a clock turned by hand, a producer that can be told to fail, and what was measured. */
import type { SluiceError } from '../../schemas/errors.ts'
import type { Appended, Committed, LogProducer, LogRecord, OutRecord } from '../../schemas/log.ts'
import type { Attributes, Clock, SpanStart, Telemetry } from '../../schemas/ports.ts'
import type { PartitionEnvironment, RunnerStats } from '../../streams/partition.ts'
import { createPartitionSink, type PartitionSink } from '../../streams/partition-sink.ts'
import { testCodecs } from './codecs.ts'

export const codecs = testCodecs()

/** Lets every promise that can go on do so. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

function handClock(): Clock & { advance(ms: number): Promise<void> } {
  let nowMs = 1_700_000_000_000
  let timers: { atMs: number; run: () => void }[] = []
  return {
    nowMs: () => nowMs,
    setTimer: (delayMs, run) => {
      const timer = { atMs: nowMs + delayMs, run }
      timers.push(timer)
      return () => (timers = timers.filter((x) => x !== timer))
    },
    advance: async (ms) => {
      const untilMs = nowMs + ms
      for (;;) {
        await settle()
        const next = timers.filter((x) => x.atMs <= untilMs).sort((a, b) => a.atMs - b.atMs)[0]
        if (next === undefined) break
        timers = timers.filter((x) => x !== next)
        nowMs = Math.max(nowMs, next.atMs)
        next.run()
      }
      nowMs = untilMs
      await settle()
    },
  }
}

export interface PartitionWorld {
  readonly clock: ReturnType<typeof handClock>
  readonly environment: PartitionEnvironment
  readonly stats: RunnerStats
  readonly sent: OutRecord[]
  readonly fatal: SluiceError[]
  readonly spans: SpanStart[]
  readonly measured: { name: string; value: number; attributes: Attributes | undefined }[]
  readonly abort: AbortController
  readonly sink: PartitionSink
  readonly producer: LogProducer
  /** Consulted before every send; an error makes it fail, a promise makes it wait. */
  refuse: (records: readonly OutRecord[]) => Error | null | Promise<void>
}

export function partitionWorld(): PartitionWorld {
  const clock = handClock()
  const stats: RunnerStats = { in: 0, out: 0, late: 0, deadLetters: 0, skipped: 0, windowsClosed: 0, retries: 0, rebalances: 0 }
  const sent: OutRecord[] = []
  const fatal: SluiceError[] = []
  const spans: SpanStart[] = []
  const measured: PartitionWorld['measured'] = []
  const note = (name: string, value: number, attributes?: Attributes): void => void measured.push({ name, value, attributes })
  const telemetry: Telemetry = {
    count: note,
    record: note,
    gauge: note,
    span: (start) => {
      spans.push(start)
      return { carrier: { traceparent: `00-span${spans.length}` }, set: () => undefined, end: () => undefined }
    },
    log: () => undefined,
  }
  const environment: PartitionEnvironment = {
    functionName: 'f',
    group: 'g',
    clock,
    random: () => 0.5,
    telemetry,
    retry: { attemptsMax: 3, baseMs: 100, capMs: 1000 },
    stats,
    onFatal: (error) => void fatal.push(error),
    onProgress: () => undefined,
  }
  const abort = new AbortController()
  const world = {
    refuse: (): Error | null | Promise<void> => null,
  } as { refuse: PartitionWorld['refuse'] }
  const producer: LogProducer = {
    send: async (records) => {
      await Promise.resolve()
      const answer = world.refuse(records)
      if (answer instanceof Error) throw answer
      await answer
      sent.push(...records)
      return records.map((r, i): Appended => ({ topic: r.topic, partition: 0, offset: BigInt(i) }))
    },
    close: () => Promise.resolve(),
  }
  const sink = createPartitionSink({ environment, producer, topicPrefix: '', partitionsOf: new Map([['in.dlq', 4]]), signal: abort.signal })
  return Object.assign(world, { clock, environment, stats, sent, fatal, spans, measured, abort, sink, producer })
}

export const committedAt = (nextOffset: bigint): Committed => ({ nextOffset, metadata: '' })
export const valueOf = (r: OutRecord | LogRecord): string => r.value?.toString() ?? 'null'
