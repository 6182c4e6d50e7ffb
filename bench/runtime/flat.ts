/**
 * Whether a record costs the same with many partitions and many keys.
 *
 * Owns: ours alone at several settings, all of them in turn each round, each compared with the first of its kind.
 */
import { batchRecords, countOfSummary, MAP_BYTES, mapRecords, SAMPLES_PER_RECORD, taskRecords } from './data.ts'
import type { Measured } from './contestant.ts'
import { cpuUs, MAP_KEYS, newPrefix, NODES, parameters, PARTITIONS, peakMiB, round, ROUNDS, Scores, TASK_CONCURRENCY, warmOf, type Report } from './measure.ts'
import { mustEqual, windowTopics, type Stage } from './stage.ts'

export const FLAT_RECORDS = 100_000
const FLAT_BATCHES = 240_000
const MINUTE_MS = 60_000
/** Of 200 nodes a second. */
const PER_MINUTE = 12_000

/** Ours at one setting, in the rounds of all settings of its kind. */
interface Setting {
  readonly name: string
  run(stage: Stage, prefix: string): Promise<Measured>
}

const mapAt = (name: string, partitions: number, keys: number): Setting => ({
  name,
  run: async (stage, prefix) => {
    await stage.topics([`${prefix}in`, `${prefix}in.dlq`, `${prefix}out`], partitions)
    await stage.fill(mapRecords(`${prefix}in`, FLAT_RECORDS, keys))
    const measured = await stage.ours({ form: 'map', prefix, group: prefix, records: FLAT_RECORDS, warm: warmOf(FLAT_RECORDS) })
    mustEqual(`map at ${name}, records out`, await stage.count(`${prefix}out`), FLAT_RECORDS)
    return measured
  },
})

const taskAt = (name: string, partitions: number, keys: number): Setting => ({
  name,
  run: async (stage, prefix) => {
    await stage.topics([`${prefix}in`, `${prefix}in.dlq`], partitions)
    await stage.fill(taskRecords(`${prefix}in`, FLAT_RECORDS, keys, partitions))
    const common = { records: FLAT_RECORDS, warm: warmOf(FLAT_RECORDS), concurrency: TASK_CONCURRENCY, effectMs: 0 }
    const measured = await stage.ours({ form: 'task', prefix, group: prefix, ...common })
    mustEqual(`task at ${name}, records handled`, measured.records - measured.dropped, FLAT_RECORDS)
    return measured
  },
})

/**
 * As many records a minute, whatever the number of nodes. A window costs something once, for each of its cells and in every partition: in windows of ten
 * minutes what a record costs stands almost alone, in those of one minute the partitions' partials show.
 */
const windowsAt = (name: string, partitions: number, nodes: number, minutes: number): Setting => ({
  name,
  run: async (stage, prefix) => {
    await windowTopics(stage, prefix, partitions)
    const set = { form: 'avro', nodes, records: FLAT_BATCHES, partitions, scrapeMs: Math.max(1, Math.round((MINUTE_MS * nodes) / PER_MINUTE)) } as const
    await stage.fill(batchRecords(`${prefix}hardware.telemetry`, set))
    const records = FLAT_BATCHES + partitions
    const flat = { ...parameters, windowMs: minutes * MINUTE_MS, maxGapMs: 10 * minutes * MINUTE_MS }
    const measured = await stage.ours({ form: 'windows-avro', prefix, group: prefix, parameters: flat, records, warm: warmOf(records) })
    mustEqual(`windows at ${name}, samples in windows`, await stage.sum(`${prefix}metrics.windows`, countOfSummary), FLAT_BATCHES * SAMPLES_PER_RECORD)
    return measured
  },
})

/** The first setting is what the others are compared with. */
const FLAT: Readonly<Record<'partitions' | 'keys', Readonly<Record<string, readonly Setting[]>>>> = {
  partitions: {
    [`map ${MAP_BYTES} B`]: [1, 4, 16, 64].map((n) => mapAt(`${n} ${n === 1 ? 'partition' : 'partitions'}`, n, MAP_KEYS)),
    'windows of ten minutes': [1, 4, 16, 64].map((n) => windowsAt(`${n} ${n === 1 ? 'partition' : 'partitions'}`, n, NODES, 10)),
    'windows of a minute': [1, 4, 16, 64].map((n) => windowsAt(`${n} ${n === 1 ? 'partition' : 'partitions'}`, n, NODES, 1)),
  },
  keys: {
    [`map ${MAP_BYTES} B`]: [10, 1000, 100_000].map((n) => mapAt(`${n} keys`, PARTITIONS, n)),
    'task without effect, key order': [10, 1000, 100_000].map((n) => taskAt(`${n} keys`, PARTITIONS, n)),
    'windows of a minute': [10, 100, 1000].map((n) => windowsAt(`${n} nodes`, PARTITIONS, n, 1)),
  },
}

export async function flatCase(stage: Stage, which: keyof typeof FLAT, report: Report): Promise<void> {
  for (const [kind, settings] of Object.entries(FLAT[which])) {
    const scores = new Scores()
    for (let turn = 0; turn < ROUNDS; turn++)
      for (const setting of settings) {
        const prefix = newPrefix()
        scores.add(setting.name, await setting.run(stage, prefix))
        await stage.remove(prefix)
      }
    const [base] = settings as readonly [Setting, ...Setting[]]
    for (const { name } of settings)
      for (const [what, unit, of] of [
        ['CPU', 'µs/record', cpuUs],
        ['peak memory', 'MiB', peakMiB],
      ] as const)
        report({
          case: `${kind} at ${name}, ${what}`,
          value: round(scores.median(name, of) ?? NaN),
          unit,
          better: 'lower',
          peers: { [`at ${base.name}`]: round(scores.median(base.name, of) ?? NaN) },
        })
  }
}
