/**
 * WindowPartials read, checked, and ready to merge.
 *
 * Owns: the check that the numbers of a partial do not contradict each other before they size anything (D6), and members decoded once: a source says
 * the same ones window after window, so equal bytes give the object of before.
 */
import type { Codecs } from '../../schemas/codec.ts'
import { SluiceError } from '../../schemas/errors.ts'
import type { CellMembers, WindowPartial } from '../../schemas/records.ts'
import { cellKey } from '../aggregate-metrics/cell-key.ts'
import { readColumns } from '../aggregate-metrics/contributor-columns.ts'
import { BUCKETS_MAX, SCALE_MAX } from '../aggregate-metrics/exponential-histogram.ts'
import type { CellPartial } from './merge-partials.ts'

/** The coarsest scale at which doubles still need more than one bucket a side. */
const SCALE_MIN = -11

function assertConsistent({ histogram: h, count }: WindowPartial): void {
  const refuse = (why: string): never => {
    throw new SluiceError('SLU_RECORD_UNDECODABLE', `WindowPartial: ${why}`)
  }
  if (!(count > 0)) refuse('it counts nothing')
  if (h.scale > SCALE_MAX || h.scale < SCALE_MIN) refuse('a scale that no histogram has')
  if (h.counts.length > BUCKETS_MAX || h.negativeCounts.length > BUCKETS_MAX) refuse('more buckets than a histogram has')
  if (h.zeroCount < 0 || h.counts.some((n) => n < 0) || h.negativeCounts.some((n) => n < 0)) refuse('a negative count')
}

/** Throws SLU_RECORD_UNDECODABLE, SLU_RECORD_SCHEMA_UNKNOWN. `keptMax` bounds the members kept; those dropped are decoded again. */
export function createPartialReader(keptMax = 100_000): (bytes: Buffer, codecs: Codecs) => CellPartial {
  const kept = new Map<string, { readonly bytes: Buffer; readonly members: CellMembers }>()
  return (bytes, codecs) => {
    const partial = codecs.decode('WindowPartial', bytes)
    assertConsistent(partial)
    const group = cellKey(partial.pool, partial.metric, partial.attributes)
    const source = `${partial.sourcePartition}|${group}`
    let known = kept.get(source)
    if (known === undefined || !known.bytes.equals(partial.members)) {
      known = { bytes: partial.members, members: codecs.decodeBare('CellMembers', partial.members) }
      if (kept.size >= keptMax) kept.clear()
      kept.set(source, known)
    }
    return { group, partial, members: known.members, columns: readColumns(partial, known.members.contributors.length, partial.histogram) }
  }
}
