/**
 * What a benchmark says, and how it is measured (design.md §4.4).
 *
 * Owns: the shape of a case, interleaved medians (peers run turn by turn with ours in one process, so that a noisy machine hits all alike), the
 * human table and the JSON lines.
 */
import { cpus, loadavg } from 'node:os'

export interface BenchCase {
  readonly case: string
  readonly value: number
  readonly unit: string
  readonly better: 'higher' | 'lower'
  readonly peers: Readonly<Record<string, number>>
}

export type Conditions = Readonly<Record<string, string | number>>

export interface Bench {
  /** The one question it answers. */
  readonly question: string
  readonly conditions: Conditions
  /** `only`: the groups asked for by name; none = all. */
  run(report: (result: BenchCase) => void, only: readonly string[]): void | Promise<void>
}

/** The machine, as every benchmark states it. */
export function machine(): Conditions {
  const all = cpus()
  return {
    node: process.version,
    cpu: all[0]?.model.trim() ?? 'unknown',
    cores: all.length,
    platform: `${process.platform}-${process.arch}`,
    loadBefore: (loadavg()[0] as number).toFixed(1),
  }
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? (sorted[middle] as number) : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
}

/** Runs every contestant once per round, in turn; returns the median ms of each. The first `warmUps` rounds do not count. */
export function interleaved<N extends string>(contestants: Readonly<Record<N, () => void>>, rounds: number, warmUps: number): Record<N, number> {
  const names = Object.keys(contestants) as N[]
  const times = new Map<N, number[]>(names.map((name) => [name, []]))
  for (let round = -warmUps; round < rounds; round++)
    for (const name of names) {
      const startNs = process.hrtime.bigint()
      contestants[name]()
      if (round >= 0) times.get(name)?.push(Number(process.hrtime.bigint() - startNs) / 1e6)
    }
  return Object.fromEntries(names.map((name) => [name, median(times.get(name) ?? [])])) as Record<N, number>
}

/** Three digits that mean something: 4.13 M, 72.0 k. */
export function humanNumber(value: number): string {
  const [divide, suffix] = value >= 1e6 ? [1e6, ' M'] : value >= 1e3 ? [1e3, ' k'] : [1, '']
  return `${(value / divide).toPrecision(3)}${suffix}`
}
