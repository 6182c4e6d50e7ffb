import { createHash } from 'node:crypto'
import test from 'ava'
import { testCodecs } from '../helpers/codecs.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { LogRecord } from '../../schemas/log.ts'
import type { MarkerFacts, WindowFunction, WindowParameters } from '../../streams/define-function.ts'
import type { Effects, PartitionProcessor } from '../../streams/processor.ts'
import { TICK_HEADER } from '../../streams/tick.ts'
import { createWindowProcessor } from '../../streams/window.ts'

interface Reading {
  readonly id: string
  readonly eventMs: number
  readonly counter: number
}
interface Sum {
  ids: string[]
  delta: number
}

const PARAMETERS: WindowParameters = { windowMs: 10, graceMs: 3, outOfOrdernessMs: 4, skewMs: 15, maxGapMs: 20, idleMs: 25 }
const context = { codecs: testCodecs(), site: 's' }

const definition = (parameters: WindowParameters = PARAMETERS): WindowFunction<Reading, Sum, number> => ({
  kind: 'window',
  name: 'w',
  inputs: ['in'],
  outputs: ['partials'],
  partialsTopic: 'partials',
  parameters,
  decode: (record) => {
    const text = record.value?.toString() ?? ''
    if (text === 'broken') throw new SluiceError('SLU_RECORD_UNDECODABLE', 'broken')
    return JSON.parse(text) as Reading
  },
  eventTimeMs: (r) => r.eventMs,
  identity: (r) => r.id,
  add: (window, r, before: number | undefined) => {
    const sum = window.group('all', () => ({ ids: [], delta: 0 }))
    sum.ids.push(r.id)
    if (before !== undefined && r.counter > before) sum.delta += r.counter - before
  },
  predecessor: { keyOf: () => 'one', of: (r) => r.counter },
  encodePartial: (g) => ({
    key: g.key,
    value: Buffer.from(JSON.stringify({ end: g.endMs, first: Number(g.firstOffset), last: Number(g.lastOffset), partial: g.partial, ...g.state })),
  }),
  encodeMarker: (m) => Buffer.from(JSON.stringify({ ...m, readThrough: String(m.readThrough), neededFrom: String(m.neededFrom) })),
  decodeMarker: (record) => {
    const m = JSON.parse(record.value?.toString() ?? '{}') as Omit<MarkerFacts, 'readThrough' | 'neededFrom' | 'closedThroughMs'> & {
      closedThroughMs?: number
      readThrough: string
      neededFrom: string
    }
    return m.closedThroughMs === undefined ? null : { ...m, closedThroughMs: m.closedThroughMs, readThrough: BigInt(m.readThrough), neededFrom: BigInt(m.neededFrom) }
  },
})

const processor = (parameters?: WindowParameters, more: Partial<WindowFunction<Reading, Sum, number>> = {}): PartitionProcessor =>
  createWindowProcessor(
    { ...definition(parameters), ...more },
    {
      topic: 'in',
      partition: 1,
      partitionCount: 2,
      partialsPartitionCount: 3,
      context,
      hash: (text) => createHash('sha256').update(text).digest('hex'),
    },
  )

const record = (offset: number, eventMs: number, more: Partial<Reading> & { appendMs?: number | null } = {}): LogRecord => ({
  topic: 'in',
  partition: 1,
  offset: BigInt(offset),
  timestampMs: 0,
  appendMs: more.appendMs === undefined ? 1000 : more.appendMs,
  key: null,
  value: Buffer.from(JSON.stringify({ id: more.id ?? `r${offset}`, eventMs, counter: more.counter ?? 0 })),
  headers: [],
})
const begin = (p: PartitionProcessor): PartitionProcessor => {
  p.begin(null, new Map())
  return p
}
/** What it is given of the partials topic before it begins. */
const told = (p: PartitionProcessor, rows: readonly LogRecord[]): PartitionProcessor => {
  const take = p.restore?.()
  for (const row of rows) take?.(row)
  return p
}
const run = (p: PartitionProcessor, ...records: LogRecord[]): Effects => p.process(records, (records.at(-1)?.offset ?? -1n) + 1n)
const partials = (e: Effects): { end: number; ids: string[]; delta: number; first: number; last: number; partial: boolean }[] =>
  e.batches.flatMap((b) => b.records.filter((r) => r.partition === undefined && r.topic === 'partials').map((r) => JSON.parse(String(r.value))))
const markers = (e: Effects): { closedThroughMs: number; readThrough: string; suspectMs: number }[] =>
  e.batches.flatMap((b) => b.records.filter((r) => r.partition !== undefined && r.topic === 'partials').map((r) => JSON.parse(String(r.value))))

test('window: it closes when the watermark passes end and grace, not before (W3), and names what was folded in (W4)', (t) => {
  const p = begin(processor())
  t.deepEqual(partials(run(p, record(0, 1), record(1, 8), record(2, 16))), [])
  const closing = run(p, record(3, 17))
  t.deepEqual(partials(closing), [{ end: 10, first: 0, last: 1, partial: false, ids: ['r0', 'r1'], delta: 0 }])
  t.is(closing.windowsClosed, 1)
})

test('window: partials come in a batch before the markers, which go to every partition of the partials topic (W7)', (t) => {
  const closing = run(begin(processor()), record(0, 1), record(1, 17))
  t.is(closing.batches.length, 2)
  t.deepEqual(
    closing.batches[0]?.records.map((r) => r.partition),
    [undefined],
  )
  t.deepEqual(
    closing.batches[1]?.records.map((r) => r.partition),
    [0, 1, 2],
  )
  t.like(markers(closing)[0], { closedThroughMs: 10, readThrough: '2', partitionCount: 2, sourcePartition: 1 })
})

test('window: a record dated later than its append time allows is a dead letter and closes nothing (W1); without append time nothing is guessed', (t) => {
  const p = begin(processor())
  const parked = run(p, record(0, 1), record(1, 1016), record(2, 5, { appendMs: null }))
  t.deepEqual(
    parked.deadLetters.map((d) => d.error.code),
    ['SLU_RECORD_FUTURE', 'SLU_LOG_TOPIC_MISCONFIGURED'],
  )
  t.deepEqual(partials(parked), [])
  t.deepEqual(run(begin(processor()), record(0, 1015)).deadLetters, [], 'as late as it may be dated')
})

test('window: a record of a closed window is late, never folded in (W2); one that cannot be decoded is a dead letter', (t) => {
  const p = begin(processor())
  run(p, record(0, 1), record(1, 17))
  const late = run(p, record(2, 9), { ...record(3, 0), value: Buffer.from('broken') })
  t.deepEqual(
    late.late.map((r) => r.offset),
    [2n],
  )
  t.deepEqual(
    late.deadLetters.map((d) => d.error.code),
    ['SLU_RECORD_UNDECODABLE'],
  )
})

test('window: the same identity is folded once per open window (W10)', (t) => {
  const p = begin(processor())
  const twice = run(p, record(0, 1, { id: 'a' }), record(1, 1, { id: 'a' }), record(2, 17))
  t.deepEqual(partials(twice)[0]?.ids, ['a'])
  t.is(twice.skipped, 1)
})

test('window: with a sequence, identity and sequence together are folded once per open window (W10)', (t) => {
  const p = begin(processor(PARAMETERS, { sequence: (r) => r.counter }))
  const said = run(
    p,
    ...(
      [
        ['a', 1],
        ['a', 2],
        ['b', 1],
        ['a', 1],
        ['b', 1],
      ] as const
    ).map(([id, counter], i) => record(i, 1, { id, counter })),
    record(9, 17),
  )
  t.deepEqual(partials(said)[0]?.ids, ['a', 'a', 'b'])
  t.is(said.skipped, 2)
})

test('window: a successor from the checkpoint computes the same bytes, what was dealt with before is skipped and not late (W2, W5)', (t) => {
  const records = [
    record(0, 1, { counter: 5 }),
    record(1, 8, { counter: 9 }),
    record(2, 12, { counter: 11 }),
    record(3, 3, { counter: 6 }),
    record(4, 17, { counter: 20 }),
    record(5, 2),
    record(6, 26, { counter: 25 }),
    record(7, 40, { counter: 30 }),
  ]
  const whole = begin(processor())
  const expected = partials(run(whole, ...records))
  for (let cut = 1; cut < records.length; cut++) {
    const first = begin(processor())
    const before = run(first, ...records.slice(0, cut))
    const checkpoint = first.checkpoint()
    const second = processor()
    second.begin(checkpoint, new Map())
    const after = run(second, ...records.slice(Number(checkpoint.nextOffset)))
    const seen = new Map([...partials(before), ...partials(after)].map((x) => [x.end, x]))
    t.deepEqual([...seen.values()], expected, `cut at ${cut}`)
    t.deepEqual(
      [...before.late, ...after.late].map((r) => r.offset),
      [5n],
      `cut at ${cut}`,
    )
  }
})

test('window: the predecessor is the newest by event time; an older record gets none and does not replace it (W5)', (t) => {
  const p = begin(processor())
  // 10 → 14 gives 4; the older 12 gives nothing; 16 counts from 14, not from 12.
  const closing = run(p, record(0, 1, { counter: 10 }), record(1, 5, { counter: 14 }), record(2, 3, { counter: 12 }), record(3, 7, { counter: 16 }), record(4, 17))
  t.is(partials(closing)[0]?.delta, 6)
  t.is(partials(run(begin(processor()), record(0, 5, { counter: 10 }), record(1, 5, { counter: 14 }), record(2, 17)))[0]?.delta, 0, 'of the same time is no predecessor')
})

test('window: a predecessor older than maxGapMs is never used (W5)', (t) => {
  const p = begin(processor({ ...PARAMETERS, maxGapMs: 3 }))
  t.is(partials(run(p, record(0, 1, { counter: 1 }), record(1, 8, { counter: 9 }), record(2, 17)))[0]?.delta, 0)
  const asOld = begin(processor({ ...PARAMETERS, maxGapMs: 3 }))
  t.is(partials(run(asOld, record(0, 1, { counter: 1 }), record(1, 4, { counter: 9 }), record(2, 17)))[0]?.delta, 8, 'as old as it may be')
})

test('window: other parameters under the same group are refused at start, each of those that change what is emitted (W3)', (t) => {
  const p = begin(processor())
  run(p, record(0, 1))
  const successor = (name: string) => processor({ ...PARAMETERS, [name]: PARAMETERS[name as keyof typeof PARAMETERS] + 1 }).begin(p.checkpoint(), new Map())
  const { idleMs, ...emitted } = PARAMETERS
  t.true(idleMs > 0)
  for (const name of Object.keys(emitted)) t.throws(() => successor(name), { message: /SLU_WINDOW_PARAMETERS/ }, name)
  t.notThrows(() => successor('idleMs'), 'when a tick is written is in the log itself (W8)')
})

test('window: lost metadata is taken from the partition’s own last marker; without one the windows at the start are partial (W6)', (t) => {
  const p = begin(processor())
  const closing = run(p, record(0, 1), record(1, 17))
  const rows = closing.batches
    .flatMap((b) => b.records)
    .filter((r) => r.partition === 0)
    .map((r, i): LogRecord => ({ ...record(i, 0), topic: 'partials', value: r.value }))
  const found = processor()
  told(found, rows).begin({ nextOffset: 0n, metadata: '' }, new Map())
  const replay = run(found, record(0, 1), record(1, 17))
  t.deepEqual([partials(replay), replay.late.length, replay.skipped], [[], 0, 1])
  const lost = processor()
  lost.begin({ nextOffset: 1n, metadata: '' }, new Map())
  t.true(partials(run(lost, record(1, 8), record(2, 17)))[0]?.partial)
})

test('window: an unreadable row among the partials never keeps a partition from opening (W6, D6)', (t) => {
  const p = processor()
  t.notThrows(() => told(p, [{ ...record(0, 0), value: Buffer.from('garbage') }]).begin({ nextOffset: 0n, metadata: '' }, new Map()))
})

test('window: a partition whose first record is refused misses nothing: its windows are never partial (W6)', (t) => {
  for (const first of [{ ...record(0, 0), value: Buffer.from('broken') }, record(0, 1016)]) {
    const closing = run(begin(processor()), first, record(1, 8), record(2, 17))
    t.deepEqual(
      partials(closing).map((x) => x.partial),
      [false],
    )
  }
})

test('window: after a start in the middle a straggler does not make a window look complete that may miss records (W6)', (t) => {
  const p = processor()
  p.begin({ nextOffset: 5n, metadata: '' }, new Map())
  const appended = { appendMs: 30 }
  const closing = run(p, record(5, 2, appended), record(6, 31, appended), record(7, 68, { appendMs: 66 }), record(8, 77, { appendMs: 77 }))
  t.deepEqual(
    partials(closing).map((x) => [x.end, x.partial]),
    [
      [10, true],
      [40, true],
      [70, false],
    ],
  )
})

test('window: what a jump forward made suspect stays so for the next owner, and the markers say it (W6, W7)', (t) => {
  const p = processor()
  p.begin({ nextOffset: 5n, metadata: '' }, new Map())
  run(p, record(5, 21, { appendMs: 20 }))
  const next = processor()
  const { effects } = next.begin(p.checkpoint(), new Map())
  t.is(markers(effects)[0]?.suspectMs, 35)
  const closing = run(next, record(5, 21, { appendMs: 20 }), record(6, 52, { appendMs: 50 }))
  t.deepEqual(
    partials(closing).map((x) => [x.end, x.partial]),
    [[30, true]],
  )
})

test('window: after a jump forward a window that may miss a counter’s predecessor is partial, a later one is not (W5, W6)', (t) => {
  const p = processor()
  p.begin({ nextOffset: 5n, metadata: '' }, new Map())
  // Suspect through 35; a predecessor is used for 20.
  const closing = run(p, record(5, 20, { appendMs: 20 }), record(6, 42, { appendMs: 42 }), record(7, 52, { appendMs: 52 }), record(8, 77, { appendMs: 77 }))
  t.deepEqual(
    partials(closing).map((x) => [x.end, x.partial]),
    [
      [30, true],
      [50, true],
      [60, false],
    ],
  )
})

test('window: an offset moved by hand below what was read begins where the open windows need it; nothing comes out cut (W5, W6)', (t) => {
  const p = begin(processor())
  const log = [record(0, 1), record(1, 12), record(2, 17), record(3, 18), record(4, 19)]
  const closing = run(p, ...log)
  const rows = closing.batches
    .flatMap((b) => b.records)
    .filter((r) => r.partition === 0)
    .map((r, i): LogRecord => ({ ...record(i, 0), topic: 'partials', value: r.value }))
  t.like(markers(closing)[0], { closedThroughMs: 10, readThrough: '5', neededFrom: '0' })
  const moved = processor()
  t.is(told(moved, rows).begin({ nextOffset: 3n, metadata: '' }, new Map()).nextOffset, 0n)
  const again = run(moved, ...log, record(5, 27))
  t.deepEqual(
    partials(again).map((x) => [x.end, x.ids, x.partial]),
    [[20, ['r1', 'r2', 'r3', 'r4'], false]],
  )
  const expired = processor()
  t.is(told(expired, rows).begin({ nextOffset: 3n, metadata: '' }, new Map(), 2n).nextOffset, 3n, 'the log holds it no more')
  t.true(partials(run(expired, ...log.slice(3), record(5, 27)))[0]?.partial)
})

test('window: a new owner first says what it restored, never that less had been read (W7)', (t) => {
  const p = begin(processor())
  run(p, record(0, 1), record(1, 17))
  const checkpoint = p.checkpoint()
  t.is(checkpoint.nextOffset, 0n)
  const { effects } = processor().begin(checkpoint, new Map())
  t.is(markers(effects).length, 3)
  t.like(markers(effects)[0], { closedThroughMs: 10, readThrough: '2' })
})

test('window: an idle partition is ticked once, the tick closes its windows for every reader and is nothing else (W8)', (t) => {
  const p = begin(processor())
  run(p, record(0, 980), record(1, 981))
  const idle = (nowMs: number, atEnd: boolean): Effects => p.onTimer?.(nowMs, atEnd) as Effects
  t.is(idle(1000, true).tick, undefined)
  t.is(idle(1030, false).tick, undefined, 'not at the end: not idle')
  const ticked = idle(1030, true).tick
  t.deepEqual([ticked?.topic, ticked?.partition, ticked?.headers?.[0]?.[0], String(ticked?.headers?.[0]?.[1])], ['in', 1, TICK_HEADER, '1005'])
  t.is(idle(1031, true).tick, undefined, 'a second tick before the first was read')
  const closing = run(p, { ...record(2, 0), value: null, appendMs: 1030, headers: ticked?.headers ?? [] })
  t.deepEqual(
    partials(closing).map((x) => x.end),
    [990],
  )
  t.is(closing.late.length + closing.deadLetters.length, 0)
})

test('window: a clock that was ahead and is set right goes on ticking; what was learnt of it is forgotten (W8)', (t) => {
  const p = begin(processor())
  run(p, record(0, 100, { appendMs: 100 }))
  const tickAt = (nowMs: number): string => String(p.onTimer?.(nowMs, true).tick?.headers?.[0]?.[1])
  const ahead = 100_000
  t.is(tickAt(101 + ahead), 'undefined')
  const first = p.onTimer?.(126 + ahead, true).tick?.headers ?? []
  t.is(run(p, { ...record(1, 0), value: null, appendMs: 127, headers: first }).windowsClosed, 0)
  t.is(tickAt(130), 'undefined', 'set right: idle for 3 ms')
  t.is(tickAt(156), '131')
})

test('window: a clock set right while its tick of a time to come is still unread goes on ticking (W8)', (t) => {
  const p = begin(processor())
  run(p, record(0, 100, { appendMs: 100 }))
  const ahead = 100_000
  p.onTimer?.(101 + ahead, true)
  const first = p.onTimer?.(126 + ahead, true).tick?.headers ?? []
  t.is(first.length, 1)
  t.is(p.onTimer?.(130, true).tick, undefined)
  run(p, { ...record(1, 0), value: null, appendMs: 131, headers: first })
  t.is(String(p.onTimer?.(157, true).tick?.headers?.[0]?.[1]), '132')
})

test('window: an owner whose clock runs ahead never makes the records to come late, and learns it from its first tick (W1, W8)', (t) => {
  const p = begin(processor())
  run(p, record(0, 100, { appendMs: 100 }))
  const tickAt = (nowMs: number): LogRecord['headers'] => p.onTimer?.(nowMs, true).tick?.headers ?? []
  const ahead = 40
  t.deepEqual(tickAt(101 + ahead), [], 'not within the idle time of its start')
  const headers = tickAt(126 + ahead)
  t.is(String(headers[0]?.[1]), '141')
  t.is(run(p, { ...record(1, 0), value: null, appendMs: 127, headers }).batches.length, 0, 'the tick is of a time to come')
  t.is(run(p, record(2, 128, { appendMs: 128 })).late.length, 0)
  t.deepEqual(tickAt(150 + ahead), [], 'idle for 22 ms only')
  const next = tickAt(175 + ahead)
  t.is(String(next[0]?.[1]), '151')
  t.is(run(p, { ...record(3, 0), value: null, appendMs: 176, headers: next }).windowsClosed, 1)
})

test('window: a copy that another function parked is skipped: it is neither folded nor late and moves no watermark (W2, D5)', (t) => {
  const p = begin(processor())
  const copy = (offset: number, eventMs: number): LogRecord => ({ ...record(offset, eventMs), headers: [['sluice.redrive.for', Buffer.from('other/in')]] })
  t.is(run(p, record(0, 5), copy(1, 6), copy(2, 900)).skipped, 2)
  const closing = run(p, record(3, 18))
  t.deepEqual(
    partials(closing).map(({ ids }) => ids),
    [['r0']],
  )
  const late = run(p, copy(4, 5))
  t.deepEqual([late.late.length, late.skipped, p.checkpoint().nextOffset], [0, 1, 0n], 'the predecessor is still needed')
})

/** Throws for one id, like a handler whose record lacks what it reads. */
const failing =
  <B>(real: (reading: Reading) => B): ((reading: Reading) => B) =>
  (reading) => {
    if (reading.id === 'bad') throw new TypeError('Cannot read properties of undefined')
    return real(reading)
  }
const sound = definition()
const FAULTS: Readonly<Record<string, Partial<WindowFunction<Reading, Sum, number>>>> = {
  identity: { identity: failing(sound.identity) },
  'no identity': { identity: (r) => (r.id === 'bad' ? undefined : r.id) as string },
  sequence: { sequence: failing(() => 1) },
  'no sequence': { sequence: (r) => (r.id === 'bad' ? '1' : 1) as number },
  'predecessor.keyOf': { predecessor: { keyOf: failing(() => 'one'), of: (r) => r.counter } },
  'predecessor.of': { predecessor: { keyOf: () => 'one', of: failing((r) => r.counter) } },
}
const later = (): never => Promise.reject(new Error('nobody awaits')) as never
for (const what of ['decode', 'eventTimeMs', 'identity', 'sequence', 'add'] as const)
  test(`window: ${what} that returns a promise makes dead letters, never an unhandled rejection (D6)`, (t) => {
    const { deadLetters } = run(begin(processor(undefined, { [what]: later })), record(0, 5))
    t.regex(deadLetters[0]?.error.message ?? '', new RegExp(`SLU_HANDLER_FAILED.*${what} returned a promise`))
  })

for (const [what, more] of Object.entries(FAULTS))
  test(`window: a record for which ${what} fails is a dead letter and leaves nothing behind, neither group, predecessor nor watermark (D6)`, (t) => {
    const [p, without] = [begin(processor(undefined, more)), begin(processor(undefined, more))]
    const bad = [record(1, 6, { id: 'bad', counter: 7 }), record(3, 400, { id: 'bad', counter: 9 })]
    const { deadLetters, late } = run(p, record(0, 5, { counter: 1 }), bad[0] as LogRecord, record(2, 7, { counter: 4 }), bad[1] as LogRecord)
    t.deepEqual(
      deadLetters.map((d) => [d.record.offset, d.error.code, d.stage]),
      [
        [1n, 'SLU_HANDLER_FAILED', 'window'],
        [3n, 'SLU_HANDLER_FAILED', 'window'],
      ],
    )
    t.is(late.length, 0)
    run(without, record(0, 5, { counter: 1 }), record(2, 7, { counter: 4 }))
    const closing = partials(run(p, record(4, 40)))
    t.deepEqual(closing, partials(run(without, record(4, 40))))
    t.deepEqual(closing, [{ end: 10, first: 0, last: 2, partial: false, ids: ['r0', 'r2'], delta: 3 }])
    t.is(p.checkpoint().nextOffset, 4n)
  })

test('window: what `add` changed before it threw is not taken for whole: a dead letter, and the window is partial; a copy put back is folded (D6, W6, W10)', (t) => {
  let isMended = false
  const add: typeof sound.add = (window, reading, before) => {
    sound.add(window, reading, before)
    if (reading.id === 'bad' && !isMended) throw new TypeError('half way')
  }
  const p = begin(processor(undefined, { add }))
  const { deadLetters, skipped } = run(p, record(0, 5), record(1, 16, { id: 'bad', counter: 9 }), record(2, 11, { counter: 4 }))
  t.deepEqual(
    deadLetters.map((d) => [d.record.offset, d.error.code, d.stage]),
    [[1n, 'SLU_HANDLER_FAILED', 'window']],
  )
  t.is(skipped, 0)
  isMended = true
  t.is(run(p, record(3, 16, { id: 'bad' })).skipped, 0)
  t.deepEqual(
    partials(run(p, record(4, 60))).map(({ end, ids, partial }) => [end, ids, partial]),
    [
      [10, ['r0'], false],
      [20, ['bad', 'r2', 'bad'], true],
    ],
  )
})

const ENCODERS: Readonly<Record<string, Partial<WindowFunction<Reading, Sum, number>>>> = {
  'encodePartial throws': {
    encodePartial: () => {
      throw new TypeError('a defect')
    },
  },
  'encodePartial returns a promise': { encodePartial: later },
  'encodePartial returns nothing': { encodePartial: () => undefined as never },
  'encodePartial returns text': { encodePartial: () => ({ key: 'k', value: 'text' as unknown as Buffer }) },
  'encodeMarker throws': {
    encodeMarker: (m) => {
      if (m.closedThroughMs > 0) throw new SluiceError('SLU_INTERNAL', 'codec')
      return sound.encodeMarker(m, context)
    },
  },
}
for (const [what, more] of Object.entries(ENCODERS))
  test(`window: that ${what} at closing is a hold that says so; no later call goes on from the state half way (D6, W3)`, (t) => {
    const p = begin(processor(undefined, more))
    run(p, record(0, 1))
    const closing = record(1, 17)
    for (const _ of [1, 2]) {
      const error = t.throws(() => run(p, closing), { instanceOf: SluiceError })
      t.deepEqual([error.code, error.disposition], ['SLU_WINDOW_FAILED', 'hold'])
      t.regex(error.detail, /w: encode/)
      t.true(error.cause instanceof Error)
    }
  })

test('window: a marker that cannot be encoded when the partition is taken over holds it with its first record; no process ends (D6, W7)', (t) => {
  const p = processor(undefined, {
    encodeMarker: () => {
      throw new TypeError('a defect')
    },
  })
  t.deepEqual(p.begin(null, new Map()).effects.batches, [])
  t.throws(() => run(p, record(0, 1)), { message: /SLU_WINDOW_FAILED.*encodeMarker/ })
})

test('window: what a decoder writes into its record, a dead letter does not hold (D2)', (t) => {
  const decode = (r: LogRecord): never => {
    r.value?.fill('!')
    throw new TypeError('after writing')
  }
  const { deadLetters } = run(begin(processor(undefined, { decode })), record(0, 5))
  t.deepEqual(deadLetters[0]?.record.value, record(0, 5).value)
})

test('window: a record above the limit is a dead letter before it is decoded (D6)', (t) => {
  const big = record(1, 5, { id: 'x'.repeat(200) })
  const decode: typeof sound.decode = (r, c) => {
    if (r.offset === 1n) t.fail('it was decoded')
    return sound.decode(r, c)
  }
  const effects = run(begin(processor(undefined, { recordBytesMax: 100, decode })), record(0, 5), big, record(2, 6))
  t.deepEqual([effects.handled, effects.deadLetters.map((d) => [d.error.code, d.stage])], [2, [['SLU_RECORD_TOO_LARGE', 'decode']]])
})
