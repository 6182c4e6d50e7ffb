/**
 * How `npm run bench -- runtime` measures, the same for all its groups.
 *
 * Owns: rounds, warm-up share, the window parameters, medians per contestant and what a figure is made of.
 */
import { median, type BenchCase } from '../report.ts'
import type { Measured } from './contestant.ts'

export const ROUNDS = 3
export const PARTITIONS = 4
export const MAP_KEYS = 10_000
export const NODES = 200
export const TASK_CONCURRENCY = 100
/** A contestant is measured from this share of its records on. */
export const WARM_SHARE = 0.4
export const WINDOW_MS = 10_000
export const GRACE_MS = 5000

export const parameters = { windowMs: WINDOW_MS, graceMs: GRACE_MS, outOfOrdernessMs: 0, skewMs: 30_000, maxGapMs: 120_000, idleMs: 3_600_000 }

export type Report = (result: BenchCase) => void

/** What each contestant was measured at, round by round. */
export class Scores {
  readonly #by = new Map<string, Measured[]>()

  add(name: string, measured: Measured | null): void {
    if (measured === null) return
    const list = this.#by.get(name) ?? []
    this.#by.set(name, list)
    list.push(measured)
  }

  median(name: string, of: (measured: Measured) => number): number | null {
    const list = this.#by.get(name)
    return list === undefined ? null : median(list.map(of))
  }

  /** One case: `ours` against all others that ran. */
  report(report: Report, what: string, unit: string, better: BenchCase['better'], ours: string, of: (measured: Measured) => number): void {
    const value = this.median(ours, of)
    if (value === null) return
    const peers: Record<string, number> = {}
    for (const name of this.#by.keys()) if (name !== ours) peers[name] = round(this.median(name, of) ?? NaN)
    report({ case: what, value: round(value), unit, better, peers })
  }
}

export const round = (value: number): number => Number(value.toPrecision(4))
export const perSecond = (each: number) => (m: Measured) => (m.measured * each * 1000) / m.wallMs
export const perCpuSecond = (each: number) => (m: Measured) => (m.measured * each * 1000) / m.cpuMs
export const cpuUs = (m: Measured): number => (m.cpuMs * 1000) / m.measured
export const peakMiB = (m: Measured): number => m.peakKb / 1024

let run = 0
/** A name that no earlier round had. */
export const newPrefix = (): string => `bench-${process.pid}-${run++}.`
export const warmOf = (records: number): number => Math.round(records * WARM_SHARE)
