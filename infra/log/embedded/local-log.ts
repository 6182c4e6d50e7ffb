/**
 * What the consumers, tails and producers of one process share: the store, the groups, the clock.
 *
 * Owns: one `Group` per name. Several drivers over one set of groups act as several processes.
 */
import type { Clock } from '../../../schemas/ports.ts'
import { Group } from './group.ts'
import { topicOf, type FetchLimits, type LogStore } from './store.ts'

/** What consumers and tails stand on. Several drivers over one set of groups act as several processes. */
export interface LocalLog {
  readonly store: LogStore
  readonly clock: Clock
  readonly groups: Map<string, Group>
  group(name: string): Group
  /** Runs soon, after giving others a turn. */
  later(run: () => void): void
  /** Size of the next batch. */
  limits(): FetchLimits
}

export interface LocalParts {
  readonly store: LogStore
  readonly clock: Clock
  readonly later: (run: () => void) => void
  readonly limits: () => FetchLimits
  /** Shared between drivers that stand for processes on one log. */
  readonly groups?: Map<string, Group>
}

export function createLocalLog(parts: LocalParts): LocalLog {
  const groups = parts.groups ?? new Map<string, Group>()
  return {
    ...parts,
    groups,
    group: (name) => {
      const known = groups.get(name)
      if (known !== undefined) return known
      const group = new Group(parts.clock, (topic) => topicOf(parts.store, topic).partitions)
      groups.set(name, group)
      return group
    },
  }
}
