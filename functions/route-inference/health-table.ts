/**
 * What the router knows of the endpoints' health: `pool.health` as a table (R10).
 *
 * Owns: rows by key `endpoint/partition`, their fold per endpoint (worst verdict, least weight, never the product), expiry, the snapshot
 * vector. The tail that feeds it belongs to the caller. An expired row means `unknown`: its last verdict holds, and `isExpired` says so.
 * A row that cannot be read changes nothing: the last verdict holds, `undecodable` counts it.
 */
import type { Codecs } from '../../schemas/codec.ts'
import type { LogRecord } from '../../schemas/log.ts'
import type { Clock } from '../../schemas/ports.ts'
import type { EndpointHealth, Verdict } from '../../schemas/records.ts'

/** How bad a verdict is; an endpoint on several devices takes the worst. */
const SEVERITY: Readonly<Record<Verdict, number>> = { ROUTE_OK: 0, DEPRIORITISE: 1, DO_NOT_ROUTE: 2, DRAIN: 3, ISOLATE_DOMAIN: 4 }

export interface EndpointStanding {
  readonly verdict: Verdict
  /** 0 to 1. */
  readonly weight: number
  readonly reasons: readonly string[]
  /** The last verdict holds, but nobody confirmed it in time (R10). */
  readonly isExpired: boolean
}

export interface HealthTable {
  /** One record of `pool.health`, in order of each partition. */
  apply(record: LogRecord): void
  /** The tail has reached the end it saw at start. */
  caughtUp(): void
  /** Resolves after `caughtUp` (R10). */
  readonly ready: Promise<void>
  /** Undefined: no row, e.g. an endpoint without devices. */
  get(endpoint: string): EndpointStanding | undefined
  /** Next offset to read by partition; -1 for a partition of which nothing was read. */
  snapshot(): number[]
  onChange(listener: () => void): void
  undecodable(): number
}

function fold(rows: Iterable<EndpointHealth>, nowMs: number): EndpointStanding | undefined {
  let standing: EndpointStanding | undefined
  for (const row of rows) {
    const isExpired = row.expiresMs <= nowMs
    if (standing === undefined) {
      standing = { verdict: row.verdict, weight: row.weight, reasons: row.reasons, isExpired }
      continue
    }
    standing = {
      verdict: SEVERITY[row.verdict] > SEVERITY[standing.verdict] ? row.verdict : standing.verdict,
      weight: Math.min(standing.weight, row.weight),
      reasons: [...new Set([...standing.reasons, ...row.reasons])].sort(),
      isExpired: standing.isExpired || isExpired,
    }
  }
  return standing
}

export function createHealthTable(options: { readonly codecs: Codecs; readonly clock: Clock }): HealthTable {
  const byEndpoint = new Map<string, Map<string, EndpointHealth>>()
  const endpointOfKey = new Map<string, string>()
  const offsets: number[] = []
  const listeners: (() => void)[] = []
  const { promise: ready, resolve: caughtUp } = Promise.withResolvers<void>()
  let undecodable = 0

  const remove = (key: string): void => {
    const endpoint = endpointOfKey.get(key)
    if (endpoint === undefined) return
    endpointOfKey.delete(key)
    const rows = byEndpoint.get(endpoint)
    rows?.delete(key)
    if (rows?.size === 0) byEndpoint.delete(endpoint)
  }
  const put = (key: string, row: EndpointHealth): void => {
    remove(key)
    endpointOfKey.set(key, row.endpoint)
    const rows = byEndpoint.get(row.endpoint) ?? new Map<string, EndpointHealth>()
    byEndpoint.set(row.endpoint, rows.set(key, row))
  }

  return {
    apply: (record) => {
      while (offsets.length <= record.partition) offsets.push(-1)
      offsets[record.partition] = Number(record.offset) + 1
      const key = record.key?.toString('utf8')
      if (key === undefined) {
        undecodable++
        return
      }
      if (record.value === null) remove(key)
      else {
        try {
          put(key, options.codecs.decode('EndpointHealth', record.value))
        } catch {
          undecodable++ // the last verdict holds; the router raises the alarm
          return
        }
      }
      for (const listener of listeners) listener()
    },
    caughtUp,
    ready,
    get: (endpoint) => fold(byEndpoint.get(endpoint)?.values() ?? [], options.clock.nowMs()),
    snapshot: () => [...offsets],
    onChange: (listener) => {
      listeners.push(listener)
    },
    undecodable: () => undecodable,
  }
}
