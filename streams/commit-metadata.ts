/**
 * What stands in commit metadata beside an offset (C2), for both stages of windows.
 *
 * Owns: the two text forms and their reading. Stage 1: JSON of `{v, hash, closedThroughMs, maxEventMs, readThrough,
 * suspectMs}`. Stage 2: the marks of all
 * source partitions, packed as window-index varints above the lowest mark, so that 512 sources stay within 3,500 bytes. What cannot be read
 * is lost metadata (W6), never an error: another tool may have written the offset.
 */
import { COMMIT_METADATA_BYTES_MAX } from '../schemas/log.ts'
import { SluiceError } from '../schemas/errors.ts'

export interface WindowMetadata {
  /** Parameters under which the state below was made (W3). */
  readonly hash: string
  /** End of the last closed window, epoch ms; null = none yet. */
  readonly closedThroughMs: number | null
  readonly maxEventMs: number | null
  /** How far the partition had been read (W2). */
  readonly readThrough: bigint
  /** Windows that start at or before this may miss records (W6); null = none. */
  readonly suspectMs: number | null
}

export interface CombineMetadata {
  readonly closedThroughMs: number | null
  readonly partitionCount: number
  /** As at stage 1, of any source. */
  readonly suspectMs: number | null
  /** Epoch ms by source partition; a partition that has not marked anything is absent. */
  readonly marks: ReadonlyMap<number, number>
}

const VERSION = 1

const isTime = (value: unknown): value is number | null => value === null || Number.isSafeInteger(value)

function parse(text: string): Record<string, unknown> | null {
  if (!text.startsWith('{')) return null
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && (value as { v?: unknown }).v === VERSION ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}

export function encodeWindowMetadata(m: WindowMetadata): string {
  return JSON.stringify({ v: VERSION, hash: m.hash, closedThroughMs: m.closedThroughMs, maxEventMs: m.maxEventMs, readThrough: String(m.readThrough), suspectMs: m.suspectMs })
}

/** Null = lost (W6). */
export function decodeWindowMetadata(text: string): WindowMetadata | null {
  const m = parse(text)
  if (m === null || typeof m['hash'] !== 'string' || !isTime(m['closedThroughMs']) || !isTime(m['maxEventMs'])) return null
  if (typeof m['readThrough'] !== 'string' || !/^\d{1,19}$/.test(m['readThrough']) || !isTime(m['suspectMs'])) return null
  return { hash: m['hash'], closedThroughMs: m['closedThroughMs'], maxEventMs: m['maxEventMs'], readThrough: BigInt(m['readThrough']), suspectMs: m['suspectMs'] }
}

function pushVarint(bytes: number[], value: number): void {
  let rest = value
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) + 0x80)
    rest = Math.floor(rest / 0x80)
  }
  bytes.push(rest)
}

/** Throws SLU_LOG_METADATA_TOO_LARGE. Marks must lie on the window grid. */
export function encodeCombineMetadata(m: CombineMetadata, windowMs: number): string {
  const base = m.marks.size === 0 ? 0 : Math.min(...m.marks.values())
  const bytes: number[] = []
  for (let source = 0; source < m.partitionCount; source++) {
    const mark = m.marks.get(source)
    pushVarint(bytes, mark === undefined ? 0 : (mark - base) / windowMs + 1)
  }
  const text = JSON.stringify({
    v: VERSION,
    windowMs,
    closedThroughMs: m.closedThroughMs,
    suspectMs: m.suspectMs,
    base,
    partitionCount: m.partitionCount,
    marks: Buffer.from(bytes).toString('base64'),
  })
  if (Buffer.byteLength(text) > COMMIT_METADATA_BYTES_MAX) throw new SluiceError('SLU_LOG_METADATA_TOO_LARGE', `marks of ${m.partitionCount} source partitions`)
  return text
}

/** Window length under which stage 2's metadata was written (W3); null = no metadata of stage 2. */
export function combineWindowMs(text: string): number | null {
  const windowMs = parse(text)?.['windowMs']
  return typeof windowMs === 'number' ? windowMs : null
}

/** Null = lost, or written with another window length (then nothing of it can be used). */
export function decodeCombineMetadata(text: string, windowMs: number): CombineMetadata | null {
  const m = parse(text)
  if (m === null || m['windowMs'] !== windowMs || !isTime(m['closedThroughMs']) || !isTime(m['suspectMs']) || !Number.isSafeInteger(m['base']) || typeof m['marks'] !== 'string')
    return null
  const partitionCount = m['partitionCount']
  if (typeof partitionCount !== 'number' || !Number.isSafeInteger(partitionCount) || partitionCount < 0 || partitionCount > 100_000) return null
  const bytes = Buffer.from(m['marks'], 'base64')
  const marks = new Map<number, number>()
  let at = 0
  for (let source = 0; source < partitionCount; source++) {
    let value = 0
    for (let scale = 1; ; scale *= 0x80) {
      const byte = bytes[at++]
      if (byte === undefined) return null
      value += (byte & 0x7f) * scale
      if (byte < 0x80) break
    }
    if (value > 0) marks.set(source, (m['base'] as number) + (value - 1) * windowMs)
  }
  return at === bytes.length ? { closedThroughMs: m['closedThroughMs'], suspectMs: m['suspectMs'], partitionCount, marks } : null
}
