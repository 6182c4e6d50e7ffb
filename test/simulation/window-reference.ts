/**
 * The functions of the window simulation, and what they must come to: the crash-free function of the log, written down on its own.
 *
 * Owns: readings (with a counter, so that predecessors matter), the stage-1 and stage-2 definitions in JSON, and `referenceOf`, which reads one
 * input partition from first to last record by the words of W1–W3, W5, W8 and W10 and shares no code with `streams/`.
 */
import { SluiceError } from '../../schemas/errors.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { defineFunction, type CombineFunction, type MarkerFacts, type PartialRecord, type WindowFunction } from '../../streams/define-function.ts'

/** What a seed does beyond killing: `seed % 6`. */
export const PROFILES = ['plain', 'lossy', 'reset', 'skip', 'growth', 'retention'] as const
export type Profile = (typeof PROFILES)[number]

/** Input partitions; growth adds one. */
export const SOURCES = 3
export const PARAMETERS = { windowMs: 100, graceMs: 30, outOfOrdernessMs: 40, skewMs: 150, maxGapMs: 200, idleMs: 250 }

export interface Reading {
  readonly id: string
  readonly eventMs: number
  readonly device: number
  readonly counter: number
  /** Where the function throws for it. */
  readonly fault?: 'identity' | 'add'
}

export interface Sum {
  readonly ids: string[]
  delta: number
}

/** One line of a result or a partial. */
export interface Slot {
  readonly source: number
  readonly first: number
  readonly last: number
  readonly ids: readonly string[]
  readonly delta: number
}

export interface ResultValue {
  readonly key: string
  readonly endMs: number
  readonly partial: boolean
  readonly slots: readonly Slot[]
}

export const groupOf = (reading: Reading): string => `k${reading.device % 2}`

const bytes = (value: object): Buffer => Buffer.from(JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? Number(v) : v)))
const parse = (record: LogRecord): unknown => JSON.parse(record.value?.toString() ?? '')

interface PartialJson extends Omit<Slot, 'source'> {
  readonly kind: 'partial'
  readonly source: number
  readonly key: string
  readonly startMs: number
  readonly endMs: number
  readonly partial: boolean
}
type MarkerJson = Omit<MarkerFacts, 'readThrough' | 'neededFrom'> & { readonly kind: 'marker'; readonly readThrough: number; readonly neededFrom: number }

const markerOf = (json: MarkerJson) => ({ ...json, readThrough: BigInt(json.readThrough), neededFrom: BigInt(json.neededFrom) })

export const windowFunction = defineFunction<WindowFunction<Reading, Sum, number>>({
  kind: 'window',
  name: 'stage1',
  inputs: ['in'],
  outputs: ['partials'],
  partialsTopic: 'partials',
  parameters: PARAMETERS,
  decode: (record) => {
    if (record.value === null || record.value[0] !== 0x7b) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'not a reading')
    return parse(record) as Reading
  },
  eventTimeMs: (reading) => reading.eventMs,
  identity: ({ id, fault }) => {
    if (fault === 'identity') throw new TypeError('no such thing in identity')
    return id
  },
  add: (window, reading, before: number | undefined) => {
    const sum = window.group(groupOf(reading), () => ({ ids: [], delta: 0 }))
    sum.ids.push(reading.id)
    if (reading.fault === 'add') throw new TypeError('no such thing in add')
    if (before !== undefined && reading.counter > before) sum.delta += reading.counter - before
  },
  predecessor: { keyOf: (reading) => String(reading.device), of: (reading) => reading.counter },
  encodePartial: ({ key, sourcePartition, startMs, endMs, firstOffset, lastOffset, partial, state }) => ({
    // Windows of one group go to different partitions, so that both stages meet at each.
    key,
    value: bytes({ kind: 'partial', source: sourcePartition, key, startMs, endMs, first: firstOffset, last: lastOffset, partial, ...state }),
  }),
  encodeMarker: (marker) => bytes({ kind: 'marker', ...marker }),
  decodeMarker: (record) => {
    const json = parse(record) as MarkerJson | PartialJson
    return json.kind === 'marker' ? markerOf(json) : null
  },
})

const { predecessor: _, ...withoutPredecessor } = windowFunction
/** The same without counters: no record rests on an earlier one. */
export const plainWindowFunction: WindowFunction<Reading, Sum, number> = withoutPredecessor

export const combineFunction = defineFunction<CombineFunction<Sum>>({
  kind: 'combine',
  name: 'stage2',
  inputs: ['partials'],
  outputs: ['windows'],
  windowMs: PARAMETERS.windowMs,
  decode: (record): PartialRecord<Sum> => {
    const json = parse(record) as MarkerJson | PartialJson
    if (json.kind === 'marker') return markerOf(json)
    const { kind, source, key, startMs, endMs, first, last, partial, ids, delta } = json
    return {
      kind,
      sourcePartition: source,
      windowStartMs: startMs,
      windowEndMs: endMs,
      group: key,
      firstOffset: BigInt(first),
      lastOffset: BigInt(last),
      partial,
      parametersHash: '',
      value: { ids: [...ids], delta },
    }
  },
  result: (key, { endMs }, slots) => ({
    to: 'topic',
    topic: 'windows',
    key: `${endMs}/${key}`,
    value: bytes({
      key,
      endMs,
      partial: slots.some((slot) => slot.partial),
      slots: slots.map(({ sourcePartition: source, firstOffset: first, lastOffset: last, value }) => ({ source, first, last, ...value })),
    }),
  }),
})

/** What somebody else may write among the partials: no JSON, and markers that no stage 1 writes. */
export const GARBAGE_KEY = Buffer.from('garbage')
const marker = {
  kind: 'marker',
  functionName: 'stage1',
  sourcePartition: 7,
  partitionCount: 8,
  closedThroughMs: 100,
  readThrough: 0,
  neededFrom: 0,
  suspectMs: -1,
  parametersHash: '',
}
export const GARBAGE: readonly Buffer[] = [
  Buffer.from('{"kind":'),
  bytes({ ...marker, partitionCount: 2 ** 31 }),
  bytes({ ...marker, sourcePartition: 8 }),
  bytes({ ...marker, closedThroughMs: 1e6 + 1 }),
]

/** What the records of one input partition come to. */
export interface Reference {
  /** By `endMs/key`. */
  readonly slots: ReadonlyMap<string, Slot>
  /** Offsets. */
  readonly late: ReadonlySet<number>
  readonly deadLetters: ReadonlySet<number>
  /** Ends of the windows in which `add` threw: they never come out as complete. */
  readonly torn: ReadonlySet<number>
  readonly closedThroughMs: number
  readonly lastEndMs: number
}

interface Folded {
  first: number
  last: number
  readonly ids: Set<string>
  readonly groups: Map<string, Sum>
}

/** Why so plain: it must be right by reading. */
export function referenceOf(source: number, records: readonly LogRecord[], hasPredecessors = true): Reference {
  const { windowMs, graceMs, outOfOrdernessMs, skewMs, maxGapMs } = PARAMETERS
  const windows = new Map<number, Folded>()
  const newest = new Map<number, Reading>()
  const late = new Set<number>()
  const deadLetters = new Set<number>()
  const torn = new Set<number>()
  let maxMs = -Infinity
  let closedThroughMs = -Infinity
  const advance = (eventMs: number): void => {
    maxMs = Math.max(maxMs, eventMs)
    closedThroughMs = Math.max(closedThroughMs, Math.floor((maxMs - outOfOrdernessMs - graceMs) / windowMs) * windowMs)
  }
  for (const record of records) {
    const offset = Number(record.offset)
    const bound = (record.appendMs as number) + skewMs
    const tick = record.headers.find(([name]) => name === 'sluice.tick')
    if (tick !== undefined) {
      if (Number(tick[1]) <= (record.appendMs as number)) advance(Number(tick[1]))
      continue
    }
    const isReading = record.value?.[0] === 0x7b
    const reading = isReading ? (parse(record) as Reading) : null
    if (reading === null || reading.eventMs > bound || reading.fault === 'identity') {
      deadLetters.add(offset)
      continue
    }
    const { eventMs, device, counter } = reading
    const endMs = Math.floor(eventMs / windowMs) * windowMs + windowMs
    const before = newest.get(device)
    if (endMs <= closedThroughMs) late.add(offset)
    else {
      const window = windows.get(endMs) ?? { first: offset, last: offset, ids: new Set(), groups: new Map() }
      windows.set(endMs, window)
      window.last = offset
      if (reading.fault === 'add') {
        torn.add(endMs)
        deadLetters.add(offset)
      } else if (!window.ids.has(reading.id)) {
        window.ids.add(reading.id)
        const sum = window.groups.get(groupOf(reading)) ?? { ids: [], delta: 0 }
        window.groups.set(groupOf(reading), sum)
        sum.ids.push(reading.id)
        if (hasPredecessors && before !== undefined && before.eventMs < eventMs && eventMs - before.eventMs <= maxGapMs) sum.delta += Math.max(0, counter - before.counter)
      }
    }
    if (before === undefined || eventMs >= before.eventMs) newest.set(device, reading)
    advance(eventMs)
  }
  const slots = new Map<string, Slot>()
  for (const [endMs, { first, last, groups }] of windows) for (const [key, sum] of groups) slots.set(`${endMs}/${key}`, { source, first, last, ...sum })
  return { slots, late, deadLetters, torn, closedThroughMs, lastEndMs: Math.max(0, ...windows.keys()) }
}
