import test from 'ava'
import { testCodecs } from '../helpers/codecs.ts'
import type { LogRecord } from '../../schemas/log.ts'
import { createCombineProcessor } from '../../streams/combine.ts'
import type { CombineFunction, PartialRecord } from '../../streams/define-function.ts'
import type { Effects, PartitionProcessor } from '../../streams/processor.ts'

const definition: CombineFunction<string> = {
  kind: 'combine',
  name: 'c',
  inputs: ['partials'],
  outputs: ['windows'],
  windowMs: 10,
  decode: (record) => {
    // bigint offsets stand as numbers in the JSON of this test.
    const p = JSON.parse(record.value?.toString() ?? '', (key, value: unknown) =>
      key === 'firstOffset' || key === 'lastOffset' ? BigInt(value as number) : value,
    ) as PartialRecord<string>
    return p.kind === 'marker' ? { ...p, readThrough: 0n, neededFrom: 0n } : p
  },
  result: (group, window, slots) => ({
    to: 'topic',
    topic: 'windows',
    key: group,
    value: Buffer.from(`${window.endMs}:${slots.map((s) => `${s.sourcePartition}=${s.value}${s.partial ? '?' : ''}`).join()}`),
  }),
}
const processor = (more: Partial<CombineFunction<string>> = {}): PartitionProcessor =>
  createCombineProcessor({ ...definition, ...more }, { topic: 'partials', partition: 0, context: { codecs: testCodecs(), site: 's' } })
const begin = (more?: Partial<CombineFunction<string>>): PartitionProcessor => {
  const p = processor(more)
  p.begin(null, new Map())
  return p
}
let next = 0
const at = (value: object): LogRecord => ({
  topic: 'partials',
  partition: 0,
  offset: BigInt(next++),
  timestampMs: 0,
  appendMs: 0,
  key: null,
  value: Buffer.from(JSON.stringify(value)),
  headers: [],
})
const partial = (source: number, end: number, value: string, more: { first?: number; last?: number; partial?: boolean; group?: string } = {}): LogRecord =>
  at({
    kind: 'partial',
    sourcePartition: source,
    windowStartMs: end - 10,
    windowEndMs: end,
    group: more.group ?? 'g',
    firstOffset: more.first ?? 0,
    lastOffset: more.last ?? 9,
    partial: more.partial ?? false,
    parametersHash: 'h',
    value,
  })
const marker = (source: number, closedThroughMs: number, partitionCount = 2, suspectMs = -1): LogRecord =>
  at({ kind: 'marker', functionName: 'w', sourcePartition: source, partitionCount, closedThroughMs, readThrough: 0, neededFrom: 0, suspectMs, parametersHash: 'h' })
const run = (p: PartitionProcessor, ...records: LogRecord[]): Effects => p.process(records, (records.at(-1)?.offset ?? -1n) + 1n)
const results = (e: Effects): string[] => e.batches.flatMap((b) => b.records.map((r) => String(r.value)))

test.beforeEach(() => {
  next = 0
})

test.serial('combine: a window closes when every source partition has marked it, not before (W7)', (t) => {
  const p = begin()
  t.deepEqual(results(run(p, partial(0, 10, 'a'), partial(1, 10, 'b'), marker(0, 10))), [])
  t.deepEqual(results(run(p, marker(1, 10))), ['10:0=a,1=b'])
})

test.serial('combine: marks and count only rise: an older marker or a smaller count opens nothing again (W7)', (t) => {
  const p = begin()
  t.deepEqual(results(run(p, partial(0, 10, 'a'), marker(0, 20), marker(0, 10), marker(1, 10), marker(1, 0, 1))), ['10:0=a'])
  t.deepEqual(results(run(p, partial(1, 20, 'c'), marker(1, 20))), ['20:1=c'])
})

test.serial('combine: a slot is replaced only by a range that covers it; a partial one never replaces (W7)', (t) => {
  const p = begin()
  const records = [
    partial(0, 10, 'wide', { first: 0, last: 9 }),
    partial(0, 10, 'narrow', { first: 3, last: 9 }),
    partial(0, 10, 'cut', { first: 0, last: 9, partial: true }),
    partial(1, 10, 'x', { first: 5, last: 6 }),
    partial(1, 10, 'y', { first: 4, last: 6 }),
  ]
  t.deepEqual(results(run(p, ...records, marker(0, 10), marker(1, 10))), ['10:0=wide,1=y'])
})

test.serial('combine: a partial for a closed window is a duplicate if its source had marked it, else late (W7)', (t) => {
  const p = begin()
  run(p, partial(0, 10, 'a'), marker(0, 10), marker(1, 10))
  const again = run(p, partial(0, 10, 'a'))
  t.deepEqual([again.late.length, again.skipped], [0, 1])
  const grown = run(p, partial(2, 10, 'new source'))
  t.is(grown.late.length, 1)
})

test.serial('combine: a successor from the checkpoint emits the same windows and calls nothing late (C2, W7)', (t) => {
  const records = [partial(0, 10, 'a'), marker(0, 10, 2), partial(1, 20, 'd'), partial(1, 10, 'b'), marker(1, 10), partial(0, 20, 'c'), marker(0, 20), marker(1, 20)]
  const expected = ['10:0=a,1=b', '20:0=c,1=d']
  for (let cut = 1; cut < records.length; cut++) {
    const first = begin()
    const before = run(first, ...records.slice(0, cut))
    const checkpoint = first.checkpoint()
    const second = processor()
    second.begin(checkpoint, new Map())
    const after = run(second, ...records.slice(Number(checkpoint.nextOffset)))
    t.deepEqual([...new Set([...results(before), ...results(after)])], expected, `cut at ${cut}`)
    t.is(before.late.length + after.late.length, 0, `cut at ${cut}`)
  }
})

test.serial('combine: with lost metadata the state is rebuilt from the partition itself: nothing complete comes out partial, nothing is called late (W6)', (t) => {
  const records = [partial(0, 10, 'a'), marker(0, 10), { ...at({}), value: Buffer.from('garbage') }, partial(1, 10, 'b'), marker(1, 10), partial(0, 10, 'a'), partial(1, 20, 'c')]
  const p = processor()
  p.begin({ nextOffset: 3n, metadata: 'garbage' }, new Map([['partials', records]]))
  const again = run(p, ...records.slice(3))
  t.deepEqual([results(again), again.late.length, again.skipped], [['10:0=a,1=b'], 0, 1])
  t.is(p.checkpoint().nextOffset, 6n)
})

test.serial('combine: a window that a source calls suspect is partial in every group, whether or not that source has a slot there (W6, W7)', (t) => {
  const p = begin()
  run(p, partial(0, 10, 'a'), marker(1, 10, 2, 4))
  t.deepEqual(results(run(p, marker(0, 10))), ['10:0=a?'])
  const next = processor()
  next.begin(p.checkpoint(), new Map())
  t.is(next.checkpoint().metadata, p.checkpoint().metadata)
  t.deepEqual(results(run(p, partial(0, 20, 'b'), marker(0, 20), marker(1, 20))), ['20:0=b'])
})

test.serial('combine: with metadata and the head of the log lost, a window that may miss partials never comes out as complete (W6)', (t) => {
  next = 7
  const records = [partial(1, 10, 'b'), marker(0, 10), marker(1, 10), partial(0, 20, 'c'), partial(1, 20, 'd'), marker(0, 20), marker(1, 20)]
  for (const committed of [null, { nextOffset: 8n, metadata: '' }]) {
    const p = processor()
    p.begin(committed, new Map([['partials', records]]))
    t.deepEqual(results(run(p, ...records)), ['10:1=b?', '20:0=c,1=d'])
  }
})

test.serial('combine: a marker or partial that no stage 1 writes is a dead letter, never a stall or a closed window (D6)', (t) => {
  const p = begin()
  const hostile = [marker(0, 15), marker(0, 10, 2_000_000_000), marker(2, 10, 2), marker(-1, 10, 2), marker(0, -20), partial(0, 15, 'x')]
  const { deadLetters } = run(p, ...hostile)
  t.deepEqual(
    deadLetters.map((d) => d.error.code),
    hostile.map(() => 'SLU_RECORD_UNDECODABLE'),
  )
  t.is(p.openWindows?.(), 0)
  t.deepEqual(results(run(p, partial(0, 10, 'a'), marker(0, 10), marker(1, 10))), ['10:0=a'])
})

test.serial('combine: another window length under the same group is refused at start, never mixed (W3)', (t) => {
  const other = createCombineProcessor({ ...definition, windowMs: 20 }, { topic: 'partials', partition: 0, context: { codecs: testCodecs(), site: 's' } })
  t.throws(() => other.begin(begin().checkpoint(), new Map()), { message: /SLU_WINDOW_PARAMETERS/ })
})

test.serial('combine: a copy that another function parked is skipped, never taken for a marker of its own (D5, W7)', (t) => {
  const p = begin()
  const headers = [['sluice.redrive.for', Buffer.from('other/partials')] as const]
  const effects = run(p, partial(0, 10, 'a'), marker(0, 10), { ...marker(1, 10), headers })
  t.deepEqual([results(effects), effects.skipped], [[], 1])
})

const RESULTS: Readonly<Record<string, CombineFunction<string>['result']>> = {
  throws: () => {
    throw new TypeError('a defect')
  },
  'is a promise': () => Promise.reject(new Error('nobody awaits')) as never,
  'is text': (group) => ({ to: 'topic', topic: 'windows', key: group, value: 'text' as unknown as Buffer }),
  'goes elsewhere': (group) => ({ to: 'topic', topic: 'elsewhere', key: group, value: null }),
}
for (const [what, result] of Object.entries(RESULTS))
  test.serial(`combine: a result that ${what} is a hold that says so; no window is passed over, and none is emitted behind it (D6, W7)`, (t) => {
    const p = begin({ result })
    run(p, partial(0, 10, 'a'), partial(1, 10, 'b'), marker(0, 10))
    const last = marker(1, 10)
    for (const _ of [1, 2]) t.throws(() => run(p, last), { code: 'SLU_WINDOW_FAILED', message: /c: result of g, 0 to 10/ })
  })

test.serial('combine: what lost metadata makes it read again is not encoded again: a result that fails there ends no start (D6, W7)', (t) => {
  let calls = 0
  const p = processor({
    result: (group) => {
      calls++
      return { to: 'topic', topic: 'windows', key: group, value: null }
    },
  })
  p.begin({ nextOffset: 3n, metadata: '' }, new Map([['partials', [partial(0, 10, 'a'), marker(0, 10, 1), marker(0, 20, 1)]]]))
  t.is(calls, 0)
})

test.serial('combine: a partial above the limit is a dead letter, and its window closes without it (D6)', (t) => {
  const p = begin({ recordBytesMax: 300 })
  const effects = run(p, partial(0, 10, 'a'), partial(1, 10, 'x'.repeat(300)), marker(0, 10), marker(1, 10))
  t.deepEqual([effects.deadLetters.map((d) => [d.error.code, d.stage]), results(effects)], [[['SLU_RECORD_TOO_LARGE', 'decode']], ['10:0=a']])
})
