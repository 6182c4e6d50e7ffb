/**
 * The SIMULATED site: model servers, hosts and producers of site.yaml's `simulation`, wired together (routing.md §6).
 *
 * Owns: which endpoints are simulated (those on simulated hosts), their ports (of the url; 0 = a free one), the load of a host (what its model
 * servers work on), and that heat slows the answers. Stop order: producers, then servers.
 */
import type { Codecs } from '../../../schemas/codec.ts'
import type { LogProducer } from '../../../schemas/log.ts'
import type { Clock, Telemetry } from '../../../schemas/ports.ts'
import type { Site } from '../../../schemas/site.ts'
import { createHardware } from './hardware.ts'
import { startModelServer, type ModelServer, type ModelServerStats, type ServerFault } from './model-server.ts'
import { createProducer, type ProducerStats } from './producer.ts'
import { DEFAULT_SCRIPT, type RequestScript, type ServedModel } from './requests.ts'
import { seededRandom } from './seeded-random.ts'

export interface SimulatedSiteOptions {
  /** With `simulation`; without it nothing is started. */
  readonly site: Site
  /** Closed by `stop`. */
  readonly producer: LogProducer
  readonly topicPrefix: string
  readonly codecs: Codecs
  readonly telemetry: Telemetry
  readonly clock: Clock
  readonly onProblem: (error: unknown) => void
  readonly script?: RequestScript
}

export interface SimulatedEndpoint {
  readonly id: string
  readonly pool: string
  readonly url: string
  stats(): ModelServerStats
  setFault(fault: ServerFault | null): void
}

export interface SimulatedSite {
  readonly endpoints: readonly SimulatedEndpoint[]
  /** The clock of the scripted faults starts here. */
  startProducing(): void
  stopProducing(): Promise<void>
  stats(): ProducerStats
  /** Producers first. */
  stop(): Promise<void>
}

type PoolEndpoint = Site['pools'][number]['endpoints'][number]

interface Served {
  readonly endpoint: PoolEndpoint
  readonly pool: string
  readonly server: ModelServer
}

const LATENCY = { baseMs: 20, perTokenMs: 4, outputTokens: 32 }

const accelerators = (endpoint: PoolEndpoint): { host: string; index: number }[] => endpoint.devices.flatMap((d) => d.index.map((index) => ({ host: d.host, index })))

/** Port of a url; that of its protocol where it names none. */
function portOf(url: string): number {
  const { port, protocol } = new URL(url)
  if (port !== '') return Number(port)
  return protocol === 'https:' ? 443 : 80
}

function modelsOf(served: readonly Served[]): ServedModel[] {
  return served.flatMap(({ endpoint }) => endpoint.models.map((model) => ({ model, api: endpoint.api === 'oip' ? ('oip' as const) : ('openai' as const) })))
}

/** Opens every model server of the site; if one cannot be opened, those before it are closed and the error goes on. */
async function openServers(options: SimulatedSiteOptions, simulation: NonNullable<Site['simulation']>): Promise<Served[]> {
  const { site, clock, telemetry } = options
  const hosts = new Set(simulation.hosts.map((h) => h.host))
  const random = seededRandom(simulation.seed + 1)
  const served: Served[] = []
  try {
    for (const pool of site.pools)
      for (const endpoint of pool.endpoints) {
        if (!endpoint.devices.some((d) => hosts.has(d.host))) continue
        const server = await startModelServer({
          id: endpoint.id,
          models: endpoint.models,
          slots: endpoint.slots,
          latency: LATENCY,
          random,
          clock,
          host: simulation.listenHost,
          port: portOf(endpoint.url),
          onLog: (message) => telemetry.log('debug', message, { endpoint: endpoint.id, simulated: true }),
        })
        served.push({ endpoint, pool: pool.name, server })
      }
  } catch (error) {
    await Promise.all(served.map(({ server }) => server.close()))
    throw error
  }
  return served
}

/** Servers listen once it resolves; nothing is published before `startProducing`. Rejects with SLU_ENV_PORT. */
export async function startSimulatedSite(options: SimulatedSiteOptions): Promise<SimulatedSite> {
  const { simulation } = options.site
  const served = simulation === undefined ? [] : await openServers(options, simulation)
  const hosts = simulation?.hosts ?? []
  const hardware = createHardware(hosts, simulation?.faults ?? [], seededRandom(simulation?.seed ?? 1))
  const byDevice = new Map<string, Served>()
  for (const one of served) for (const { host, index } of accelerators(one.endpoint)) byDevice.set(`${host}/${index}`, one)
  const loadOf = (host: string, index: number): number => {
    const one = byDevice.get(`${host}/${index}`)
    return one === undefined ? 0 : Math.min(1, one.server.stats().running / one.endpoint.slots)
  }

  const producer = createProducer({
    log: options.producer,
    topicPrefix: options.topicPrefix,
    codecs: options.codecs,
    telemetry: options.telemetry,
    clock: options.clock,
    random: seededRandom((simulation?.seed ?? 1) + 2),
    scrapeMs: simulation?.scrapeMs ?? 1000,
    requestsPerS: simulation?.requestsPerS ?? 0,
    models: modelsOf(served),
    tenants: [...new Set(hosts.map((h) => h.namespace))],
    script: options.script ?? DEFAULT_SCRIPT,
    scrape: (sinceStartMs) => {
      const scrapes = hardware.scrape(sinceStartMs, loadOf)
      for (const { endpoint, server } of served) server.setSlowdown(Math.max(1, ...accelerators(endpoint).map(({ host, index }) => hardware.slowdownOf(host, index))))
      return scrapes
    },
    onProblem: options.onProblem,
  })

  return {
    endpoints: served.map(({ endpoint, pool, server }) => ({
      id: endpoint.id,
      pool,
      url: portOf(endpoint.url) === 0 ? server.url : endpoint.url.replace(/\/$/, ''),
      stats: () => server.stats(),
      setFault: (fault) => server.setFault(fault),
    })),
    startProducing: () => {
      if (simulation !== undefined) producer.start()
    },
    stopProducing: () => producer.stop(),
    stats: () => producer.stats(),
    stop: async () => {
      await producer.stop()
      await Promise.all(served.map(({ server }) => server.close()))
      await options.producer.close()
    },
  }
}
