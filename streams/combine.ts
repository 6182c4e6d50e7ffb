/**
 * Stage 2 of windows: one partition of the partials topic (W7). Pure and synchronous; never uses a clock.
 *
 * Owns: marks and count of the source partitions (they only rise), one slot per source partition and group (replaced only by a range that
 * covers it), the closing of windows. A window closes when every source partition has marked it. A partial for a closed window is a duplicate
 * if its source had marked that window, else late. Marks, count and `closedThroughMs` stand in the commit metadata (C2).
 * Metadata lost: the partition below the committed offset is read again, without effects, to the same state. What retention took from its head
 * cannot be read: the windows that may have had partials there are emitted `partial`, as are those that a source's marker calls suspect (W6).
 */
import type { Codecs } from '../schemas/codec.ts'
import { asSluiceError, SluiceError } from '../schemas/errors.ts'
import type { Committed, LogRecord } from '../schemas/log.ts'
import { combineWindowMs, decodeCombineMetadata, encodeCombineMetadata } from './commit-metadata.ts'
import type { CombinedSlot, CombineFunction, MarkerFacts, PartialRecord } from './define-function.ts'
import { assertRecordSize, closingRecord, handed, synchronous, untilWindowFails, type PartitionCountOf } from './emits.ts'
import type { Checkpoint, Effects, Outgoing, Parked, PartitionProcessor } from './processor.ts'
import { isForAnother } from './redrive.ts'
import { isTick } from './tick.ts'

export interface CombinePlace {
  /** Logical input topic. */
  readonly topic: string
  readonly partition: number
  readonly context: { readonly codecs: Codecs; readonly site: string }
  readonly partitionCountOf?: PartitionCountOf
}

interface Open<V> {
  readonly startMs: number
  readonly endMs: number
  readonly firstOffset: bigint
  readonly groups: Map<string, Map<number, CombinedSlot<V>>>
}

/** More could not stand in the commit metadata. */
const SOURCES_MAX = 2400

const byText = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const covers = <V>(next: CombinedSlot<V>, old: CombinedSlot<V>): boolean => !next.partial && next.firstOffset <= old.firstOffset && next.lastOffset >= old.lastOffset

/** Why over 70 lines: one state machine; its parts share the state of the partition. */
export function createCombineProcessor<V>(definition: CombineFunction<V>, at: CombinePlace): PartitionProcessor {
  const marks = new Map<number, number>()
  const open = new Map<number, Open<V>>()
  let position = 0n
  let partitionCount = 0
  let closedThroughMs: number | null = null
  /** W6: we go by the log alone, and have not seen its first record yet. */
  let isAtHead = false
  /** W6: windows that start at or before this may miss records: a source says so, or their partials may have stood in the lost head. */
  let suspectMs: number | null = null
  const attempt = untilWindowFails()

  /** D6: what no stage 1 of ours writes is parked before it can hold up or close anything. Null = well formed. */
  const faultOf = (p: PartialRecord<V>): string | null => {
    const isOnGrid = (ms: number): boolean => Number.isSafeInteger(ms) && ms >= 0 && ms % definition.windowMs === 0
    if (!Number.isSafeInteger(p.sourcePartition) || p.sourcePartition < 0) return `source partition ${p.sourcePartition}`
    if (p.kind === 'partial') return isOnGrid(p.windowStartMs) && p.windowEndMs === p.windowStartMs + definition.windowMs ? null : `window ${p.windowStartMs} to ${p.windowEndMs}`
    if (!(p.partitionCount <= SOURCES_MAX && p.sourcePartition < p.partitionCount)) return `source partition ${p.sourcePartition} of ${p.partitionCount}`
    return p.closedThroughMs === -1 || isOnGrid(p.closedThroughMs) ? null : `closed through ${p.closedThroughMs}`
  }

  const decode = (record: LogRecord): PartialRecord<V> | SluiceError => {
    try {
      assertRecordSize(record, definition)
      const decoded = synchronous(definition.decode(handed(record, definition), at.context), definition, 'decode')
      const fault = faultOf(decoded)
      return fault === null ? decoded : new SluiceError('SLU_RECORD_UNDECODABLE', fault)
    } catch (thrown) {
      return asSluiceError(thrown, 'SLU_RECORD_UNDECODABLE')
    }
  }

  const isClosed = (endMs: number): boolean => closedThroughMs !== null && endMs <= closedThroughMs

  const suspect = (startMs: number): void => {
    if (startMs >= 0 && (suspectMs === null || startMs > suspectMs)) suspectMs = startMs
  }

  const mark = (marker: MarkerFacts): void => {
    const { sourcePartition, closedThroughMs: markedMs } = marker
    const before = marks.get(sourcePartition) ?? -1
    if (marker.partitionCount > partitionCount) partitionCount = marker.partitionCount
    suspect(marker.suspectMs)
    if (markedMs > before) marks.set(sourcePartition, markedMs)
  }

  /** The lowest mark of all source partitions; null while one has marked nothing. */
  const markedThrough = (): number | null => {
    if (partitionCount === 0) return null
    let lowest = Infinity
    for (let source = 0; source < partitionCount; source++) {
      const marked = marks.get(source)
      if (marked === undefined) return null
      if (marked < lowest) lowest = marked
    }
    return lowest
  }

  /** Returns how many windows were closed. `results` null = they were emitted before. Throws SLU_WINDOW_FAILED. */
  const close = (results: Outgoing[] | null): number => {
    const through = markedThrough()
    if (through === null || isClosed(through)) return 0
    const ending = [...open.keys()].filter((endMs) => endMs <= through).sort((a, b) => a - b)
    for (const endMs of ending) {
      const { startMs, groups } = open.get(endMs) as Open<V>
      open.delete(endMs)
      if (results === null) continue
      const isSuspect = suspectMs !== null && startMs <= suspectMs
      for (const group of [...groups.keys()].sort(byText)) {
        const slots = [...(groups.get(group) as Map<number, CombinedSlot<V>>).values()].sort((a, b) => a.sourcePartition - b.sourcePartition)
        const given = isSuspect ? slots.map((slot) => ({ ...slot, partial: true })) : slots
        results.push(
          closingRecord(definition, `result of ${group}, ${startMs} to ${endMs}`, () => definition.result(group, { startMs, endMs }, given, at.context), at.partitionCountOf),
        )
      }
    }
    closedThroughMs = through
    return ending.length
  }

  /** True = taken, 'duplicate' or 'late' otherwise. */
  const take = (p: Extract<PartialRecord<V>, { kind: 'partial' }>, offset: bigint): 'taken' | 'duplicate' | 'late' => {
    if (isClosed(p.windowEndMs)) return p.windowEndMs <= (marks.get(p.sourcePartition) ?? -1) ? 'duplicate' : 'late'
    let window = open.get(p.windowEndMs)
    if (window === undefined) {
      window = { startMs: p.windowStartMs, endMs: p.windowEndMs, firstOffset: offset, groups: new Map() }
      open.set(p.windowEndMs, window)
    }
    let slots = window.groups.get(p.group)
    if (slots === undefined) window.groups.set(p.group, (slots = new Map()))
    const slot: CombinedSlot<V> = { sourcePartition: p.sourcePartition, firstOffset: p.firstOffset, lastOffset: p.lastOffset, partial: p.partial, value: p.value }
    const old = slots.get(p.sourcePartition)
    if (old !== undefined && !covers(slot, old)) return 'duplicate'
    slots.set(p.sourcePartition, slot)
    return 'taken'
  }

  /** Partials that retention took were written before the first record that is left, so their windows had begun by then. */
  const seeFirst = (record: LogRecord): void => {
    if (isAtHead && record.offset > 0n) suspect(record.timestampMs)
    isAtHead = false
  }

  /** W7 after lost metadata: to the state that the partition's own records below the committed offset come to. What they emit was emitted. */
  const rebuild = (rows: readonly LogRecord[], nextOffset: bigint): void => {
    for (const row of rows) {
      if (row.partition !== at.partition || row.offset >= nextOffset) continue
      seeFirst(row)
      if (isTick(row) || isForAnother(row, definition.name)) continue
      const decoded = decode(row)
      // An undecodable row was dead-lettered where it was processed; it marks nothing.
      if (decoded instanceof SluiceError) continue
      if (decoded.kind === 'partial') take(decoded, row.offset)
      else {
        mark(decoded)
        close(null)
      }
    }
  }

  const processAll = (records: readonly LogRecord[], readTo: bigint): Effects => {
    const results: Outgoing[] = []
    const late: LogRecord[] = []
    const deadLetters: Parked[] = []
    let handled = 0
    let skipped = 0
    let windowsClosed = 0
    for (const record of records) {
      if (record.offset < position) continue
      position = record.offset + 1n
      seeFirst(record)
      if (isTick(record)) continue
      if (isForAnother(record, definition.name)) {
        skipped++
        continue
      }
      const decoded = decode(record)
      if (decoded instanceof SluiceError) {
        deadLetters.push({ record, error: decoded, stage: 'decode' })
        continue
      }
      if (decoded.kind === 'marker') {
        mark(decoded)
        windowsClosed += close(results)
        handled++
        continue
      }
      const outcome = take(decoded, record.offset)
      if (outcome === 'late') late.push(record)
      else if (outcome === 'duplicate') skipped++
      else handled++
    }
    if (readTo > position) position = readTo
    return { batches: results.length > 0 ? [{ fenced: false, records: results }] : [], late, deadLetters, handled, skipped, windowsClosed }
  }

  return {
    needs: [{ topic: at.topic, partitions: 'own' }],

    begin: (committed: Committed | null, rows) => {
      const written = committed === null ? null : combineWindowMs(committed.metadata)
      if (written !== null && written !== definition.windowMs) throw new SluiceError('SLU_WINDOW_PARAMETERS', `${at.topic}/${at.partition}: windows of ${written} ms`)
      const metadata = committed === null ? null : decodeCombineMetadata(committed.metadata, definition.windowMs)
      if (metadata !== null) {
        closedThroughMs = metadata.closedThroughMs
        suspectMs = metadata.suspectMs
        partitionCount = metadata.partitionCount
        for (const [source, marked] of metadata.marks) marks.set(source, marked)
      } else {
        isAtHead = true
        if (committed !== null) rebuild(rows.get(at.topic) ?? [], committed.nextOffset)
      }
      position = committed?.nextOffset ?? 0n
      return { nextOffset: committed?.nextOffset ?? 'start', effects: { batches: [], late: [], deadLetters: [], handled: 0, skipped: 0, windowsClosed: 0 } }
    },

    process: (records, readTo) => attempt(() => processAll(records, readTo)),

    checkpoint: (): Checkpoint => {
      let nextOffset = position
      for (const window of open.values()) if (window.firstOffset < nextOffset) nextOffset = window.firstOffset
      return { nextOffset, metadata: encodeCombineMetadata({ closedThroughMs, suspectMs, partitionCount, marks }, definition.windowMs) }
    },

    watermarkMs: () => closedThroughMs,
    openWindows: () => open.size,
  }
}
