/**
 * What a run of the window simulation came to, against the crash-free function of its log.
 *
 * Owns: the reading of the sinks by the rules of a consumer: results by identity, the first write wins, one flagged `partial` never replaces (W11);
 * late records and dead letters by source offset. Every number but `windows` and `records` must be 0.
 */
import type { LogRecord } from '../../schemas/log.ts'
import type { StepLog } from './step-log.ts'
import { referenceOf, type ResultValue, type Slot } from './window-reference.ts'
import type { Profile } from './windows.ts'

export interface WindowVerdict {
  readonly records: number
  readonly windows: number
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
}

const headerOf = (record: LogRecord, name: string): string => record.headers.find(([n]) => n === name)?.[1].toString() ?? ''

const contentOf = (slots: Iterable<Slot>): string =>
  JSON.stringify([...slots].map(({ source, first, last, ids, delta }) => [source, first, last, [...ids].sort(), delta]).sort((a, b) => Number(a[0]) - Number(b[0])))

const difference = <T>(a: ReadonlySet<T>, b: ReadonlySet<T>): number => a.symmetricDifference(b).size

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

export function verdictOf(log: StepLog, profile: Profile): WindowVerdict {
  const inputs = log.topics.get('in') ?? []
  const references = inputs.map(({ records }, source) => referenceOf(source, records))
  const expected = new Map<string, Slot[]>()
  for (const { slots } of references) for (const [identity, slot] of slots) expected.set(identity, [...(expected.get(identity) ?? []), slot])

  const complete = new Map<string, string>()
  let differing = 0
  for (const record of log.topics.get('windows')?.[0]?.records ?? []) {
    const value = JSON.parse(String(record.value)) as ResultValue
    if (value.partial) continue
    const identity = `${value.endMs}/${value.key}`
    const content = contentOf(value.slots)
    const first = complete.get(identity)
    if (first === undefined) complete.set(identity, content)
    else if (first !== content) differing++
  }
  let wrong = log.topics.get('partials.late')?.[0]?.records.length ?? 0
  for (const [identity, slots] of expected) if (complete.get(identity) !== contentOf(slots)) wrong++
  for (const identity of complete.keys()) if (!expected.has(identity)) wrong++

  const late = offsetsIn(log, 'in.late', 'sluice.late.')
  const dead = offsetsIn(log, 'in.dlq', '__connect.errors.')
  let misplaced = 0
  for (const [source, reference] of references.entries()) {
    misplaced += difference(reference.late, late.get(source) ?? new Set())
    misplaced += difference(reference.deadLetters, dead.get(source) ?? new Set())
  }
  return {
    records: inputs.reduce((sum, { records }) => sum + records.length, 0),
    windows: expected.size,
    wrong,
    differing,
    misplaced,
    unclosed: references.filter((reference) => reference.closedThroughMs < reference.lastEndMs).length,
    // Stage 2 without metadata goes back to what the windows need that it opens again.
    regressed: log.regressed[0] + (profile === 'plain' || profile === 'growth' ? log.regressed[1] : 0),
    fatal: 0,
  }
}
