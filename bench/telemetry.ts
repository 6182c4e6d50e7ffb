/**
 * How fast one core carries telemetry: raw dcgm-exporter text → NodeBatch → windows (telemetry.md §5), without a log.
 *
 * Owns: the scrapes (real structure and label lengths, invented values, four different scrapes a node in turn), the contestants, what is counted: a
 * sample is one line with a value, mapped or not. The peer only parses; it maps nothing and encodes nothing, so it does less than ours.
 */
import parsePrometheusTextFormat from 'parse-prometheus-text-format'
import { aggregateMetrics } from '../functions/aggregate-metrics/aggregate-metrics.ts'
import type { FoldBatch } from '../functions/aggregate-metrics/batch-reader.ts'
import type { Cell } from '../functions/aggregate-metrics/cell.ts'
import { normalizeTelemetry } from '../functions/normalize-telemetry/normalize-telemetry.ts'
import { nodeHashing } from '../infra/hashing.ts'
import type { LogRecord } from '../schemas/log.ts'
import { createPseudonyms } from '../schemas/pseudonym.ts'
import { interleaved, type Bench, type BenchCase } from './report.ts'
import { codecs, GPUS, SAMPLES, SCRAPE_MS, scrapeRecord, scrapeText, START_MS } from './scrapes.ts'

const NODES = 64
const NODES_MANY = 1000
const SCRAPES = 4
const ROUNDS = 7
const WINDOW_MS = 60_000

const context = { site: 'bench', codecs, nowMs: () => START_MS }

type Normalize = (record: LogRecord) => Buffer

function normalizer(templateBytesMax?: number): Normalize {
  const definition = normalizeTelemetry({
    site: 'bench',
    pseudonyms: createPseudonyms(nodeHashing, Buffer.from('bench')),
    pools: [{ name: 'blackwell-a', rack: 'rack-1', members: [{ host: 'tray-*' }] }],
    tenants: [{ match: { namespace: 'tenant-*' }, tenant: '$namespace' }],
    sources: [{ topic: 'telemetry.dcgm', format: 'dcgm-exporter' }],
    ...(templateBytesMax === undefined ? {} : { templateBytesMax }),
  })
  return (record) => {
    const [emit] = definition.handle(definition.decode(record, context), record, context)
    if (emit?.to !== 'topic' || emit.value === null) throw new Error('a scrape of the benchmark did not parse')
    return emit.value
  }
}

/** Folds as the runtime does, less the log: predecessors, partials encoded when the window ends. */
function folder(): Folder {
  const parameters = { windowMs: WINDOW_MS, graceMs: 0, outOfOrdernessMs: 0, skewMs: 0, maxGapMs: 1e9, idleMs: 1e9 }
  const definition = aggregateMetrics({ site: 'bench', parameters, contributorFactsMax: 1000 })
  const template: LogRecord = { topic: 'hardware.telemetry', partition: 0, offset: 0n, timestampMs: 0, appendMs: 0, key: null, value: null, headers: [] }
  const predecessors = new Map<string, ReturnType<NonNullable<typeof definition.predecessor>['of']>>()
  let groups = new Map<string, Cell>()
  const startMs = START_MS
  const close = (): void => {
    for (const [key, state] of groups)
      definition.encodePartial(
        {
          functionName: 'aggregate-metrics',
          sourcePartition: 0,
          key,
          startMs,
          endMs: startMs + WINDOW_MS,
          firstOffset: 0n,
          lastOffset: 1n,
          partial: false,
          parametersHash: 'h',
          state,
        },
        context,
      )
    groups = new Map()
  }
  const group = (key: string, create: () => Cell): Cell => {
    let cell = groups.get(key)
    if (cell === undefined) groups.set(key, (cell = create()))
    return cell
  }
  const fold = (bytes: Buffer): void => {
    const value: FoldBatch = definition.decode({ ...template, value: bytes }, context)
    const key = definition.predecessor?.keyOf(value) ?? ''
    definition.add({ startMs, endMs: startMs + WINDOW_MS, group }, value, predecessors.get(key))
    predecessors.set(key, definition.predecessor?.of(value) as never)
  }
  return { fold, close }
}

interface Folder {
  fold(batch: Buffer): void
  close(): void
}

/** One pass over the items, then `after`: the scrapes of one window, then its end. */
const each =
  <T>(items: readonly T[], run: (item: T) => void, after?: () => void): (() => void) =>
  () => {
    for (const item of items) run(item)
    after?.()
  }

function run(report: (result: BenchCase) => void): void {
  const say = (name: string, unit: string, perRound: number, ms: number, peers: Record<string, number> = {}): void => {
    const rate = (m: number): number => Math.round((perRound * 1000) / m)
    report({ case: name, value: rate(ms), unit, better: 'higher', peers: Object.fromEntries(Object.entries(peers).map(([peer, m]) => [peer, rate(m)])) })
  }
  const records = Array.from({ length: SCRAPES }, (_, turn) => Array.from({ length: NODES }, (_, node) => scrapeRecord(node, turn))).flat()
  const few = records.filter((_, i) => i % 8 === 0)
  const scale = records.length / few.length
  const [fast, slow, fold, endToEnd, endFold] = [normalizer(), normalizer(0), folder(), normalizer(), folder()]
  const batches = records.map(fast)
  const ms = interleaved(
    {
      template: each(records, fast),
      correct: each(few, slow),
      peer: each(few, (record) => parsePrometheusTextFormat((record.value as Buffer).toString('utf8'))),
      fold: each(batches, fold.fold, fold.close),
      whole: each(records, (record) => endFold.fold(endToEnd(record)), endFold.close),
    },
    ROUNDS,
    2,
  )
  const samples = records.length * SAMPLES
  const peers = { 'without template': ms.correct * scale, 'parse-prometheus-text-format (parse only)': ms.peer * scale }
  say('dcgm text → NodeBatch', 'samples/s', samples, ms.template, peers)
  say('dcgm text → NodeBatch, records', 'records/s', records.length, ms.template, peers)
  say('NodeBatch → windows', 'samples/s', samples, ms.fold)
  say('dcgm text → windows, one core, no log', 'samples/s', samples, ms.whole)
  say('dcgm text → windows, records', 'records/s', records.length, ms.whole)

  const many = Array.from({ length: NODES_MANY }, (_, node) => scrapeRecord(node, 0))
  const [manyNormalize, manyFold] = [normalizer(), folder()]
  const manyMs = interleaved({ whole: each(many, (record) => manyFold.fold(manyNormalize(record)), manyFold.close) }, 3, 1)
  say(`dcgm text → windows, ${NODES_MANY * GPUS} GPUs`, 'samples/s', NODES_MANY * SAMPLES, manyMs.whole)
}

export const telemetry: Bench = {
  question: 'How many samples a second does one core carry from raw text to windows?',
  conditions: {
    nodes: NODES,
    gpusPerNode: GPUS,
    samplesPerRecord: SAMPLES,
    bytesPerRecord: Buffer.byteLength(scrapeText(0, 0)),
    rounds: ROUNDS,
    windowMs: WINDOW_MS,
    scrapeMs: SCRAPE_MS,
  },
  run,
}
