/**
 * One thread of a simulation: runs the seeds it is given, one after the other, and says what came of each.
 *
 * With a mutant its source text is changed as it is loaded, before anything of it runs; the tree on disk stays as it is.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { loadMutated } from './load-mutated.ts'
import type { Mutant } from './mutants.ts'
import type { Outcome, Simulation } from './simulations.ts'

export interface Asked {
  readonly name: string
  readonly seed: number
}

export type Answered = Asked & ({ readonly outcome: Outcome } | { readonly thrown: string; readonly isDead: boolean })

const { mutant } = workerData as { mutant: Mutant | null }
if (mutant !== null) loadMutated(mutant)
const { simulationOf } = await import('./simulations.ts')

async function answer({ name, seed }: Asked): Promise<Answered> {
  try {
    return { name, seed, outcome: await (simulationOf(name) as Simulation)(seed) }
  } catch (thrown) {
    return { name, seed, thrown: thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown), isDead: false }
  }
}

// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
parentPort?.on('message', (asked: Asked) => void answer(asked).then((answered) => parentPort?.postMessage(answered)))
