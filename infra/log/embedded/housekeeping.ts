/**
 * What makes room in the embedded log: retention of `delete` topics, compaction of `compact` topics.
 *
 * Owns: one pass of bounded size over every partition, and its timer. Invariants: C6 (a pass touches at most `ROWS_PER_PASS` rows of a
 * partition, so that it never holds the loop for long), C7 (`startOffset` moves with retention alone; compaction leaves gaps, no
 * truncation). The newest record of a key always stays.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { Clock } from '../../../schemas/ports.ts'
import { OFFSETS_PER_PARTITION } from './database.ts'
import type { PartitionState, SqliteStore } from './sqlite-store.ts'

const ROWS_PER_PASS = 2000
/** A deletion (null value) stays visible this long for readers that are behind, as Kafka's delete.retention.ms. */
const TOMBSTONE_KEEP_MS = 24 * 3_600_000

export class Housekeeping {
  private readonly store: SqliteStore
  private readonly clock: Clock
  private readonly everyMs: number
  private readonly onError: (error: unknown) => void
  /** How far each compacted partition was looked at since the log was opened. */
  private readonly compactedTo = new Map<number, number>()
  private cancel: () => void = () => {}

  constructor(store: SqliteStore, clock: Clock, everyMs: number, onError: (error: unknown) => void) {
    this.store = store
    this.clock = clock
    this.everyMs = everyMs
    this.onError = onError
  }

  start(): void {
    this.schedule(this.everyMs)
  }

  stop(): void {
    this.cancel()
  }

  /** Looks at every partition once; true when one of them has more to do. */
  pass(): boolean {
    const nowMs = this.clock.nowMs()
    let hasMore = false
    for (const { spec, state } of this.store.states()) {
      if (state.endOffset === state.startOffset) continue
      if (spec.cleanup === 'compact') hasMore = this.compact(state, nowMs) || hasMore
      else if (spec.retentionMs >= 0) hasMore = this.expire(state, nowMs - spec.retentionMs) || hasMore
    }
    return hasMore
  }

  /** Soon again while there is more to do, so that a backlog goes in bounded steps. */
  private schedule(delayMs: number): void {
    this.cancel = this.clock.setTimer(delayMs, () => {
      let hasMore = false
      try {
        hasMore = this.pass()
      } catch (error) {
        this.onError(error)
      }
      this.schedule(hasMore ? Math.min(100, this.everyMs) : this.everyMs)
    })
  }

  /** Drops the oldest records up to the first that is young enough. */
  private expire(state: PartitionState, beforeMs: number): boolean {
    const base = state.id * OFFSETS_PER_PARTITION
    let nextOffset = state.startOffset
    this.store.inTransaction((db) => {
      const oldest = db.prepare('SELECT id, timestamp_ms FROM records WHERE id >= ? AND id < ? ORDER BY id LIMIT ?')
      for (const row of oldest.iterate(base + state.startOffset, base + state.endOffset, ROWS_PER_PASS)) {
        if ((row['timestamp_ms'] as number) >= beforeMs) break
        nextOffset = (row['id'] as number) - base + 1
      }
      if (nextOffset === state.startOffset) return
      db.prepare('DELETE FROM records WHERE id >= ? AND id < ?').run(base + state.startOffset, base + nextOffset)
      db.prepare('UPDATE partitions SET start_offset = ? WHERE id = ?').run(nextOffset, state.id)
    })
    const dropped = nextOffset - state.startOffset
    state.startOffset = nextOffset
    return dropped >= ROWS_PER_PASS
  }

  /** For each record not looked at yet, deletes older ones of its key; then deletions that everybody had time to see. */
  private compact(state: PartitionState, nowMs: number): boolean {
    const base = state.id * OFFSETS_PER_PARTITION
    const from = this.compactedTo.get(state.id) ?? state.startOffset
    const to = Math.min(state.endOffset, from + ROWS_PER_PASS)
    this.store.inTransaction((db) => {
      if (to > from) deleteOlder(db, base, from, to)
      const tombstones = 'SELECT id FROM records WHERE is_compact = 1 AND value IS NULL AND timestamp_ms < ? AND id >= ? AND id < ? LIMIT ?'
      db.prepare(`DELETE FROM records WHERE id IN (${tombstones})`).run(nowMs - TOMBSTONE_KEEP_MS, base, base + to, ROWS_PER_PASS)
    })
    this.compactedTo.set(state.id, to)
    return to < state.endOffset
  }
}

function deleteOlder(db: DatabaseSync, base: number, from: number, to: number): void {
  const rows = db.prepare('SELECT id, key FROM records WHERE id >= ? AND id < ? AND key IS NOT NULL ORDER BY id').all(base + from, base + to)
  const older = db.prepare('DELETE FROM records WHERE is_compact = 1 AND key = ? AND id >= ? AND id < ?')
  for (const row of rows) older.run(row['key'] as Uint8Array, base, row['id'] as number)
}
