/**
 * How fast one core carries telemetry: raw dcgm-exporter text → NodeBatch → windows (telemetry.md §5), without a log.
 *
 * Owns: the scrapes (real structure and label lengths, invented values, four different scrapes a node in turn), the contestants, what is counted: a
 * sample is one line with a value, mapped or not. The peer only parses; it maps nothing and encodes nothing, so it does less than ours.
 */
import { readdirSync, readFileSync } from 'node:fs'
import parsePrometheusTextFormat from 'parse-prometheus-text-format'
import { aggregateMetrics, type FoldBatch } from '../functions/aggregate-metrics/aggregate-metrics.ts'
import type { Cell } from '../functions/aggregate-metrics/cell.ts'
import { dcgmFields } from '../functions/normalize-telemetry/dcgm-fields.ts'
import { normalizeTelemetry } from '../functions/normalize-telemetry/normalize-telemetry.ts'
import { nodeHashing } from '../infra/hashing.ts'
import { createCodecs, type SchemaJson } from '../schemas/codec.ts'
import type { LogRecord } from '../schemas/log.ts'
import { createPseudonyms } from '../schemas/pseudonym.ts'
import type { RecordName } from '../schemas/records.ts'
import { interleaved, type Bench, type BenchCase } from './report.ts'

const AVRO = new URL('../schemas/avro/', import.meta.url)
const GPUS = 8
const UNKNOWN_FAMILIES = 4
const NODES = 64
const NODES_MANY = 1000
const SCRAPES = 4
const ROUNDS = 7
const START_MS = 1_700_000_000_000
const SCRAPE_MS = 15_000
const WINDOW_MS = 60_000

const families = [
  ...dcgmFields.filter((f) => f.labelled === undefined).map((f) => f.names[0] as string),
  ...Array.from({ length: UNKNOWN_FAMILIES }, (_, i) => `DCGM_FI_DEV_OTHER_${i}`),
]
const SAMPLES = families.length * GPUS

const codecs = createCodecs(
  new Map(
    readdirSync(AVRO).map((file) => {
      const schema = JSON.parse(readFileSync(new URL(file, AVRO), 'utf8')) as SchemaJson & { readonly name: RecordName }
      return [schema.name, schema] as const
    }),
  ),
)
const context = { site: 'bench', codecs, nowMs: () => START_MS }

/** Deterministic: the same scrape for the same node and turn. */
function scrapeText(node: number, turn: number): string {
  const lines: string[] = []
  for (const [f, family] of families.entries()) {
    lines.push(`# HELP ${family} A help text of the usual length (in its unit).`, `# TYPE ${family} gauge`)
    for (let gpu = 0; gpu < GPUS; gpu++) {
      const hex = ((node * GPUS + gpu) * 2_654_435_761).toString(16).padStart(12, '0').slice(-12)
      const value = f % 3 === 0 ? (1000 + f * 7 + gpu * 3 + turn * 11 + (node % 17)).toFixed(6) : String(400 + f * 13 + gpu + turn * 5 + (node % 23))
      lines.push(
        `${family}{gpu="${gpu}",UUID="GPU-1a2b3c4d-0000-4000-8000-${hex}",pci_bus_id="00000008:0${gpu}:00.0",device="nvidia${gpu}",modelName="NVIDIA GB200",hostname="tray-${node}",DCGM_FI_DRIVER_VERSION="580.82.07",container="server",namespace="tenant-${node % 20}",pod="llm-${node}"} ${value}`,
      )
    }
  }
  return `${lines.join('\n')}\n`
}

function scrapeRecord(node: number, turn: number): LogRecord {
  const timestampMs = START_MS + turn * SCRAPE_MS
  return {
    topic: 'telemetry.dcgm',
    partition: 0,
    offset: 0n,
    timestampMs,
    appendMs: timestampMs,
    key: Buffer.from(`tray-${node}`),
    value: Buffer.from(scrapeText(node, turn)),
    headers: [],
  }
}

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
