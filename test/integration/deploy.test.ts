/** What is shipped for deployment, held against the code: dashboards name metrics that exist, the compose site is valid, isolation is declared. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parse } from 'yaml'
import { validateSite } from '../../schemas/site.ts'
import { instruments } from '../../schemas/telemetry-names.ts'
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
          t.true(printed.has(name), `${panel.title}: ${name}`)
        }
      }
    }
  }
  t.true(queries >= 15)
})

test('compose: its site is valid, and rules and policy it names are in the image', (t) => {
  const parsed: unknown = parse(read('infra/deploy/compose/site.yaml'))
  const { site, problems } = validateSite(parsed)
  t.deepEqual(problems, [])
  for (const named of [site?.egress.policy, site?.functions['assess-health'].rules]) t.true(existsSync(join(ROOT, 'infra/deploy/compose', named as string)), named)
})

test('compose: only egress has a way out, every service of ours is read-only, unprivileged and bounded', (t) => {
  type Service = { networks?: string[]; image?: string; read_only?: boolean; user?: string; cap_drop?: string[]; security_opt?: string[]; mem_limit?: string; ports?: string[] }
  const compose = parse(read('docker-compose.yml'), { merge: true }) as {
    services: Record<string, Service>
    networks: Record<string, { internal?: boolean; driver_opts?: Record<string, string> }>
  }
  for (const network of ['plane', 'uplink']) {
    t.true(compose.networks[network]?.internal)
    t.is(compose.networks[network]?.driver_opts?.['com.docker.network.bridge.inhibit_ipv4'], 'true')
  }
  const ours = Object.entries(compose.services).filter(([, s]) => s.image?.startsWith('sluice:'))
  t.deepEqual(ours.map(([name]) => name).sort(), ['egress', 'functions', 'simulated-site', 'topics'])
  for (const [name, s] of ours) {
    t.true(s.read_only && s.user === '1000:1000' && s.cap_drop?.includes('ALL') && s.security_opt?.includes('no-new-privileges:true') && s.mem_limit !== undefined, name)
    t.deepEqual(s.networks, name === 'egress' ? ['plane', 'uplink'] : ['plane'], name)
  }
  for (const [name, s] of Object.entries(compose.services)) for (const port of s.ports ?? []) t.regex(port, /^127\.0\.0\.1:/, `${name} publishes ${port} to the network`)
})
