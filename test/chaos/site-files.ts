/** The site that the chaos run is about: its files, one for each set of brokers that a process knows. Owns: what in them differs from a real site's. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stringify } from 'yaml'
import type { Endpoint } from './endpoints.ts'
import type { WindowParameters } from './reference.ts'
import { MODELS } from './requests.ts'

export const SITE = 'chaos'
export const KEY_ENV = 'SLUICE_CHAOS_KEY'
export const PARTITIONS = 6
export const REPLICATION = 3

export interface SiteOptions {
  readonly sessionMs: number
  readonly parameters: WindowParameters
  readonly idleMs: number
  /** One API each, in turn. */
  readonly endpoints: readonly Endpoint[]
}

/** Writes a site file that names `brokers` and returns its path. */
export function writeSite(dir: string, name: string, brokers: readonly string[], options: SiteOptions): string {
  const endpoints = options.endpoints.map(({ id, url }, i) => ({
    id,
    url,
    api: i % 2 === 0 ? 'openai' : 'oip',
    models: [i % 2 === 0 ? MODELS.openai : MODELS.oip],
    slots: 32,
  }))
  const site = {
    site: SITE,
    log: { driver: 'kafka', kafka: { brokers, sessionMs: options.sessionMs }, topics: { partitions: PARTITIONS, replication: REPLICATION } },
    sources: [{ topic: 'telemetry.dcgm', format: 'dcgm-exporter', periodMs: 1000 }],
    pseudonyms: { keyEnv: KEY_ENV },
    tenants: [{ match: { namespace: 'tenant-*' }, tenant: '$namespace' }],
    pools: [
      { name: 'chaos-a', accelerator: 'nvidia-gb200', members: [{ host: 'tray-*' }], endpoints: endpoints.filter((_, i) => i % 2 === 0) },
      { name: 'chaos-b', accelerator: 'nvidia-gb200', members: [{ host: 'sled-*' }], endpoints: endpoints.filter((_, i) => i % 2 === 1) },
    ],
    functions: {
      'assess-health': { enabled: false },
      'aggregate-metrics': { ...options.parameters, idleMs: options.idleMs },
      // What piles up while every router is down must not be refused for its number.
      'route-inference': { maxInFlight: 2048, perTenantMax: 2048 },
      'forward-summaries': { enabled: false },
    },
    observability: { metrics: { listen: '127.0.0.1:0' }, health: { listen: '127.0.0.1:0' } },
  }
  const file = join(dir, `${name}.yaml`)
  writeFileSync(file, stringify(site))
  return file
}
