/**
 * Which pool, rack and tenant a device belongs to, from site.yaml (telemetry.md §1: decided here, where names are still known).
 *
 * Owns: the glob of `pools[].members` and `tenants[].match` (`*` any run, `?` one character, nothing else is special), first match wins.
 * Invariant N1: what comes out is a pool or rack name of site.yaml, or a keyed pseudonym of the tenant; never host or namespace text.
 */
import type { Pseudonyms } from '../../schemas/pseudonym.ts'

export interface PoolMembers {
  readonly name: string
  readonly rack?: string | undefined
  readonly members: readonly { readonly host: string }[]
}

export interface TenantRule {
  readonly match: { readonly namespace?: string | undefined }
  /** `$namespace` stands for the namespace that matched. */
  readonly tenant: string
}

export interface Membership {
  poolOf(host: string): { readonly pool: string | null; readonly rack: string | null }
  /** null = no rule matches, or no namespace is known. */
  tenantOf(namespace: string | null): string | null
}

/** A whole-text glob. Linear in the text per `*`; host and namespace lengths are bounded by the callers. */
export function globMatcher(glob: string): (text: string) => boolean {
  const source = glob
    .replaceAll(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll(/\*+/g, '[^]*')
    .replaceAll('?', '[^]')
  const pattern = new RegExp(`^${source}$`)
  return (text) => pattern.test(text)
}

export function createMembership(pools: readonly PoolMembers[], tenants: readonly TenantRule[], pseudonyms: Pseudonyms): Membership {
  const poolRules = pools.flatMap((pool) => pool.members.map((member) => ({ pool: pool.name, rack: pool.rack ?? null, matches: globMatcher(member.host) })))
  const tenantRules = tenants.map((rule) => ({ tenant: rule.tenant, matches: globMatcher(rule.match.namespace ?? '*') }))
  const nowhere = { pool: null, rack: null }
  return {
    poolOf: (host) => poolRules.find((rule) => rule.matches(host)) ?? nowhere,
    tenantOf: (namespace) => {
      if (namespace === null || namespace === '') return null
      const rule = tenantRules.find((r) => r.matches(namespace))
      return rule === undefined ? null : pseudonyms.tenant(rule.tenant.replaceAll('$namespace', () => namespace))
    },
  }
}
