/**
 * A delivery of the log in slices that are handled one at a time.
 *
 * Owns: how many records, bytes and milliseconds of record time one slice may hold (C6). Order is kept, nothing is left out. Pure.
 */
import type { LogRecord } from '../schemas/log.ts'

/** Records handed to one `process` call: bounds how long the event loop is held. */
export const CHUNK_RECORDS_MAX = 256
const CHUNK_BYTES_MAX = 4 * 1024 * 1024

export interface Chunk {
  readonly records: readonly LogRecord[]
  readonly readTo: bigint
  readonly bytes: number
  /** Epoch ms: the newest record time of the partition up to the first record of this chunk, no later than when it was taken. */
  readonly headMs: number
}

/** What a record counts for in memory. */
export const recordBytes = (record: LogRecord): number => (record.key?.length ?? 0) + (record.value?.length ?? 0) + 64

/** A delivery in slices, none over `spanMs` of record time; the last one carries `readTo`. `sinceMs` = the newest time before it. */
export function slices(records: readonly LogRecord[], readTo: bigint, spanMs: number, sinceMs: number, nowMs: number): Chunk[] {
  const chunks: Chunk[] = []
  let from = 0
  let bytes = 0
  let newestMs = sinceMs
  let headMs = sinceMs
  for (let i = 0; i < records.length; i++) {
    const record = records[i] as LogRecord
    newestMs = Math.max(newestMs, Math.min(record.timestampMs, nowMs))
    if (i === from) headMs = newestMs
    bytes += recordBytes(record)
    const next = records[i + 1]
    const isSpanned = next !== undefined && Math.min(next.timestampMs, nowMs) > headMs + spanMs
    if (next !== undefined && i - from + 1 < CHUNK_RECORDS_MAX && bytes < CHUNK_BYTES_MAX && !isSpanned) continue
    chunks.push({ records: records.slice(from, i + 1), readTo: next === undefined ? readTo : record.offset + 1n, bytes, headMs })
    from = i + 1
    bytes = 0
  }
  return chunks.length === 0 ? [{ records: [], readTo, bytes: 0, headMs: sinceMs }] : chunks
}
