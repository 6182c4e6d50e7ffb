/**
 * Builds the functions of a site from its configuration: the only place where site.yaml, handlers and ports meet.
 *
 * Owns: the translation of configuration to options of each function, and the order they are listed in. Starts nothing.
 */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { aggregateMetrics } from '../functions/aggregate-metrics/aggregate-metrics.ts'
import { assessHealth } from '../functions/assess-health/assess-health.ts'
import { combineMetrics } from '../functions/combine-metrics/combine-metrics.ts'
import { forwardSummaries } from '../functions/forward-summaries/forward-summaries.ts'
import { normalizeTelemetry } from '../functions/normalize-telemetry/normalize-telemetry.ts'
import type { HealthTable } from '../functions/route-inference/health-table.ts'
import { routeInference } from '../functions/route-inference/route-inference.ts'
import { parseHealthRules } from '../schemas/health-rules.ts'
import type { PolicyBundle } from '../schemas/policy.ts'
import type { Clock, EndpointCall, Hashing, LedgerPort, ObjectStore, Random, Telemetry } from '../schemas/ports.ts'
import type { Pseudonyms } from '../schemas/pseudonym.ts'
import type { Site } from '../schemas/site.ts'
import { defineFunction, type AnyFunction } from '../streams/define-function.ts'
import type { LoadedSite } from './load-site.ts'
import { VERSION } from './version.ts'

export const FUNCTION_NAMES = ['normalize-telemetry', 'assess-health', 'aggregate-metrics', 'combine-metrics', 'route-inference', 'forward-summaries'] as const
export type FunctionName = (typeof FUNCTION_NAMES)[number]

/** What functions are given besides configuration. `egress` and `routing` are opened only where their function runs. */
export interface FunctionPorts {
  readonly clock: Clock
  readonly random: Random
  readonly hashing: Hashing
  readonly telemetry: Telemetry
  readonly pseudonyms: Pseudonyms
  readonly routing: { readonly call: EndpointCall; readonly health: HealthTable; readonly urlOf: (endpoint: string, configured: string) => string } | null
  readonly egress: { readonly policy: PolicyBundle; readonly ledger: LedgerPort; readonly destinations: readonly ObjectStore[] } | null
}

type PoolEndpoint = Site['pools'][number]['endpoints'][number]

/** Device pseudonyms an endpoint stands on: the kind follows from the accelerator. */
export function devicesOf(endpoint: PoolEndpoint, accelerator: string, pseudonyms: Pseudonyms): string[] {
  const kind = /trainium|inferentia|neuron/.test(accelerator) ? 'neuron' : 'gpu'
  return endpoint.devices.flatMap((d) => d.index.map((index) => pseudonyms.device(d.host, kind, index)))
}

/** Endpoints of each device, for reports. */
export function endpointsByDevice(site: Site, pseudonyms: Pseudonyms): Map<string, string[]> {
  const by = new Map<string, string[]>()
  for (const pool of site.pools)
    for (const endpoint of pool.endpoints) for (const device of devicesOf(endpoint, pool.accelerator, pseudonyms)) by.set(device, [...(by.get(device) ?? []), endpoint.id])
  return by
}

export function isFunctionName(name: string): name is FunctionName {
  return (FUNCTION_NAMES as readonly string[]).includes(name)
}

/** The definition of one function of this site. */
export function buildFunction(name: FunctionName, loaded: LoadedSite, ports: FunctionPorts): AnyFunction {
  const { site } = loaded
  const { pseudonyms } = ports
  switch (name) {
    case 'normalize-telemetry': {
      const { graceMs, outOfOrdernessMs } = site.functions['aggregate-metrics']
      const normalize = normalizeTelemetry({
        site: site.site,
        pseudonyms,
        pools: site.pools.map((p) => ({ name: p.name, members: p.members, ...(p.rack === undefined ? {} : { rack: p.rack }) })),
        tenants: site.tenants,
        sources: site.sources.map((s) => ({ topic: s.topic, format: s.format as 'dcgm-exporter' | 'neuron-monitor' })),
        // Half of what the windows bear: the other half is for the producers themselves.
        alignWithinMs: Math.max(2, Math.floor((graceMs + outOfOrdernessMs) / 2)),
      })
      return defineFunction({ ...normalize, delivery: site.functions['normalize-telemetry'].delivery })
    }
    case 'assess-health': {
      const assess = assessHealth({
        site: site.site,
        rules: parseHealthRules(parse(readFileSync(loaded.pathOf(site.functions['assess-health'].rules), 'utf8'))),
        endpoints: site.pools.flatMap((p) => p.endpoints.map((e) => ({ id: e.id, pool: p.name, devices: devicesOf(e, p.accelerator, pseudonyms) }))),
        expectedPeriodMs: Object.fromEntries(site.sources.map((s) => [s.format, s.periodMs])),
      })
      return defineFunction({ ...assess, delivery: site.functions['assess-health'].delivery })
    }
    case 'aggregate-metrics': {
      const c = site.functions['aggregate-metrics']
      return aggregateMetrics({
        site: site.site,
        parameters: { windowMs: c.windowMs, graceMs: c.graceMs, outOfOrdernessMs: c.outOfOrdernessMs, skewMs: c.skewMs, maxGapMs: c.maxGapMs, idleMs: c.idleMs },
        contributorFactsMax: c.contributorsMax,
      })
    }
    case 'combine-metrics':
      return combineMetrics({ site: site.site, windowMs: site.functions['aggregate-metrics'].windowMs, contributorFactsMax: site.functions['aggregate-metrics'].contributorsMax })
    case 'route-inference': {
      const c = site.functions['route-inference']
      const routing = ports.routing as NonNullable<FunctionPorts['routing']>
      return routeInference({
        site: site.site,
        routerVersion: VERSION,
        pools: site.pools.map((p) => ({
          name: p.name,
          accelerator: p.accelerator,
          endpoints: p.endpoints.map((e) => ({ id: e.id, url: routing.urlOf(e.id, e.url), api: e.api as 'openai' | 'oip', models: e.models, slots: e.slots })),
        })),
        contracts: site.contracts,
        defaultDeadlineMs: c.defaultDeadlineMs,
        dedupeMs: c.dedupeMs,
        skewMs: c.skewMs,
        maxInFlight: c.maxInFlight,
        perTenantMax: c.perTenantMax,
        requestBytesMax: c.requestBytesMax,
        resultBytesMax: c.resultBytesMax,
        ports: { call: routing.call, clock: ports.clock, random: ports.random, hashing: ports.hashing, telemetry: ports.telemetry, health: routing.health },
      })
    }
    case 'forward-summaries': {
      const egress = ports.egress as NonNullable<FunctionPorts['egress']>
      return forwardSummaries({
        site: site.site,
        policy: egress.policy,
        ports: { ledger: egress.ledger, destinations: egress.destinations, hashing: ports.hashing, clock: ports.clock },
      })
    }
  }
}
