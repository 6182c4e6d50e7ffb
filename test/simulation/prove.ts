/**
 * The proof that a guard is needed and looked at: without it some seed of its simulations comes out bad.
 *
 * Owns: the search for the first such seed, and what it said. A run that throws or hangs counts as noticed: nobody would take it for good.
 */
import { crew } from './crew.ts'
import type { Mutant } from './mutants.ts'

export interface Proof {
  readonly name: string
  readonly invariants: readonly string[]
  /** Where it was noticed. */
  readonly simulation: string
  /** The first seed found; null = it survived. */
  readonly seed: number | null
  /** Runs that it took. */
  readonly runs: number
  readonly said: string
}

/** `seedsMax` = of each simulation. */
export async function prove(mutant: Mutant, threads: number, seedsMax: number): Promise<Proof> {
  const { name, invariants, simulations } = mutant
  let asked = 0
  let runs = 0
  let found: { simulation: string; seed: number; said: string } | null = null
  const next = () => {
    if (asked >= seedsMax * simulations.length) return undefined
    const at = asked++
    return { name: simulations[at % simulations.length] as string, seed: Math.floor(at / simulations.length) + 1 }
  }
  await crew(
    next,
    (answered) => {
      runs++
      const { name: simulation, seed } = answered
      if ('thrown' in answered) found ??= { simulation, seed, said: answered.thrown }
      else if (answered.outcome.lost + answered.outcome.wrong + answered.outcome.doubled > 0) {
        const { breaches, lost, wrong, doubled } = answered.outcome
        found ??= { simulation, seed, said: breaches[0] ?? JSON.stringify({ lost, wrong, doubled }) }
      }
      return found === null
    },
    threads,
    mutant,
  )
  const { simulation = '', seed = null, said = '' } = found ?? {}
  return { name, invariants, simulation, seed, runs, said }
}
