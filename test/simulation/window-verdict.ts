/**
 * What a run of the window simulation came to, against the crash-free function of its log.
 *
 * Owns: the reading of the sinks by the rules of a consumer: results by identity, the first write wins, one flagged `partial` never replaces (W11);
 * late records and dead letters by source offset. Every number but `records`, `windows` and `flagged` must be 0.
 */
import type { LogRecord } from '../../schemas/log.ts'
import type { StepLog } from './step-log.ts'
import { GARBAGE_KEY, PARAMETERS, referenceOf, SOURCES, type Profile, type ResultValue, type Slot } from './window-reference.ts'

export interface WindowVerdict {
  readonly records: number
  readonly windows: number
  /** Groups of windows that came out only as `partial`, after a skip. */
  readonly flagged: number
  /** Results that are not what the log says, are missing, or should not be. */
  readonly wrong: number
  /** A second result of one identity with other content. */
  readonly differing: number
  /** Late records and dead letters: not there, or there and should not be. */
  readonly misplaced: number
  /** Source partitions whose windows idleness did not close. */
  readonly unclosed: number
  /** Commits that moved an offset back. */
  readonly regressed: number
  readonly fatal: number
  /** Slots that are less than a complete one that had been read (W7). */
  readonly uncovered: number
}

const headerOf = (record: LogRecord, name: string): string => record.headers.find(([n]) => n === name)?.[1].toString() ?? ''

const contentOf = (slots: Iterable<Slot>): string =>
  JSON.stringify([...slots].map(({ source, first, last, ids, delta }) => [source, first, last, [...ids].sort(), delta]).sort((a, b) => Number(a[0]) - Number(b[0])))

function offsetsIn(log: StepLog, topic: string, name: string): Map<number, Set<number>> {
  const found = new Map<number, Set<number>>()
  for (const { records } of log.topics.get(topic) ?? [])
    for (const record of records) {
      const source = Number(headerOf(record, `${name}partition`))
      const offsets = found.get(source) ?? new Set()
      found.set(source, offsets.add(Number(headerOf(record, `${name}offset`))))
    }
  return found
}

function resultsIn(log: StepLog): { complete: Map<string, string>; flagged: Set<string>; differing: number } {
  const complete = new Map<string, string>()
  const flagged = new Set<string>()
  let differing = 0
  for (const record of log.topics.get('windows')?.[0]?.records ?? []) {
    const value = JSON.parse(String(record.value)) as ResultValue
    const identity = `${value.endMs}/${value.key}`
    const content = contentOf(value.slots)
    const first = complete.get(identity)
    if (value.partial) flagged.add(identity)
    else if (first === undefined) complete.set(identity, content)
    else if (first !== content) differing++
  }
  return { complete, flagged, differing }
}

/** Offsets of one input partition that were passed over by hand. */
export interface Skip {
  readonly source: number
  readonly from: bigint
  readonly to: bigint
}

/**
 * Windows that may come out `partial`, or not at all if all they had was skipped: those that began before the next record could be known to follow
 * whatever was skipped, and a little longer where a counter's predecessor may be among it.
 */
function excuseOf(skips: readonly Skip[], log: StepLog, profile: Profile): (identity: string) => boolean {
  // What retention took may have been anything.
  if (profile === 'retention') return () => true
  const { skewMs, maxGapMs, windowMs } = PARAMETERS
  const untilMs = skips.map(({ source, to }) => {
    const next = log.topics.get('in')?.[source]?.records.find((record) => record.offset >= to)
    return (next?.appendMs ?? log.nowMs) + skewMs + maxGapMs + windowMs
  })
  return (identity) => untilMs.some((ms) => Number.parseInt(identity, 10) <= ms)
}

interface PartialRow extends Slot {
  readonly kind: 'partial'
  readonly key: string
  readonly endMs: number
  readonly partial: boolean
}
interface MarkerRow {
  readonly kind: 'marker'
  readonly sourcePartition: number
  readonly closedThroughMs: number
}

const rowOf = (record: LogRecord): PartialRow | MarkerRow | null => {
  try {
    return record.key?.equals(GARBAGE_KEY) === true ? null : (JSON.parse(String(record.value)) as PartialRow | MarkerRow)
  } catch {
    return null
  }
}

/**
 * W7: slots of results that a complete partial of the same source would have covered, though stage 2 had read it: it stood before the marker of its source
 * that let the window close. What retention took from stage 2 it need not have read.
 */
function uncoveredIn(log: StepLog): number {
  // Partitions that join later are not waited for before they are known; what comes of theirs too late is told apart above.
  const isKnown = (source: number): boolean => source < SOURCES
  const results = Map.groupBy(
    (log.topics.get('windows')?.[0]?.records ?? []).map((record) => JSON.parse(String(record.value)) as ResultValue),
    ({ endMs, key }) => `${endMs}/${key}`,
  )
  let uncovered = 0
  for (const { records, start } of log.topics.get('partials') ?? []) {
    const marks = new Map<number, number>()
    for (const record of records) {
      const row = rowOf(record)
      if (row?.kind === 'marker') marks.set(row.sourcePartition, Math.max(marks.get(row.sourcePartition) ?? -1, row.closedThroughMs))
      if (row?.kind !== 'partial' || row.partial || !isKnown(row.source) || record.offset < start || row.endMs <= (marks.get(row.source) ?? -1)) continue
      for (const { slots } of results.get(`${row.endMs}/${row.key}`) ?? []) {
        const slot = slots.find(({ source }) => source === row.source)
        if (slot === undefined || (row.first <= slot.first && row.last >= slot.last && (row.first < slot.first || row.last > slot.last))) uncovered++
      }
    }
  }
  return uncovered
}

const garbageIn = (log: StepLog): number[] =>
  (log.topics.get('partials') ?? []).flatMap(({ records }, partition) => records.filter((r) => r.key?.equals(GARBAGE_KEY) === true).map((r) => Number(r.offset) * 10 + partition))

export function verdictOf(log: StepLog, profile: Profile, skips: readonly Skip[], hasPredecessors: boolean): WindowVerdict {
  const inputs = log.topics.get('in') ?? []
  const references = inputs.map(({ records }, source) => referenceOf(source, records, hasPredecessors))
  const expected = new Map<string, Slot[]>()
  for (const { slots } of references) for (const [identity, slot] of slots) expected.set(identity, [...(expected.get(identity) ?? []), slot])
  const { complete, flagged, differing } = resultsIn(log)
  let wrong = 0
  // A partition that joins later has no say in windows closed before it was known: what it has for them is late at stage 2 (W7).
  for (const record of log.topics.get('partials.late')?.[0]?.records ?? []) {
    const { source, key, endMs } = JSON.parse(String(record.value)) as { source: number; key: string; endMs: number }
    const identity = `${endMs}/${key}`
    if (profile !== 'growth' || source < SOURCES) wrong++
    const others = expected.get(identity)?.filter((slot) => slot.source !== source) ?? []
    if (others.length > 0) expected.set(identity, others)
    else expected.delete(identity)
  }
  const isExcused = excuseOf(skips, log, profile)
  const isTorn = (identity: string): boolean => references.some(({ torn }) => torn.has(Number.parseInt(identity, 10)))
  for (const [identity, slots] of expected) {
    const content = complete.get(identity)
    if (content === undefined && isTorn(identity) && flagged.has(identity)) continue
    const isGone = slots.every((slot) => skips.some((skip) => skip.source === slot.source))
    const mayMiss = content === undefined && isExcused(identity) && (flagged.has(identity) || isGone)
    if (!mayMiss && content !== contentOf(slots)) wrong++
  }
  for (const identity of complete.keys())
    if (!expected.has(identity) || references.some(({ torn, slots }) => torn.has(Number.parseInt(identity, 10)) && slots.has(identity))) wrong++
  for (const identity of flagged) if (!complete.has(identity) && !isExcused(identity) && !isTorn(identity)) wrong++

  const late = offsetsIn(log, 'in.late', 'sluice.late.')
  const dead = offsetsIn(log, 'in.dlq', '__connect.errors.')
  const none = new Set<number>()
  let misplaced = 0
  for (const [source, reference] of references.entries()) {
    for (const [there, should] of [
      [late.get(source) ?? none, reference.late],
      [dead.get(source) ?? none, reference.deadLetters],
    ] as const) {
      misplaced += there.difference(should).size
      // What was skipped is nowhere, and without it a later record may not be late.
      if (skips.length === 0) misplaced += should.difference(there).size
    }
  }
  const garbage = [...offsetsIn(log, 'partials.dlq', '__connect.errors.')].flatMap(([partition, offsets]) => [...offsets].map((offset) => offset * 10 + partition))
  misplaced += new Set(garbage).symmetricDifference(new Set(garbageIn(log))).size
  return {
    records: inputs.reduce((sum, { records }) => sum + records.length, 0),
    windows: expected.size,
    flagged: [...flagged].filter((identity) => !complete.has(identity)).length,
    wrong,
    differing,
    misplaced,
    unclosed: references.filter((reference) => reference.closedThroughMs < reference.lastEndMs).length,
    // Without metadata an owner begins where the windows need it, which may lie below.
    regressed: profile === 'plain' ? log.regressed : 0,
    fatal: 0,
    uncovered: uncoveredIn(log),
  }
}
