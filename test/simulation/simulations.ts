/**
 * Which simulations there are, and what makes a run of each bad.
 *
 * Owns: the names on the command line and the common form of an outcome. `lost` = what never came out, `wrong` = what should not be, an assertion that did
 * not hold included, `doubled` = what is there twice and may not be.
 */
import { simulateOnce } from './once.ts'
import { KINDS } from './pipeline-functions.ts'
import { simulatePipeline } from './pipelines.ts'
import { simulateRouting } from './routing.ts'
import { simulateSite } from './telemetry-site.ts'
import { PROFILES, type Profile } from './window-reference.ts'
import { simulateWindows } from './windows.ts'

export interface Outcome {
  readonly lost: number
  readonly wrong: number
  readonly doubled: number
  /** What did not hold, in words, where the simulation has them. */
  readonly breaches: readonly string[]
  readonly counts: Readonly<Record<string, number>>
}

export type Simulation = (seed: number) => Promise<Outcome>

const numbersOf = (run: object): Record<string, number> =>
  Object.fromEntries(Object.entries(run).filter((e): e is [string, number] => typeof e[1] === 'number' && !['seed', 'lost', 'wrong', 'doubled'].includes(e[0])))

const windowsOf =
  (profile?: Profile): Simulation =>
  async (seed) => {
    const run = await simulateWindows(seed, null, profile)
    const wrong = run.wrong + run.misplaced + run.regressed + run.fatal + run.mixed + run.early + run.unmarked + run.unsaid + run.uncovered
    return { lost: run.unclosed, wrong, doubled: run.differing, breaches: [], counts: numbersOf({ ...run, wrong }) }
  }

export const SIMULATIONS: Readonly<Record<string, Simulation>> = {
  windows: windowsOf(),
  ...Object.fromEntries(
    KINDS.map((kind): [string, Simulation] => [
      kind,
      async (seed) => {
        const run = await simulatePipeline(seed, kind)
        return { lost: run.lost, wrong: run.wrong, doubled: run.doubled, breaches: run.breaches, counts: numbersOf(run) }
      },
    ]),
  ),
  telemetry: async (seed) => {
    const run = await simulateSite(seed)
    return { lost: run.lost, wrong: run.wrong, doubled: run.doubled, breaches: run.breaches, counts: numbersOf(run) }
  },
  once: async (seed) => {
    const run = await simulateOnce(seed)
    return { lost: run.unanswered, wrong: run.wrong, doubled: run.doubled, breaches: [], counts: numbersOf(run) }
  },
  routing: async (seed) => {
    const run = await simulateRouting(seed)
    return { lost: 0, wrong: run.breaches.length, doubled: 0, breaches: run.breaches, counts: numbersOf(run) }
  },
}

/** A simulation by its name; that of the windows also with a profile, e.g. `windows/skip`. */
export function simulationOf(name: string): Simulation | undefined {
  const profile = PROFILES.find((one) => name === `windows/${one}`)
  return profile === undefined ? SIMULATIONS[name] : windowsOf(profile)
}
