/**
 * Stage 1 of windows: tumbling event-time windows of one input partition (runtime.md §4). Pure and synchronous.
 *
 * Owns: the open windows, the watermark, the predecessors of counters, and what may be committed. Everything is a function of the partition's
 * record prefix: a successor, a zombie and a replay compute the same bytes. Stages of a record: tick? → decode → dated in the future? (W1) →
 * window closed? skipped or late (W2) → folded once (W10) with its predecessor → watermark → close (W3): partials, then markers (W7).
 * Invariants: W1, W2, W3, W4, W5 (checkpoint = lowest offset a replay needs), W6 (lost metadata), W7 (stage 1's part), W8 (ticks), W10.
 * Predecessor rule: the newest by event time. An older record gets none and does not replace it. Whenever a predecessor had a say, even by being
 * newer, its offset counts for the open window (W5), so that a replay from the checkpoint decides the same way.
 * One file over 300 lines because it is one state machine.
 */
import type { Codecs } from '../schemas/codec.ts'
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord } from '../schemas/log.ts'
import { decodeWindowMetadata, encodeWindowMetadata, type WindowMetadata } from './commit-metadata.ts'
import type { MarkerFacts, WindowFunction, WindowParameters } from './define-function.ts'
import type { Checkpoint, Effects, Outgoing, Parked, PartitionProcessor } from './processor.ts'
import { isForAnother } from './redrive.ts'
import { isTick, tickRecord, tickTimeMs } from './tick.ts'

export interface WindowPlace {
  /** Logical input topic. */
  readonly topic: string
  readonly partition: number
  /** Partitions of the input topic: what stage 2 waits for. */
  readonly partitionCount: number
  readonly partialsPartitionCount: number
  readonly context: { readonly codecs: Codecs; readonly site: string }
  readonly hash: (text: string) => string
}

interface Group<G> {
  state: G
}

interface Open<G> {
  readonly startMs: number
  readonly endMs: number
  readonly firstOffset: bigint
  lastOffset: bigint
  /** Lowest offset a replay needs to fold this window the same way (W5). */
  neededOffset: bigint
  /** W6: a predecessor may be among what was not read. */
  isPartial: boolean
  readonly groups: Map<string, Group<G>>
  /** W10: sequences by identity; 0 where there is none. */
  readonly identities: Map<string, Set<number>>
}

interface Predecessor<P> {
  readonly offset: bigint
  readonly eventMs: number
  readonly value: P
}

/** Identity of the parameters (W3): canonical text of what changes what is emitted; `idleMs` only changes when ticks are written. */
export function parametersHash(functionName: string, p: WindowParameters, hash: (text: string) => string): string {
  return hash(`${functionName}|${p.windowMs}|${p.graceMs}|${p.outOfOrdernessMs}|${p.skewMs}|${p.maxGapMs}`).slice(0, 16)
}

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** Why over 70 lines: one state machine; its parts share the state of the partition. */
export function createWindowProcessor<T, G, P>(definition: WindowFunction<T, G, P>, at: WindowPlace): PartitionProcessor {
  const { windowMs, graceMs, outOfOrdernessMs, skewMs, maxGapMs, idleMs } = definition.parameters
  const hash = parametersHash(definition.name, definition.parameters, at.hash)
  const open = new Map<number, Open<G>>()
  const predecessors = new Map<string, Predecessor<P>>()
  let position = 0n
  let readThrough = 0n
  let closedThroughMs: number | null = null
  let maxEventMs: number | null = null
  /** W6: no record that we lack is dated later than this; windows that start at or before it may miss some. */
  let suspectMs: number | null = null
  /** W6: set by the first record, whatever it is, unless that is this offset or one before it; null = nothing is lacking. */
  let suspectAfter: bigint | null = null
  let lastAppendMs: number | null = null
  let startedMs: number | null = null
  let timerMs: number | null = null
  /** W8: our last tick, until it is read back, and how far our clock was then ahead of the log's. */
  let ticked: { readonly timeMs: number; readonly nowMs: number } | null = null
  let aheadMs = 0

  const isClosed = (endMs: number): boolean => closedThroughMs !== null && endMs <= closedThroughMs
  const endOf = (eventMs: number): number => Math.floor(eventMs / windowMs) * windowMs + windowMs
  const closableThrough = (watermarkMs: number): number => Math.floor((watermarkMs - graceMs) / windowMs) * windowMs

  /** How far the partition was read, by us or by an owner before us. */
  const readTo = (): bigint => (suspectAfter === null && position > readThrough ? position : readThrough)

  /** W5 */
  const neededFrom = (): bigint => {
    let nextOffset = position
    for (const window of open.values()) if (window.neededOffset < nextOffset) nextOffset = window.neededOffset
    const usableFromMs = closedThroughMs === null ? -Infinity : closedThroughMs - maxGapMs
    for (const p of predecessors.values()) if (p.eventMs >= usableFromMs && p.offset < nextOffset) nextOffset = p.offset
    return nextOffset
  }

  const markers = (): Outgoing[] => {
    const marker: MarkerFacts = {
      functionName: definition.name,
      sourcePartition: at.partition,
      partitionCount: at.partitionCount,
      closedThroughMs: closedThroughMs ?? -1,
      readThrough: readTo(),
      // While it is not known what we lack, only what would be complete (-1: nothing): a successor takes it for that.
      neededFrom: suspectAfter ?? neededFrom(),
      suspectMs: suspectMs ?? -1,
      parametersHash: hash,
    }
    const value = definition.encodeMarker(marker, at.context)
    return Array.from({ length: at.partialsPartitionCount }, (_, partition) => ({ topic: definition.partialsTopic, partition, key: null, value }))
  }

  const emit = (window: Open<G>, partials: Outgoing[]): void => {
    const partial = window.isPartial || (suspectMs !== null && window.startMs <= suspectMs)
    for (const key of [...window.groups.keys()].sort(byText)) {
      const { state } = window.groups.get(key) as Group<G>
      const { startMs, endMs, firstOffset, lastOffset } = window
      const encoded = definition.encodePartial(
        { functionName: definition.name, sourcePartition: at.partition, key, startMs, endMs, firstOffset, lastOffset, partial, parametersHash: hash, state },
        at.context,
      )
      partials.push({ topic: definition.partialsTopic, key: Buffer.from(encoded.key), value: encoded.value })
    }
  }

  /** W3. Returns how many windows were closed; -1 = the watermark closes nothing new. */
  const close = (partials: Outgoing[]): number => {
    if (maxEventMs === null) return -1
    const through = closableThrough(maxEventMs - outOfOrdernessMs)
    if (closedThroughMs !== null ? through <= closedThroughMs : through < 0) return -1
    const ending = [...open.keys()].filter((endMs) => endMs <= through).sort((a, b) => a - b)
    for (const endMs of ending) {
      emit(open.get(endMs) as Open<G>, partials)
      open.delete(endMs)
    }
    closedThroughMs = through
    for (const [key, p] of predecessors) if (p.eventMs < through - maxGapMs) predecessors.delete(key)
    return ending.length
  }

  const predecessorOf = (value: T, eventMs: number, window: Open<G> | null): P | undefined => {
    if (definition.predecessor === undefined) return undefined
    const before = predecessors.get(definition.predecessor.keyOf(value))
    const fromMs = eventMs - maxGapMs
    // A newer one than what we have may be among what we lack (W6).
    if (window !== null && suspectMs !== null && fromMs <= suspectMs && (before === undefined || before.eventMs <= suspectMs)) window.isPartial = true
    if (before === undefined || before.eventMs < fromMs) return undefined
    if (window !== null && before.offset < window.neededOffset) window.neededOffset = before.offset
    return before.eventMs < eventMs ? before.value : undefined
  }

  const remember = (value: T, eventMs: number, offset: bigint): void => {
    if (definition.predecessor === undefined) return
    const key = definition.predecessor.keyOf(value)
    const before = predecessors.get(key)
    if (before === undefined || eventMs >= before.eventMs) predecessors.set(key, { offset, eventMs, value: definition.predecessor.of(value) })
  }

  /** W10 */
  const isFirst = (identities: Map<string, Set<number>>, value: T): boolean => {
    const identity = definition.identity(value)
    const sequence = definition.sequence?.(value) ?? 0
    const folded = identities.get(identity)
    if (folded === undefined) identities.set(identity, new Set([sequence]))
    else if (folded.has(sequence)) return false
    else folded.add(sequence)
    return true
  }

  const fold = (value: T, eventMs: number, offset: bigint): boolean => {
    const endMs = endOf(eventMs)
    let window = open.get(endMs)
    if (window === undefined) {
      window = { startMs: endMs - windowMs, endMs, firstOffset: offset, lastOffset: offset, neededOffset: offset, isPartial: false, groups: new Map(), identities: new Map() }
      open.set(endMs, window)
    }
    window.lastOffset = offset
    if (!isFirst(window.identities, value)) return false
    const { groups, startMs } = window
    const group = (key: string, create: () => G): G => {
      let g = groups.get(key)
      if (g === undefined) groups.set(key, (g = { state: create() }))
      return g.state
    }
    definition.add({ startMs, endMs, group }, value, predecessorOf(value, eventMs, window))
    return true
  }

  const decode = (record: LogRecord): { readonly value: T; readonly eventMs: number } | SluiceError => {
    try {
      const value = definition.decode(record, at.context)
      const eventMs = definition.eventTimeMs(value)
      if (!Number.isSafeInteger(eventMs) || eventMs < 0) return new SluiceError('SLU_RECORD_UNDECODABLE', `event time ${eventMs}`)
      return { value, eventMs }
    } catch (error) {
      return asSluiceError(error, 'SLU_RECORD_UNDECODABLE')
    }
  }

  const restore = (m: WindowMetadata, nextOffset: bigint): void => {
    if (m.hash !== hash) throw new SluiceError('SLU_WINDOW_PARAMETERS', `${definition.name} ${at.topic}/${at.partition}`)
    closedThroughMs = m.closedThroughMs
    maxEventMs = m.maxEventMs
    readThrough = m.readThrough
    suspectMs = m.suspectMs
    // Moved forward by hand past what had been read: the windows there miss what was skipped.
    if (nextOffset > readThrough) suspectAfter = -1n
  }

  const markerOf = (row: LogRecord): MarkerFacts | null => {
    try {
      return definition.decodeMarker(row, at.context)
    } catch {
      // No marker of ours. Stage 2 parks what cannot be read (D6).
      return null
    }
  }

  /**
   * W6: the partition's own markers say what was closed, how far was read and from where to read again. Returns where to begin: an offset moved by
   * hand to somewhere below what was read begins early enough for every open window.
   */
  const restoreFromMarkers = (rows: readonly LogRecord[], nextOffset: bigint | null, logStart: bigint): bigint | null => {
    let needed: bigint | null = null
    for (const row of rows) {
      const marker = markerOf(row)
      if (marker === null || marker.functionName !== definition.name || marker.sourcePartition !== at.partition) continue
      if (marker.parametersHash !== hash) throw new SluiceError('SLU_WINDOW_PARAMETERS', `${definition.name} ${at.topic}/${at.partition}`)
      if (marker.closedThroughMs >= 0 && (closedThroughMs === null || marker.closedThroughMs > closedThroughMs)) closedThroughMs = marker.closedThroughMs
      if (marker.readThrough > readThrough) readThrough = marker.readThrough
      if (marker.suspectMs >= 0 && (suspectMs === null || marker.suspectMs > suspectMs)) suspectMs = marker.suspectMs
      if (marker.neededFrom >= 0n && (needed === null || marker.neededFrom > needed)) needed = marker.neededFrom
    }
    // Past what had been read, or retention took what the open windows need: they miss that.
    const isLacking = nextOffset !== null && (nextOffset > readThrough || (needed !== null && needed < logStart))
    if (!isLacking && needed !== null && nextOffset !== null) return needed < nextOffset ? needed : nextOffset
    suspectAfter = isLacking ? -1n : (needed ?? 0n)
    return nextOffset
  }

  return {
    needs: [{ topic: definition.partialsTopic, partitions: 'all' }],

    begin: (committed: Committed | null, rows, logStart = 0n) => {
      const metadata = committed === null ? null : decodeWindowMetadata(committed.metadata)
      let nextOffset = committed?.nextOffset ?? null
      if (committed !== null && metadata !== null) restore(metadata, committed.nextOffset)
      else nextOffset = restoreFromMarkers(rows.get(definition.partialsTopic) ?? [], nextOffset, logStart)
      position = nextOffset ?? 0n
      const first = markers()
      return {
        nextOffset: nextOffset ?? 'start',
        effects: { batches: [{ fenced: false, records: first }], late: [], deadLetters: [], handled: 0, skipped: 0, windowsClosed: 0 },
      }
    },

    process: (records, nextPosition): Effects => {
      const partials: Outgoing[] = []
      const late: LogRecord[] = []
      const deadLetters: Parked[] = []
      let handled = 0
      let skipped = 0
      let windowsClosed = 0
      let hasClosed = false
      const advance = (eventMs: number): void => {
        if (maxEventMs === null || eventMs > maxEventMs) maxEventMs = eventMs
        const closed = close(partials)
        if (closed < 0) return
        hasClosed = true
        windowsClosed += closed
      }
      for (const record of records) {
        if (record.offset < position) continue
        position = record.offset + 1n
        if (record.appendMs !== null) lastAppendMs = record.appendMs
        // A first read that does not begin at the log's beginning has lost what stood before: nothing of that is dated later than this (W1, W6).
        if (suspectAfter !== null) {
          if (record.offset > suspectAfter) suspectMs = Math.max(suspectMs ?? 0, (record.appendMs ?? 0) + skewMs)
          suspectAfter = null
        }
        if (isTick(record)) {
          const timeMs = tickTimeMs(record)
          if (timeMs === null || record.appendMs === null) continue
          if (ticked?.timeMs === timeMs) {
            aheadMs = Math.max(0, ticked.nowMs - record.appendMs)
            ticked = null
          }
          // A tick speaks of a time that is over. One that does not comes of a bad clock, which must not make the records to come late (W1, W8).
          if (timeMs <= record.appendMs) advance(timeMs)
          continue
        }
        if (isForAnother(record, definition.name)) {
          skipped++
          continue
        }
        const decoded = decode(record)
        if (decoded instanceof SluiceError) {
          deadLetters.push({ record, error: decoded, stage: 'decode' })
          continue
        }
        const { value, eventMs } = decoded
        if (record.appendMs === null) {
          deadLetters.push({ record, error: new SluiceError('SLU_LOG_TOPIC_MISCONFIGURED', `${record.topic} has no append time (W1)`), stage: 'window' })
          continue
        }
        if (eventMs > record.appendMs + skewMs) {
          deadLetters.push({ record, error: new SluiceError('SLU_RECORD_FUTURE', `${eventMs - record.appendMs} ms ahead`), stage: 'window' })
          continue
        }
        if (isClosed(endOf(eventMs))) {
          if (record.offset < readThrough) skipped++
          else late.push(record)
        } else if (fold(value, eventMs, record.offset)) handled++
        else skipped++
        remember(value, eventMs, record.offset)
        advance(eventMs)
      }
      if (nextPosition > position) position = nextPosition
      const batches = [...(partials.length > 0 ? [{ fenced: false, records: partials }] : []), ...(hasClosed ? [{ fenced: false, records: markers() }] : [])]
      return { batches, late, deadLetters, handled, skipped, windowsClosed }
    },

    checkpoint: (): Checkpoint => {
      const metadata = encodeWindowMetadata({ hash, closedThroughMs, maxEventMs, readThrough: readTo(), suspectMs })
      return { nextOffset: neededFrom(), metadata }
    },

    onTimer: (nowMs, atEnd): Effects => {
      // A clock set back: what was learnt of the one before is void.
      if (timerMs !== null && nowMs < timerMs) {
        startedMs = nowMs
        aheadMs = 0
        ticked = null
        if (lastAppendMs !== null && lastAppendMs > nowMs) lastAppendMs = nowMs
      }
      timerMs = nowMs
      const logNowMs = nowMs - aheadMs
      startedMs ??= nowMs
      const none: Effects = { batches: [], late: [], deadLetters: [], handled: 0, skipped: 0, windowsClosed: 0 }
      const timeMs = logNowMs - idleMs
      if (!atEnd || nowMs - idleMs < startedMs || timeMs < (lastAppendMs ?? 0)) return none
      const through = closableThrough(timeMs - outOfOrdernessMs)
      if (closedThroughMs !== null ? through <= closedThroughMs : through < 0) return none
      // Until the tick itself has been read no second one is written.
      lastAppendMs = logNowMs
      ticked = { timeMs, nowMs }
      return { ...none, tick: tickRecord(at.topic, at.partition, timeMs) }
    },

    watermarkMs: () => (maxEventMs === null ? null : maxEventMs - outOfOrdernessMs),
    openWindows: () => open.size,
  }
}
