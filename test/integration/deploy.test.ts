/**
 * What is shipped for deployment, held against the code and itself: dashboards name metrics that exist, the compose site is valid, isolation is
 * declared, ports and names on both sides of a file are the same. Whether Docker then keeps what is declared is not shown here.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { validateSite } from '../../schemas/validate-site.ts'
import { instruments } from '../../schemas/telemetry-names.ts'
import { temporaryFolder } from '../helpers/gate.ts'
import { ROOT } from '../helpers/site.ts'

const read = (path: string): string => readFileSync(join(ROOT, path), 'utf8')

/** Names as the Prometheus endpoint prints them: dots become underscores, counters end in _total, histograms have three series. */
const printed = new Set(
  Object.values(instruments).flatMap((i) => {
    const name = i.name.replaceAll('.', '_')
    return i.type === 'counter' ? [`${name}_total`] : i.type === 'histogram' ? [`${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]
  }),
)

test('dashboards: every panel asks for a metric that the code prints, or it would stay empty for ever', (t) => {
  const folder = 'infra/deploy/grafana/dashboards'
  let queries = 0
  const shown = new Set<string>()
  for (const file of readdirSync(join(ROOT, folder))) {
    const { panels } = JSON.parse(read(`${folder}/${file}`)) as { panels: { title: string; datasource: { uid: string }; targets: { expr: string }[] }[] }
    for (const panel of panels) {
      t.is(panel.datasource.uid, 'prometheus', panel.title)
      for (const { expr } of panel.targets) {
        const names = [...expr.matchAll(/\b((?:sluice|hw|messaging|gen_ai)_[a-z0-9_]+)(?=[{[)\s]|$)/g)]
          .map((m) => m[1] as string)
          .filter((n) => !expr.includes(`(${n},`) && !/^messaging_(destination|consumer_group)_name$/.test(n))
        t.true(names.length > 0, `${panel.title}: ${expr}`)
        for (const name of names) {
          queries++
          shown.add(name)
          t.true(printed.has(name), `${panel.title}: ${name}`)
        }
      }
    }
  }
  t.true(queries >= 17)
  for (const name of ['sluice_partition_held', 'sluice_partition_blocked', 'sluice_state_restore_duration_bucket']) t.true(shown.has(name), `no panel shows ${name}`)
})

test('compose: its site is valid, and rules and policy it names are in the image', (t) => {
  const parsed: unknown = parse(read('infra/deploy/compose/site.yaml'))
  const { site, problems } = validateSite(parsed)
  t.deepEqual(problems, [])
  for (const named of [site?.egress.policy, site?.functions['assess-health'].rules]) t.true(existsSync(join(ROOT, 'infra/deploy/compose', named as string)), named)
})

interface Service {
  readonly image: string
  readonly profiles?: readonly string[]
  readonly entrypoint?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly networks: readonly string[]
  readonly network_mode?: string
  readonly read_only?: boolean
  readonly user?: string
  readonly cap_drop?: readonly string[]
  readonly security_opt?: readonly string[]
  readonly dns?: readonly string[]
  readonly mem_limit?: string
  readonly pids_limit?: number
  readonly healthcheck?: { readonly test?: readonly string[]; readonly disable?: boolean }
  readonly sysctls?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
  readonly ports?: readonly string[]
}
interface Network {
  readonly internal?: boolean
  readonly enable_ipv6?: boolean
  readonly driver_opts?: Readonly<Record<string, string>>
  readonly ipam?: { readonly config: readonly { readonly subnet: string; readonly gateway: string; readonly aux_addresses: Readonly<Record<string, string>> }[] }
}
const compose = parse(read('docker-compose.yml'), { merge: true }) as {
  readonly services: Readonly<Record<string, Service>>
  readonly networks: Readonly<Record<string, Network>>
  readonly volumes: Readonly<Record<string, unknown>>
}
const services = Object.entries(compose.services)
const ours = services.filter(([, s]) => s.image.startsWith('sluice:'))
const siteOfCompose = validateSite(parse(read('infra/deploy/compose/site.yaml'))).site

test('compose: only egress has a way out, only the proxy a way in, and neither passes packets on', (t) => {
  for (const network of ['plane', 'uplink']) {
    t.true(compose.networks[network]?.internal)
    t.is(compose.networks[network]?.driver_opts?.['com.docker.network.bridge.inhibit_ipv4'], 'true', 'internal alone leaves the host reachable')
  }
  for (const [name, network] of Object.entries(compose.networks)) t.is(network.enable_ipv6, false, name)
  const edge = compose.networks['edge']
  t.is(edge?.driver_opts?.['com.docker.network.bridge.enable_ip_masquerade'], 'false')
  const [range] = edge?.ipam?.config ?? []
  t.truthy(range?.aux_addresses['DefaultGatewayIPv4'])
  t.not(range?.aux_addresses['DefaultGatewayIPv4'], range?.gateway, 'the default route would lead to the host and on')

  const expected: Record<string, readonly string[]> = { egress: ['plane', 'uplink'], s3: ['uplink'], edge: ['plane', 'edge'], secrets: [] }
  for (const [name, s] of services) {
    t.deepEqual(s.networks, expected[name] ?? ['plane'], name)
    t.deepEqual(s.dns, ['127.0.0.1'], `${name} asks the resolver of the host`)
    if (s.networks.length > 1) t.is(s.sysctls?.['net.ipv4.ip_forward'], '0', name)
    if (name !== 'edge') t.is(s.ports, undefined, `${name} publishes ports`)
  }
  t.is(compose.services['secrets']?.network_mode, 'none')
})

test('compose: the proxy listens on every published port, on this machine only, and leads to a service', (t) => {
  const listens = [...read('infra/deploy/edge/haproxy.cfg').matchAll(/^listen \S+\n {2}bind :(\d+)\n {2}server (\S+) \2:\1$/gm)].map(
    (m) => [m[1] as string, m[2] as string] as const,
  )
  t.deepEqual(
    compose.services['edge']?.ports,
    listens.map(([port]) => `127.0.0.1:${port}:${port}`),
  )
  t.true(listens.length > 0)
  for (const [, name] of listens) t.truthy(compose.services[name], name)
})

test('compose: every service is unprivileged and bounded; ours, and what faces a network of strangers, is read-only too', (t) => {
  t.deepEqual(ours.map(([name]) => name).sort(), ['egress', 'functions', 'secrets', 'simulated-site', 'topics'])
  for (const [name, s] of services) t.true(s.cap_drop?.includes('ALL') && s.security_opt?.includes('no-new-privileges:true') && s.mem_limit !== undefined, name)
  for (const [name, s] of [...ours, ...services.filter(([n]) => n === 's3' || n === 'edge')])
    t.true(s.read_only === true && s.user === '1000:1000' && s.pids_limit !== undefined && s.healthcheck !== undefined, name)
  for (const [name, s] of services) t.notRegex(s.image, /^[^:]+(:latest)?$/, `${name} has no fixed version`)
})

test('compose: no secret stands in it; each is a file in a volume that is written by one service and read where it is needed', (t) => {
  const wanted = new Map([
    ['SLUICE_PSEUDONYM_KEY_FILE', ['egress', 'functions', 'secrets', 'simulated-site', 'topics']],
    ['AWS_SECRET_ACCESS_KEY_FILE', ['egress']],
  ])
  const accountNames = new Set(['AWS_ACCESS_KEY_ID', 'ROOT_ACCESS_KEY'])
  const made = compose.services['secrets']?.entrypoint?.slice(2) ?? []
  for (const [name, s] of services)
    for (const [variable, value] of Object.entries(s.environment ?? {})) {
      if (!/SECRET|PASSWORD|TOKEN|CREDENTIAL|KEY/.test(variable) || accountNames.has(variable)) continue
      t.true(wanted.get(variable)?.includes(name), `${name}: ${variable}`)
      t.true(made.includes(value), `${name}: nobody makes ${value}`)
    }
  const mounts = (volume: string): string[] =>
    services.flatMap(([name, s]) => (s.volumes ?? []).filter((v) => v.startsWith(`${volume}:`)).map((v) => `${name}${v.endsWith(':ro') ? '' : ' writes'}`))
  t.deepEqual(mounts('pseudonyms').sort(), ['egress', 'functions', 'secrets writes', 'simulated-site'])
  t.deepEqual(mounts('destination').sort(), ['egress', 's3', 'secrets writes'])
  const destination = siteOfCompose?.egress.destinations.find((d) => d.kind === 's3')
  t.is(siteOfCompose?.pseudonyms.keyEnv, 'SLUICE_PSEUDONYM_KEY')
  t.is(destination?.kind === 's3' ? destination.secretKeyEnv : null, 'AWS_SECRET_ACCESS_KEY')
  for (const [name, s] of services) for (const v of s.volumes ?? []) if (!v.startsWith('./')) t.true((v.split(':')[0] as string) in compose.volumes, `${name}: ${v}`)
})

test('compose: keys are made once, whole, for their owner only, and never made anew over one that exists', (t) => {
  const dir = temporaryFolder()
  const files = [join(dir, 'a'), join(dir, 'b')]
  const make = (): void => {
    t.is(spawnSync('sh', [join(ROOT, 'infra/deploy/compose/make-secrets.sh'), ...files], { encoding: 'utf8' }).status, 0)
  }
  make()
  const first = files.map((f) => readFileSync(f, 'utf8'))
  for (const key of first) t.regex(key, /^[0-9a-f]{64}$/)
  t.not(first[0], first[1])
  for (const f of files) t.is(statSync(f).mode & 0o777, 0o400)
  make()
  t.deepEqual(
    files.map((f) => readFileSync(f, 'utf8')),
    first,
  )
  t.deepEqual(readdirSync(dir).sort(), ['a', 'b'])
  t.not(spawnSync('sh', [join(ROOT, 'infra/deploy/compose/make-secrets.sh'), join(dir, 'no/such/folder'), join(dir, 'c')]).status, 0)
})

test('compose: what one file calls by name and port is what another one listens on', (t) => {
  const metricsPort = siteOfCompose?.observability.metrics.listen?.split(':').at(-1)
  const healthPort = siteOfCompose?.observability.health.listen.split(':').at(-1)
  const collector = parse(read('infra/deploy/otel-collector/config.yaml')) as { receivers: { otlp: { protocols: { http: { endpoint: string } } } } }
  const scraped = (parse(read('infra/deploy/prometheus/prometheus.yml')) as { scrape_configs: { static_configs: { targets: string[] }[] }[] }).scrape_configs.flatMap((c) =>
    c.static_configs.flatMap((s) => s.targets),
  )
  const running = ours.filter(([, s]) => s.healthcheck?.disable !== true)
  t.deepEqual(scraped.filter((x) => !x.startsWith('otel-collector')).sort(), running.map(([name]) => `${name}:${metricsPort}`).sort())
  for (const target of scraped) t.truthy(compose.services[target.split(':')[0] as string], target)
  for (const [name, s] of running) {
    t.true(
      s.healthcheck?.test?.some((part) => part.includes(`http://127.0.0.1:${healthPort}/ready`)),
      name,
    )
    const [, host, port] = /^http:\/\/([^:]+):(\d+)$/.exec(s.environment?.['OTEL_EXPORTER_OTLP_ENDPOINT'] ?? '') ?? []
    t.truthy(compose.services[host as string], name)
    t.is(port, collector.receivers.otlp.protocols.http.endpoint.split(':').at(-1))
    t.is(s.environment?.['SLUICE_SITE'], '/app/infra/deploy/compose/site.yaml')
  }
  const observers = services.filter(([, s]) => s.profiles?.includes('observe')).map(([name]) => name)
  t.deepEqual(observers.sort(), ['edge', 'grafana', 'otel-collector', 'prometheus'])
  t.regex(read('.env'), /^COMPOSE_PROFILES=observe$/m, 'plain `docker compose up` brings them')
})
