/**
 * Stage 1 of windows: tumbling event-time windows of one input partition (runtime.md §4). Pure and synchronous.
 *
 * Owns: the open windows, the watermark, the predecessors of counters, and what may be committed. Everything is a function of the partition's
 * record prefix: a successor, a zombie and a replay compute the same bytes. Stages of a record: tick? → decode → dated in the future? (W1) →
 * window closed? skipped or late (W2) → folded once (W10) with its predecessor → watermark → close (W3): partials, then markers (W7).
 * Invariants: W1, W2, W3, W4, W5 (checkpoint = lowest offset a replay needs), W6 (lost metadata), W7 (stage 1's part), W8 (ticks), W10.
 * Predecessor rule: the newest by event time. An older record gets none and does not replace it. Whenever a predecessor had a say, even by being
 * newer, its offset counts for the open window (W5), so that a replay from the checkpoint decides the same way.
 * D6: what the definition throws for a record makes it a dead letter. All is asked of it before anything is changed, except `add`: what that changed
 * before it threw cannot be taken back, so the window is `partial` from then on; it is a predecessor and moves the watermark all the same, because to
 * a replay that finds its window closed it is a record like any other (W3). A throw at closing holds the partition (SLU_WINDOW_FAILED); a replay
 * comes to the same in every case (W3).
 * One file over 300 lines because it is one state machine.
 */
import type { Codecs } from '../schemas/codec.ts'
import { asSluiceError, isSluiceError, SluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord } from '../schemas/log.ts'
import { decodeWindowMetadata, encodeWindowMetadata, type WindowMetadata } from './commit-metadata.ts'
import type { MarkerFacts, OpenWindow, RecordEmit, WindowFunction, WindowParameters } from './define-function.ts'
import { assertRecordSize, closingRecord, handed, synchronous, untilWindowFails } from './emits.ts'
import { NO_EFFECTS, type Checkpoint, type Effects, type Outgoing, type Parked, type PartitionProcessor } from './processor.ts'
import { outcomeOf } from './retry.ts'
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
  /** What `add` is shown of it. */
  readonly view: OpenWindow<G>
  /** W10: sequences by identity; 0 where there is none. */
  readonly identities: Map<string, Set<number>>
}

interface Predecessor<P> {
  readonly offset: bigint
  readonly eventMs: number
  readonly value: P
}

/** What the definition says of a record beside its time. */
interface Facts<P> {
  readonly identity: string
  readonly sequence: number
  /** Of its predecessors; null where the function has none. */
  readonly line: string | null
  /** What it may be to those after it. */
  readonly next: Predecessor<P> | null
}

/** Identity of the parameters (W3): canonical text of what changes what is emitted; `idleMs` only changes when ticks are written. */
export function parametersHash(functionName: string, p: WindowParameters, hash: (text: string) => string): string {
  return hash(`${functionName}|${p.windowMs}|${p.graceMs}|${p.outOfOrdernessMs}|${p.skewMs}|${p.maxGapMs}`).slice(0, 16)
}

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

/** The newest of each that the markers of a partition say. */
interface Said {
  closedThroughMs: number | null
  readThrough: bigint
  suspectMs: number | null
  neededFrom: bigint | null
  /** One was written with other parameters (W3). */
  isOther: boolean
}

const nothingSaid = (): Said => ({ closedThroughMs: null, readThrough: 0n, suspectMs: null, neededFrom: null, isOther: false })

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
  const attempt = untilWindowFails()

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
    const topic = definition.partialsTopic
    const record = closingRecord(definition, 'encodeMarker', () => ({
      to: 'topic',
      topic,
      key: null,
      value: synchronous(definition.encodeMarker(marker, at.context), definition, 'encodeMarker'),
    }))
    return Array.from({ length: at.partialsPartitionCount }, (_, partition) => ({ ...record, partition }))
  }

  const emit = (window: Open<G>, partials: Outgoing[]): void => {
    const partial = window.isPartial || (suspectMs !== null && window.startMs <= suspectMs)
    for (const key of [...window.groups.keys()].sort(byText)) {
      const { state } = window.groups.get(key) as Group<G>
      const { startMs, endMs, firstOffset, lastOffset } = window
      const group = { functionName: definition.name, sourcePartition: at.partition, key, startMs, endMs, firstOffset, lastOffset, partial, parametersHash: hash, state }
      const encode = (): RecordEmit => {
        const { key: partialKey, value } = synchronous(definition.encodePartial(group, at.context), definition, 'encodePartial')
        return { to: 'topic', topic: definition.partialsTopic, key: partialKey, value }
      }
      partials.push(closingRecord(definition, `encodePartial of ${key}, ${startMs} to ${endMs}`, encode))
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

  const predecessorOf = (line: string | null, eventMs: number, window: Open<G>): P | undefined => {
    if (line === null) return undefined
    const before = predecessors.get(line)
    const fromMs = eventMs - maxGapMs
    // A newer one than what we have may be among what we lack (W6).
    if (suspectMs !== null && fromMs <= suspectMs && (before === undefined || before.eventMs <= suspectMs)) window.isPartial = true
    if (before === undefined || before.eventMs < fromMs) return undefined
    if (before.offset < window.neededOffset) window.neededOffset = before.offset
    return before.eventMs < eventMs ? before.value : undefined
  }

  const assertType = (what: string, value: unknown, type: 'string' | 'number'): void => {
    if (typeof value === type) return
    throw new SluiceError('SLU_HANDLER_FAILED', `${definition.name}: ${what} is a ${typeof synchronous(value, definition, what)}, must be a ${type}`)
  }

  const factsOf = (value: T, eventMs: number, offset: bigint): Facts<P> | SluiceError => {
    try {
      const identity = definition.identity(value)
      const sequence = definition.sequence?.(value) ?? 0
      assertType('identity', identity, 'string')
      assertType('sequence', sequence, 'number')
      if (definition.predecessor === undefined) return { identity, sequence, line: null, next: null }
      const line = definition.predecessor.keyOf(value)
      assertType('predecessor.keyOf', line, 'string')
      return { identity, sequence, line, next: { offset, eventMs, value: synchronous(definition.predecessor.of(value), definition, 'predecessor.of') } }
    } catch (thrown) {
      return outcomeOf(thrown, 'SLU_HANDLER_FAILED').error
    }
  }

  const remember = ({ line, next }: Facts<P>): void => {
    if (line === null || next === null) return
    const before = predecessors.get(line)
    if (before === undefined || next.eventMs >= before.eventMs) predecessors.set(line, next)
  }

  /** W10 */
  const isFirst = (identities: Map<string, Set<number>>, { identity, sequence }: Facts<P>): boolean => {
    const folded = identities.get(identity)
    if (folded === undefined) identities.set(identity, new Set([sequence]))
    else if (folded.has(sequence)) return false
    else folded.add(sequence)
    return true
  }

  const begun = (endMs: number, offset: bigint): Open<G> => {
    const startMs = endMs - windowMs
    const groups = new Map<string, Group<G>>()
    const group = (key: string, create: () => G): G => {
      let g = groups.get(key)
      if (g === undefined) groups.set(key, (g = { state: create() }))
      return g.state
    }
    return {
      startMs,
      endMs,
      firstOffset: offset,
      lastOffset: offset,
      neededOffset: offset,
      isPartial: false,
      groups,
      view: { startMs, endMs, group },
      identities: new Map(),
    }
  }

  /** What `add` threw, if it did. */
  const fold = (value: T, eventMs: number, offset: bigint, facts: Facts<P>): 'folded' | 'duplicate' | SluiceError => {
    const endMs = endOf(eventMs)
    let window = open.get(endMs)
    if (window === undefined) open.set(endMs, (window = begun(endMs, offset)))
    window.lastOffset = offset
    if (!isFirst(window.identities, facts)) return 'duplicate'
    const before = predecessorOf(facts.line, eventMs, window)
    try {
      synchronous<unknown>(definition.add(window.view, value, before), definition, 'add')
      return 'folded'
    } catch (thrown) {
      window.isPartial = true
      // Not folded: one that is sent again, or put back, is tried again (W10).
      window.identities.get(facts.identity)?.delete(facts.sequence)
      return outcomeOf(thrown, 'SLU_HANDLER_FAILED').error
    }
  }

  const decode = (record: LogRecord): { readonly value: T; readonly eventMs: number } | SluiceError => {
    try {
      assertRecordSize(record, definition)
      const value = synchronous(definition.decode(handed(record, definition), at.context), definition, 'decode')
      const eventMs = synchronous(definition.eventTimeMs(value), definition, 'eventTimeMs')
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

  let said = nothingSaid()

  const markerOf = (row: LogRecord): MarkerFacts | null => {
    try {
      return definition.decodeMarker(row, at.context)
    } catch {
      // No marker of ours. Stage 2 parks what cannot be read (D6).
      return null
    }
  }

  /** W6: what the partition's own markers say; they are read one by one, and none is kept (C6). */
  const readMarker = (row: LogRecord): void => {
    const marker = markerOf(row)
    if (marker === null || marker.functionName !== definition.name || marker.sourcePartition !== at.partition) return
    if (marker.parametersHash !== hash) said.isOther = true
    if (marker.closedThroughMs >= 0 && (said.closedThroughMs === null || marker.closedThroughMs > said.closedThroughMs)) said.closedThroughMs = marker.closedThroughMs
    if (marker.readThrough > said.readThrough) said.readThrough = marker.readThrough
    if (marker.suspectMs >= 0 && (said.suspectMs === null || marker.suspectMs > said.suspectMs)) said.suspectMs = marker.suspectMs
    if (marker.neededFrom >= 0n && (said.neededFrom === null || marker.neededFrom > said.neededFrom)) said.neededFrom = marker.neededFrom
  }

  /**
   * W6: what was closed, how far was read and from where to read again. Returns where to begin: an offset moved by hand to somewhere below what was
   * read begins early enough for every open window.
   */
  const restoreFromMarkers = (nextOffset: bigint | null, logStart: bigint): bigint | null => {
    if (said.isOther) throw new SluiceError('SLU_WINDOW_PARAMETERS', `${definition.name} ${at.topic}/${at.partition}`)
    ;({ closedThroughMs, readThrough, suspectMs } = said)
    const needed = said.neededFrom
    // Past what had been read, or retention took what the open windows need: they miss that.
    const isLacking = nextOffset !== null && (nextOffset > readThrough || (needed !== null && needed < logStart))
    if (!isLacking && needed !== null && nextOffset !== null) return needed < nextOffset ? needed : nextOffset
    suspectAfter = isLacking ? -1n : (needed ?? 0n)
    return nextOffset
  }

  const processAll = (records: readonly LogRecord[], nextPosition: bigint): Effects => {
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
      const facts = factsOf(value, eventMs, record.offset)
      if (facts instanceof SluiceError) {
        deadLetters.push({ record, error: facts, stage: 'window' })
        continue
      }
      if (isClosed(endOf(eventMs))) {
        if (record.offset < readThrough) skipped++
        else late.push(record)
      } else {
        const outcome = fold(value, eventMs, record.offset, facts)
        if (outcome instanceof SluiceError) deadLetters.push({ record, error: outcome, stage: 'window' })
        else if (outcome === 'folded') handled++
        else skipped++
      }
      remember(facts)
      advance(eventMs)
    }
    if (nextPosition > position) position = nextPosition
    const batches = [...(partials.length > 0 ? [{ fenced: false, records: partials }] : []), ...(hasClosed ? [{ fenced: false, records: markers() }] : [])]
    return { batches, late, deadLetters, handled, skipped, windowsClosed }
  }

  /** W7: what was restored. That it cannot be encoded holds the partition with its first record, when there is something to hold. */
  const firstEffects = (): Effects => {
    try {
      return attempt(() => ({ ...NO_EFFECTS, batches: [{ fenced: false, records: markers() }] }))
    } catch (thrown) {
      if (isSluiceError(thrown) && thrown.code === 'SLU_WINDOW_FAILED') return NO_EFFECTS
      throw thrown
    }
  }

  return {
    needs: [{ topic: definition.partialsTopic, partitions: 'all' }],

    restore: () => {
      said = nothingSaid()
      return readMarker
    },

    begin: (committed: Committed | null, _rows, logStart = 0n) => {
      const metadata = committed === null ? null : decodeWindowMetadata(committed.metadata)
      let nextOffset = committed?.nextOffset ?? null
      if (committed !== null && metadata !== null) restore(metadata, committed.nextOffset)
      else nextOffset = restoreFromMarkers(nextOffset, logStart)
      position = nextOffset ?? 0n
      return { nextOffset: nextOffset ?? 'start', effects: firstEffects() }
    },

    process: (records, nextPosition) => attempt(() => processAll(records, nextPosition)),

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
