/**
 * The loop of one partition of a synchronous kind (map, fold, window, combine): take → process → send → acknowledge, one chunk at a time.
 *
 * Owns: the queue of delivered records, the order of effects and what may be committed. Stages of a chunk: process (pure) → late
 * records acknowledged (W2) → dead letters acknowledged (D2) → each batch sent and acknowledged before the next (W7) → the processor's
 * checkpoint becomes committable.
 * Invariants: C1 and W5 (a checkpoint is offered only after the effects before it are acknowledged), C3 (nothing is sent after `close`), C4
 * (`stopIntake` finishes the chunk in hand and no other), D3 (an unwritable DLQ stops here), D6 (no record ends the loop).
 * With transactional delivery all effects of a chunk and its offset are one transaction, and nothing is committed besides.
 * Over 300 lines because queue, effects and checkpoint are one state machine.
 * With an alignment, a chunk waits for its turn among the member's partitions (alignment.ts).
 */
import { SluiceError, asSluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord } from '../schemas/log.ts'
import { attributeNames, metricNames } from '../schemas/telemetry-names.ts'
import type { Alignment } from './alignment.ts'
import { slices, type Chunk } from './chunks.ts'
import { carrierOf } from './emits.ts'
import type { Retries } from './retries.ts'
import { retryDelayMs, sleep } from './retry.ts'
import { traced, type PartitionSink } from './partition-sink.ts'
import type { FencedWriter } from './fenced-writer.ts'
import type { PartitionEnvironment, RunningPartition } from './partition.ts'
import type { Parking } from './parking.ts'
import type { Effects, Outgoing, ParkEffect, PartitionProcessor } from './processor.ts'
import type { TransactionalSink } from './transactional-sink.ts'

const LINKS_MAX = 32
/** Operation name of the messaging conventions. */
const PROCESS = 'process'

export interface PartitionLoopOptions {
  readonly environment: PartitionEnvironment
  /** Logical. */
  readonly topic: string
  readonly partition: number
  readonly processor: PartitionProcessor
  readonly committed: Committed | null
  /** What `begin` returned. */
  readonly first: { readonly nextOffset: bigint; readonly effects: Effects }
  readonly sink: PartitionSink
  readonly fenced: FencedWriter | null
  /** Outputs, dead letters and offset in one transaction; null = written, then committed. */
  readonly transactional: (TransactionalSink & { close(): Promise<void> }) | null
  /** D4; null = a dead letter holds nothing back. */
  readonly parking: Parking | null
  /** Of the processor: what it asks to be given again. */
  readonly retries: Retries
  readonly abort: AbortController
  /** The end of the log as last seen. */
  readonly endOffset: () => bigint | null
  /** The order among the member's partitions, and the time a chunk may span; null = each at its own pace. */
  readonly aligned: { readonly alignment: Alignment; readonly spanMs: number } | null
}

/** Trace contexts of the first records that have one. */
function linksOf(records: readonly LogRecord[]): Readonly<Record<string, string>>[] {
  const links: Readonly<Record<string, string>>[] = []
  for (const { headers } of records) {
    if (headers.length === 0) continue
    const carrier = carrierOf(headers)
    if (carrier['traceparent'] !== undefined && links.push(carrier) === LINKS_MAX) break
  }
  return links
}

/** Why over 70 lines: one state machine over the queue and the acknowledged checkpoint. */
export function createPartitionLoop(options: PartitionLoopOptions): RunningPartition {
  const { environment, processor, sink, fenced, transactional, parking, retries, abort, topic, partition, aligned } = options
  const { clock, telemetry, stats } = environment
  const queue: Chunk[] = []
  const attributes = {
    [attributeNames.system]: 'kafka',
    [attributeNames.operation]: PROCESS,
    [attributeNames.group]: environment.group,
    [attributeNames.destination]: topic,
    [attributeNames.partition]: String(partition),
  }
  let queued = { records: 0, bytes: 0 }
  let firstEffects: Effects | null = options.first.effects
  let position = options.first.nextOffset
  let acknowledged: Committed | null = null
  let committed = options.committed
  let isTimerDue = false
  let isStopped = false
  let isRunning = false
  let isDead = false
  /** W8: why there is no idle closing here; null while there is. */
  let tickRefusal: SluiceError | null = null
  let waiters: (() => void)[] = []
  let newestMs = -Infinity

  const writeTick = async (tick: Outgoing): Promise<void> => {
    const refusal = await sink.sendIfPermitted([tick])
    if (refusal !== null && tickRefusal === null)
      telemetry.log('warn', `${topic}/${partition}: no idle closing, the log refuses our ticks`, {
        [attributeNames.function]: environment.functionName,
        [attributeNames.code]: refusal.code,
      })
    tickRefusal = refusal
  }

  /** `isOfRecords`: with these effects the offset moves on; else they are nobody's (a marker to begin with, a tick). */
  const apply = async (effects: Effects, carrier: Readonly<Record<string, string>>, isOfRecords: boolean): Promise<void> => {
    if (transactional !== null)
      await transactional.write(
        { outgoing: effects.batches.flatMap((b) => traced(b.records, carrier)), deadLetters: effects.deadLetters },
        isOfRecords ? processor.checkpoint() : null,
      )
    else if (parking !== null) await applyParking(parking, effects, carrier)
    else await applyInTurn(effects, carrier)
    stats.skipped += effects.skipped
    stats.windowsClosed += effects.windowsClosed
    if (effects.windowsClosed > 0) telemetry.count(metricNames.windowsClosed, effects.windowsClosed, { [attributeNames.function]: environment.functionName })
  }

  /** Outputs first: a note that a copy was handled says that its outputs are there (D4). */
  const applyParking = async (parked: Parking, effects: Effects, carrier: Readonly<Record<string, string>>): Promise<void> => {
    const offsetOf = (effect: ParkEffect): bigint => (effect.kind === 'parked' ? effect.parked.record : effect.record).offset
    const told = new Map((effects.parked ?? []).map((effect) => [offsetOf(effect), effect]))
    await sink.deadLetters(effects.deadLetters)
    await parked.send(
      effects.batches.flatMap((batch) => traced(batch.records, carrier)),
      told,
    )
    await Promise.all([...told].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, effect]) => parked.write(effect)))
  }

  const applyInTurn = async (effects: Effects, carrier: Readonly<Record<string, string>>): Promise<void> => {
    // Before the batches: a marker or a state row among them says that these records were dealt with (W2, W6, C8).
    await sink.late(effects.late)
    await sink.deadLetters(effects.deadLetters)
    for (const batch of effects.batches) {
      const records = traced(batch.records, carrier)
      if (!batch.fenced) await sink.send(records)
      else if (fenced === null) throw new SluiceError('SLU_INTERNAL', `${environment.functionName}: fenced effects without a fenced producer`)
      else await sink.send(records, fenced.write)
    }
    if (effects.tick !== undefined) await writeTick(effects.tick)
  }

  /** C1, W5: called only when every effect so far is acknowledged. */
  const offer = (): void => {
    acknowledged = processor.checkpoint()
    if (parking !== null) acknowledged = { ...acknowledged, metadata: parking.metadata(acknowledged.nextOffset) }
    if (transactional !== null) committed = acknowledged
    environment.onProgress()
  }

  /** A handler that is held, or asks for it (D1: each record up to its tries), is asked again with the same records: nothing of the call was sent. */
  const processChunk = async (chunk: Chunk): Promise<Effects> => {
    for (let attempt = 1; ; attempt++) {
      try {
        const effects = processor.process(chunk.records, chunk.readTo)
        if (attempt > 1) sink.hold(processor, null)
        retries.clear()
        return effects
      } catch (thrown) {
        const error = asSluiceError(thrown, 'SLU_INTERNAL')
        const isHold = error.disposition === 'hold'
        if (!isHold && (error.disposition !== 'retry' || retries.why() === null)) throw error
        sink.hold(processor, isHold ? error : null)
        stats.retries++
        await sleep(clock, retryDelayMs(isHold ? attempt : retries.latest(), environment.retry, environment.random), abort.signal)
        if (abort.signal.aborted || isStopped) throw new SluiceError('SLU_LOG_STALE_EPOCH', 'given up while held', error)
      }
    }
  }

  const runChunk = async (chunk: Chunk): Promise<void> => {
    if (chunk.records.length === 0) {
      // Only the position moved on (control records): nothing worth a span.
      await apply(await processChunk(chunk), {}, true)
      position = chunk.readTo
      offer()
      return
    }
    const startMs = clock.nowMs()
    const links = linksOf(chunk.records)
    const span = telemetry.span({
      name: [PROCESS, topic].join(' '),
      kind: 'consumer',
      links,
      attributes: { ...attributes, [attributeNames.batchCount]: chunk.records.length },
    })
    try {
      const effects = await processChunk(chunk)
      await apply(effects, span.carrier, true)
      stats.in += chunk.records.length
      position = chunk.readTo
      offer()
      span.end()
      telemetry.record(metricNames.processDuration, (clock.nowMs() - startMs) / 1000, attributes)
      telemetry.record(metricNames.batchSize, chunk.records.length, attributes)
      // Of the chunk's first record: one measurement a chunk, the longest wait of it.
      telemetry.record(metricNames.queueDuration, Math.max(0, startMs - (chunk.records[0] as LogRecord).timestampMs) / 1000, attributes)
    } catch (thrown) {
      const { code } = asSluiceError(thrown, 'SLU_INTERNAL')
      span.end({ code })
      telemetry.record(metricNames.processDuration, (clock.nowMs() - startMs) / 1000, { ...attributes, [attributeNames.errorType]: code })
      throw thrown
    }
  }

  const runTimer = async (): Promise<void> => {
    // W8: the clock is read before the position is looked at.
    const nowMs = clock.nowMs()
    if (processor.onTimer === undefined) return
    const end = options.endOffset()
    const isAtEnd = end !== null && position >= end && queue.length === 0
    const effects = processor.onTimer(nowMs, isAtEnd)
    if (effects.tick === undefined && effects.batches.length === 0 && effects.late.length === 0 && effects.deadLetters.length === 0 && effects.windowsClosed === 0) return
    await apply(effects, {}, false)
    if (acknowledged !== null) offer()
  }

  const isOurTurn = (chunk: Chunk | undefined): boolean => chunk !== undefined && (aligned === null || aligned.alignment.mayRun(chunk.headMs))

  const hasWork = (): boolean => !isStopped && !isDead && !abort.signal.aborted && (firstEffects !== null || isTimerDue || isOurTurn(queue[0]))

  const step = async (): Promise<void> => {
    if (firstEffects !== null) {
      await apply(firstEffects, {}, false)
      firstEffects = null
      return
    }
    if (isTimerDue) {
      isTimerDue = false
      return runTimer()
    }
    const chunk = queue[0] as Chunk
    await runChunk(chunk)
    queue.shift()
    queued = { records: queued.records - chunk.records.length, bytes: queued.bytes - chunk.bytes }
    environment.onProgress()
    aligned?.alignment.changed()
  }

  const run = async (): Promise<void> => {
    if (isRunning) return
    isRunning = true
    try {
      while (hasWork()) await step()
    } catch (thrown) {
      fail(thrown)
    }
    isRunning = false
    const woken = waiters
    waiters = []
    for (const wake of woken) wake()
  }

  const fail = (thrown: unknown): void => {
    const error = asSluiceError(thrown, 'SLU_INTERNAL')
    if (abort.signal.aborted || isStopped) return
    isDead = true
    sink.end(error)
    environment.onProgress()
    aligned?.alignment.changed()
    if (error.disposition === 'fatal') environment.onFatal(error)
  }

  const kick = (): void => {
    void run()
  }
  const leave = aligned?.alignment.join({
    head: () => {
      if (isStopped || isDead) return 'end'
      if (sink.held() !== null) return 'behind'
      const [chunk] = queue
      if (chunk !== undefined) return chunk.headMs
      const end = options.endOffset()
      return end !== null && position >= end ? 'end' : 'behind'
    },
    pump: kick,
  })
  kick()

  return {
    take: (records, readTo) => {
      for (const chunk of slices(records, readTo, aligned?.spanMs ?? Infinity, newestMs, clock.nowMs())) {
        queue.push(chunk)
        queued = { records: queued.records + chunk.records.length, bytes: queued.bytes + chunk.bytes }
        newestMs = chunk.headMs
      }
      kick()
      aligned?.alignment.changed()
    },
    stopIntake: () => {
      isStopped = true
    },
    settled: () => (isRunning ? new Promise((resolve) => waiters.push(resolve)) : Promise.resolve()),
    close: async () => {
      isStopped = true
      abort.abort(new SluiceError('SLU_LOG_STALE_EPOCH', `${topic}/${partition}`))
      queue.length = 0
      queued = { records: 0, bytes: 0 }
      leave?.()
      aligned?.alignment.changed()
      await fenced?.close()
      await transactional?.close()
      await parking?.close()
    },
    uncommitted: () => {
      if (acknowledged === null || transactional !== null) return null
      return committed !== null && committed.nextOffset === acknowledged.nextOffset && committed.metadata === acknowledged.metadata ? null : acknowledged
    },
    committed: (entry) => {
      committed = entry
    },
    lastCommitted: () => committed,
    onTimer: () => {
      isTimerDue = processor.onTimer !== undefined
      // Also with none due: patience with another partition may be over.
      if (isTimerDue || aligned !== null) kick()
    },
    pump: kick,
    load: () => ({ ...queued, tracked: queued.records }),
    hold: (error) => {
      isDead = true
      sink.end(error)
    },
    status: () => {
      const held = sink.held()
      const why = held ?? sink.waitsFor() ?? retries.why()
      return {
        position,
        committed: committed?.nextOffset ?? null,
        watermarkMs: processor.watermarkMs?.() ?? null,
        inFlight: queued.records,
        isIdle: !isRunning && queue.length === 0 && firstEffects === null,
        isHeld: held !== null,
        ...(why === null ? {} : { code: why.code, reason: why.message }),
        ...(held === null && tickRefusal !== null
          ? { code: tickRefusal.code, reason: 'no idle closing: the log refuses our ticks (W8); a partition that falls silent keeps its windows open' }
          : {}),
      }
    },
    openWindows: () => processor.openWindows?.() ?? null,
  }
}
