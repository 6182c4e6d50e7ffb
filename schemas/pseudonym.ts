/**
 * Keyed pseudonyms of nodes and devices (telemetry.md §1, N1).
 *
 * Owns: how a host name and a device index become an id. HMAC-SHA-256 under the site's key, 80 bits kept; the same host and index give
 * the same id in every function, so `site.yaml` (which names hosts) and the telemetry (which must not) meet here.
 */
import type { Hashing } from './ports.ts'

export type DeviceKind = 'gpu' | 'mig' | 'neuron' | 'neuroncore' | 'link'

export interface Pseudonyms {
  /** `node-<20 hex>` */
  node(host: string): string
  /** `<kind>-<20 hex>`. `index` is the accelerator's index on its host; a part adds its own after a slash ("2/7" = MIG 7 of GPU 2). */
  device(host: string, kind: DeviceKind, index: string | number): string
  /** `tenant-<20 hex>`: with `$namespace` in site.yaml a tenant's name is a namespace, which must not travel (N1). */
  tenant(name: string): string
}

/** Pseudonyms are cached: a hall has a bounded number of devices, `cacheMax` bounds it against hostile input. */
export function createPseudonyms(hashing: Hashing, key: Uint8Array, cacheMax = 1_000_000): Pseudonyms {
  const cache = new Map<string, string>()
  const make = (prefix: string, text: string): string => {
    const hit = cache.get(text)
    if (hit !== undefined) return hit
    const id = `${prefix}-${hashing.hmacSha256(key, Buffer.from(text, 'utf8')).toString('hex', 0, 10)}`
    if (cache.size >= cacheMax) cache.clear()
    cache.set(text, id)
    return id
  }
  return {
    node: (host) => make('node', `node\0${host}`),
    device: (host, kind, index) => make(kind, `${kind}\0${host}\0${index}`),
    tenant: (name) => make('tenant', `tenant\0${name}`),
  }
}
