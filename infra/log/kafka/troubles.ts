/**
 * What keeps a running member from its log: told when it begins, when it becomes something else, and when it is over; never once a try.
 *
 * Owns: what each source (the group's coordinator, the leader of some partitions, the metadata; or one partition) met last, and since when. A listener
 * that speaks another protocol and a batch that cannot be read are told at once. Everything else a cluster does for a moment whenever a broker goes: it is told when it has lasted `PATIENCE_MS`.
 */
import type { SluiceError, ErrorCode } from '../../../schemas/errors.ts'

export interface Troubles {
  failed(source: string, error: SluiceError): void
  /** It answered, or nothing is wanted of it any more. */
  well(source: string): void
}

export const PATIENCE_MS = 5000
/** Of a batch: no other try reads it. */
export const UNREADABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['SLU_LOG_CODEC', 'SLU_LOG_BATCH_TOO_LARGE', 'SLU_LOG_BATCH_UNREADABLE'])
const AT_ONCE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['SLU_LOG_LISTENER', ...UNREADABLE])

/** `tell` hears null when the last source that failed is well again. `steadyMs` never goes back. */
export function createTroubles(tell: (error: SluiceError | null) => void, steadyMs: () => number): Troubles {
  const failing = new Map<string, { readonly sinceMs: number; error: SluiceError }>()
  /** Codes that were told since all was well: two that alternate are told once each. */
  const told = new Set<ErrorCode>()

  return {
    failed: (source, error) => {
      const known = failing.get(source)
      const entry = known ?? { sinceMs: steadyMs(), error }
      entry.error = error
      if (known === undefined) failing.set(source, entry)
      if (told.has(error.code) || (!AT_ONCE.has(error.code) && steadyMs() - entry.sinceMs < PATIENCE_MS)) return
      told.add(error.code)
      tell(error)
    },
    well: (source) => {
      if (!failing.delete(source) || failing.size > 0 || told.size === 0) return
      told.clear()
      tell(null)
    },
  }
}
