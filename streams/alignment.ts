/**
 * The partitions of one member, handled in the order of their records' times.
 *
 * Owns: which partition may go on. Where several input partitions end in one output partition, a catch-up reads each at its own pace and mixes
 * hours: a reader behind would take the slower one's records for late (W2). Here a partition goes on only while its oldest record is at most
 * `leadMs` ahead of the oldest record that waits anywhere in the member.
 *
 * What never holds the others back: a partition that was read to its end, one that is dead or closed (D3), and one that has been held or had
 * nothing to hand over for `PATIENCE_MS` though its log goes on (a broker away). A clock that is wrong: a partition's time only rises and is never later than when its
 * record was taken, so that a record of tomorrow waits for nothing and one of last year goes first and changes nothing.
 * What it cannot do: order partitions that belong to different members.
 */

import { hasElapsed } from './elapsed.ts'

/** What a partition says of itself. */
export interface AlignedPartition {
  /** Epoch ms of the oldest record taken and not done with; `behind` = none to hand over, more in the log; `end` = none, or not to be waited for. */
  head(): number | 'behind' | 'end'
  /** It may go on now. Must not throw. */
  pump(): void
}

export interface Alignment {
  /** One partition joins; call the function returned when it leaves. */
  join(partition: AlignedPartition): () => void
  /** `headMs` may be handled now. */
  mayRun(headMs: number): boolean
  /** A head changed: whoever may go on now is told. */
  changed(): void
}

/** How long a partition that has more in its log may keep the others waiting without handing anything over. */
export const PATIENCE_MS = 5000

interface Member {
  readonly partition: AlignedPartition
  behindSinceMs: number | null
}

export function createAlignment(leadMs: number, nowMs: () => number): Alignment {
  const members = new Set<Member>()

  /** The oldest head; −∞ while one is waited for. */
  const floor = (): number => {
    let oldestMs = Infinity
    for (const member of members) {
      const head = member.partition.head()
      if (head !== 'behind') member.behindSinceMs = null
      else if (!hasElapsed((member.behindSinceMs ??= nowMs()), PATIENCE_MS, nowMs())) oldestMs = -Infinity
      if (typeof head === 'number') oldestMs = Math.min(oldestMs, head)
    }
    return oldestMs
  }

  return {
    join: (partition) => {
      const member: Member = { partition, behindSinceMs: null }
      members.add(member)
      return () => void members.delete(member)
    },
    mayRun: (headMs) => headMs <= floor() + leadMs,
    changed: () => {
      const limitMs = floor() + leadMs
      for (const { partition } of members) {
        const head = partition.head()
        if (typeof head === 'number' && head <= limitMs) partition.pump()
      }
    },
  }
}
