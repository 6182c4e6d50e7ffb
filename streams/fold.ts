/**
 * Kind `fold`: keyed state folded over the records of one partition (C8).
 *
 * Owns: the states of one partition, at most `statesMax` (C6). Stages: restore from the state topic → per record tick? → size → decode → fold →
 * emits checked → on the timer, the definition's own tick per state.
 * Invariants. C8: every emit is fenced and carries the source partition, offset and append time it derives from as headers, which is the
 * version of a row. A restored row says how far its key was folded: records at or below it are skipped, so a replay after a crash between
 * the transaction and the commit folds nothing twice. No state is ever dropped: its key would begin anew, and the next row would replace the good
 * one; a record of a key beyond `statesMax` holds the partition (docs/adr/0011). D6: a bad record is a dead letter and leaves the state untouched.
 * A `hold` or `fatal` error, or a `retry` while the record has tries left (D1), is thrown with every state as it was before the call, so the same call is
 * made again.
 */
import { SluiceError } from '../schemas/errors.ts'
import type { LogHeaders, LogRecord } from '../schemas/log.ts'
import { hasElapsed } from './elapsed.ts'
import { assertRecordSize, handed, sortEmits, synchronous, type PartitionCountOf } from './emits.ts'
import { isForAnother } from './redrive.ts'
import { isTick } from './tick.ts'
import type { Retries } from './retries.ts'
import { outcomeOf } from './retry.ts'
import type { Emit, FoldFunction, FunctionContext } from './define-function.ts'
import { NO_EFFECTS, type Effects, type Outgoing, type Parked, type PartitionProcessor } from './processor.ts'

const HEADER_SOURCE_PARTITION = 'sluice.source.partition'
const HEADER_SOURCE_OFFSET = 'sluice.source.offset'
const HEADER_SOURCE_APPEND = 'sluice.source.append'

/** How far a key was folded when its newest row was written. */
interface Version {
  readonly offset: bigint
  readonly appendMs: number | null
}

/** A key as it was before a call that may have to be made again: its state, and how far that had been folded. */
interface Before<S> {
  readonly state: S | undefined
  readonly version: Version | undefined
}

const ascii = (text: string): Buffer => Buffer.from(text, 'latin1')

function versionHeaders(partition: number, offset: bigint, appendMs: number | null): LogHeaders {
  const headers: [string, Buffer][] = [
    [HEADER_SOURCE_PARTITION, ascii(String(partition))],
    [HEADER_SOURCE_OFFSET, ascii(String(offset))],
  ]
  if (appendMs !== null) headers.push([HEADER_SOURCE_APPEND, ascii(String(appendMs))])
  return headers
}

/** The input partition a row derives from, without looking into it; null = it does not say. */
export function sourcePartitionOf(row: LogRecord): number | null {
  const text = row.headers.find(([name]) => name === HEADER_SOURCE_PARTITION)?.[1].toString('latin1') ?? ''
  return /^\d{1,6}$/.test(text) ? Number(text) : null
}

/** The version a row carries, if it was derived from `partition`. */
export function versionOf(row: LogRecord, partition: number): Version | null {
  const text = (name: string): string | undefined => row.headers.find(([n]) => n === name)?.[1].toString('latin1')
  const offset = text(HEADER_SOURCE_OFFSET)
  if (text(HEADER_SOURCE_PARTITION) !== String(partition) || offset === undefined || !/^-?\d{1,19}$/.test(offset)) return null
  const append = Number(text(HEADER_SOURCE_APPEND) ?? Number.NaN)
  return { offset: BigInt(offset), appendMs: Number.isFinite(append) ? append : null }
}

/** A record that the restored row of its key already holds. Append time guards against a topic made anew, whose offsets begin again. */
const isFolded = (record: LogRecord, version: Version | undefined): boolean =>
  version !== undefined && record.offset <= version.offset && (record.appendMs === null || version.appendMs === null || record.appendMs <= version.appendMs)

/** `report` hears of a tick that threw and of state rows that cannot be read; there is no record to park. Throws only errors whose disposition is `hold`, `fatal` or, with `retries`, `retry`; every other ending is an effect. Why over 70 lines: one state machine over `states`. */
export function createFoldProcessor<T, S>(
  definition: FoldFunction<T, S>,
  context: FunctionContext,
  partition: number,
  report: (error: SluiceError) => void,
  partitionCountOf?: PartitionCountOf,
  retries: Retries | null = null,
): PartitionProcessor {
  const states = new Map<string, S>()
  const versions = new Map<string, Version>()
  let unreadable: { readonly count: number; readonly first: SluiceError | null } = { count: 0, first: null }
  let nextOffset = 0n
  let lastAppendMs: number | null = null
  let tickedMs: number | null = null

  const hasRoom = (key: string): boolean => states.size < definition.statesMax || states.has(key)
  const fencedOf = (outgoing: readonly Outgoing[], { offset, appendMs }: Version): Outgoing[] => {
    const version = versionHeaders(partition, offset, appendMs)
    return outgoing.map((o) => ({ ...o, headers: [...(o.headers ?? []), ...version] }))
  }
  const effects = (out: Outgoing[], deadLetters: Parked[], handled: number, skipped: number): Effects => ({
    ...NO_EFFECTS,
    batches: out.length === 0 ? [] : [{ fenced: true, records: out }],
    deadLetters,
    handled,
    skipped,
  })

  const foldOne = (record: LogRecord, before: Map<string, Before<S>>): { out: Outgoing[]; parked: Parked[]; isSkipped: boolean } => {
    const spent = retries?.spent(record) ?? null
    if (spent !== null) return { out: [], parked: [spent], isSkipped: false }
    let stage: Parked['stage'] = 'decode'
    try {
      assertRecordSize(record, definition)
      const given = handed(record, definition)
      const value = synchronous(definition.decode(given, context), definition, 'decode')
      stage = 'handle'
      const key = definition.keyOf(value, given)
      if (isFolded(record, versions.get(key))) return { out: [], parked: [], isSkipped: true }
      if (!hasRoom(key)) throw new SluiceError('SLU_HANDLER_STATE_FULL', `statesMax ${definition.statesMax}`)
      const state = states.get(key)
      const [folded, emits] = synchronous(definition.fold(state ?? definition.initial(key, partition), value, given, context), definition, 'fold')
      const { outgoing, parked } = sortEmits(emits, record, definition, partitionCountOf)
      if (!before.has(key)) before.set(key, { state, version: versions.get(key) })
      versions.delete(key)
      states.set(key, folded)
      retries?.over(record)
      return { out: fencedOf(outgoing, record), parked, isSkipped: false }
    } catch (thrown) {
      const { action, error } = outcomeOf(thrown, stage === 'decode' ? 'SLU_RECORD_UNDECODABLE' : 'SLU_HANDLER_FAILED')
      if (action === 'hold' || action === 'fatal') throw error
      const one = { record, error, stage }
      return { out: [], parked: [action === 'retry' ? (retries?.again(one) ?? one) : one], isSkipped: false }
    }
  }

  const tickAll = (nowMs: number): Effects => {
    const tick = definition.tick
    if (tick === undefined) return NO_EFFECTS
    if (tickedMs !== null && !hasElapsed(tickedMs, tick.everyMs, nowMs)) return NO_EFFECTS
    tickedMs = nowMs
    const out: Outgoing[] = []
    for (const [key, state] of states) {
      try {
        const [next, emits] = synchronous(tick.run(state, key, nowMs, partition, context), definition, 'tick.run')
        // A state restored and not folded since may be ahead of where we read: an older version on its row would make a successor fold records again.
        const version = versions.get(key) ?? { offset: nextOffset - 1n, appendMs: lastAppendMs }
        for (const one of fencedOf(tickOutgoing(emits, key, definition, partitionCountOf), version)) out.push(one)
        states.set(key, next)
      } catch (thrown) {
        report(new SluiceError('SLU_HANDLER_FAILED', `tick of ${definition.name}`, thrown))
      }
    }
    return effects(out, [], 0, 0)
  }

  const restoreRow = (row: LogRecord): void => {
    try {
      const restored = definition.restore(row, partition, context)
      if (restored === null) return
      // A record of it holds the partition: no other state makes room.
      if (!hasRoom(restored.key)) return
      states.set(restored.key, restored.merge(states.get(restored.key) ?? definition.initial(restored.key, partition)))
      const version = versionOf(row, partition)
      const known = versions.get(restored.key)
      if (version !== null && (known === undefined || version.offset > known.offset)) versions.set(restored.key, version)
    } catch (thrown) {
      unreadable = { count: unreadable.count + 1, first: unreadable.first ?? outcomeOf(thrown, 'SLU_RECORD_UNDECODABLE').error }
    }
  }

  return {
    needs: [{ topic: definition.stateTopic, partitions: 'all' }],
    restore: () => {
      states.clear()
      versions.clear()
      unreadable = { count: 0, first: null }
      return restoreRow
    },
    begin: (committed, rows) => {
      nextOffset = committed?.nextOffset ?? 0n
      for (const row of rows.get(definition.stateTopic) ?? []) restoreRow(row)
      // No dead letters: the row stays where it is, and every start of every partition would park it again.
      const { first, count } = unreadable
      if (first !== null) report(new SluiceError(first.code, `${count} rows of ${definition.stateTopic}: what they held begins anew`, first))
      return { nextOffset: committed?.nextOffset ?? 'start', effects: NO_EFFECTS }
    },
    process: (records, readTo) => {
      const before = new Map<string, Before<S>>()
      const out: Outgoing[] = []
      const deadLetters: Parked[] = []
      let handled = 0
      let skipped = 0
      try {
        for (const record of records) {
          if (isTick(record) || isForAnother(record, definition.name)) {
            skipped++
            continue
          }
          const made = foldOne(record, before)
          // Not spread: arguments lie on the stack, and a handler may emit more than it holds.
          for (const one of made.out) out.push(one)
          for (const one of made.parked) deadLetters.push(one)
          if (made.isSkipped) skipped++
          else handled++
        }
      } catch (thrown) {
        for (const [key, { state, version }] of before) {
          if (state === undefined) states.delete(key)
          else states.set(key, state)
          if (version !== undefined) versions.set(key, version)
        }
        throw thrown
      }
      nextOffset = readTo
      lastAppendMs = records.at(-1)?.appendMs ?? lastAppendMs
      return effects(out, deadLetters, handled, skipped)
    },
    checkpoint: () => ({ nextOffset, metadata: '' }),
    onTimer: tickAll,
  }
}

/** Emits of a tick have no source record: a dead letter makes no sense there. */
function tickOutgoing<T, S>(emits: readonly Emit[], key: string, definition: FoldFunction<T, S>, partitionCountOf?: PartitionCountOf): Outgoing[] {
  const placeholder = { topic: '', partition: 0, offset: 0n, timestampMs: 0, appendMs: null, key: Buffer.from(key), value: null, headers: [] }
  return sortEmits(emits, placeholder, definition, partitionCountOf).outgoing.map(({ topic, partition, key: k, value, headers }) => ({
    topic,
    key: k,
    value,
    ...(partition === undefined ? {} : { partition }),
    ...(headers === undefined ? {} : { headers }),
  }))
}
