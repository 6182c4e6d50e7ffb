/**
 * The guards of the core, each as a change of the source text that takes it away, and where the simulations notice.
 *
 * Owns: the table. `find` stands in `file` exactly once, else the proof fails loudly. Every invariant that the simulations are to show stands here at
 * least once (the test looks). One table, so over 300 lines.
 */
export interface Mutant {
  readonly name: string
  readonly invariants: readonly string[]
  readonly file: string
  readonly find: string
  readonly replace: string
  /** Tried in turn, seed by seed. */
  readonly simulations: readonly string[]
}

const TASKS = ['task-key', 'task-partition', 'task-unordered'] as const

export const MUTANTS: readonly Mutant[] = [
  {
    name: 'position-committed',
    invariants: ['C1'],
    file: 'streams/low-water-mark.ts',
    find: 'mark: () => offsets[head] ?? position,',
    replace: 'mark: () => position,',
    simulations: [...TASKS, 'requests'],
  },
]
