/** What a running site really shows: the page Prometheus scrapes against every panel, and the spans a collector receives. */
import { readdirSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import test from 'ava'
import { FUNCTION_NAMES } from '../../cli/functions.ts'
import { loadSite } from '../../cli/load-site.ts'
import { SiteProcess } from '../../cli/site-process.ts'
import type { ProcessStatus } from '../../cli/site-status.ts'
import { applyTopics } from '../../cli/topics.ts'
import { createEmbeddedDriver } from '../../infra/log/embedded/driver.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { nodeBatch } from '../helpers/node-batch.ts'
import { ROOT, siteInFolder, sluice } from '../helpers/site.ts'
import { until } from '../helpers/until.ts'

const codecs = testCodecs()
const CANARIES = ['canary-prompt-5f1c', 'canary-tenant-5f1c', 'canary-user-5f1c']

interface SpanSeen {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
}

/** An OTLP/HTTP receiver that keeps what it is sent. */
async function collector() {
  const spans: SpanSeen[] = []
  let text = ''
  const server = createServer((request, response) => {
    const parts: Buffer[] = []
    request.on('data', (part: Buffer) => parts.push(part))
    request.on('end', () => {
      const body = Buffer.concat(parts).toString('utf8')
      text += body
      if (request.url === '/v1/traces') {
        const { resourceSpans = [] } = JSON.parse(body) as { resourceSpans?: { scopeSpans: { spans: SpanSeen[] }[] }[] }
        spans.push(...resourceSpans.flatMap((r) => r.scopeSpans.flatMap((s) => s.spans)))
      }
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end('{}')
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    text: () => text,
    close: () => {
      server.close()
      server.closeAllConnections()
    },
  }
}

/** Metric names with the labels of each, as the page prints them. */
function labelsOf(page: string): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>()
  for (const [, name = '', labels = ''] of page.matchAll(/^([a-z_]+)(?:\{(.*)\})? \S+$/gm)) {
    const of = found.get(name) ?? new Set<string>()
    for (const [, label = ''] of labels.matchAll(/([a-z_]+)="/g)) of.add(label)
    found.set(name, of)
  }
  return found
}

/** The metric and the labels that each query of the dashboards rests on. */
function asked(): { panel: string; metric: string; labels: string[] }[] {
  const folder = join(ROOT, 'infra/deploy/grafana/dashboards')
  return readdirSync(folder).flatMap((file) => {
    const { panels } = JSON.parse(readFileSync(join(folder, file), 'utf8')) as { panels: { title: string; targets: { expr: string }[] }[] }
    return panels.flatMap(({ title, targets }) =>
      targets.map(({ expr }) => {
        const labels = [/by \(([^)]*)\)/.exec(expr)?.[1] ?? '', ...[...expr.matchAll(/\{([^}]*)\}/g)].map((m) => (m[1] ?? '').replaceAll(/="[^"]*"/g, ''))]
        const metric = /\b((?:sluice|hw|messaging|gen_ai)_[a-z0-9_]+)(?=[{[)]|$)/.exec(expr.replace(/by \([^)]*\)/, ''))?.[1] ?? expr
        return {
          panel: `${file} ${title}`,
          metric,
          labels: labels
            .flatMap((l) => l.split(','))
            .map((l) => l.trim())
            .filter((l) => l !== ''),
        }
      }),
    )
  })
}

test.serial(
  'observability: a running site prints every metric with every label a panel asks for, one trace joins producer, endpoint and result, and no canary shows',
  async (t) => {
    const otlp = await collector()
    Object.assign(process.env, { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${otlp.url}/v1/traces`, OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json', OTEL_BSP_SCHEDULE_DELAY: '200' })
    // So few places that requests wait for one: a partition that is blocked now and then.
    const site = siteInFolder((s) => Object.assign(s.functions['route-inference'], { maxInFlight: 2, perTenantMax: 2 }))
    const loaded = loadSite(site.file)
    const logged: string[] = []
    const running = new SiteProcess({
      ending: new AbortController().signal,
      loaded,
      functions: FUNCTION_NAMES,
      isSimulating: true,
      isObserving: true,
      isApplyingTopics: true,
      isSharingHost: false,
      environment: process.env,
      onLog: (_severity, message) => void logged.push(message),
    })
    // What a calm site would not show: something late, something that cannot be read, a request with canaries.
    const seed = createEmbeddedDriver({ dir: loaded.pathOf(loaded.site.log.embedded.dir) })

    await applyTopics(seed.admin(), loaded.site)
    const id = 'canary-request-1'
    const request = {
      id,
      tenant: CANARIES[1],
      model: loaded.site.pools[0]?.endpoints[0]?.models[0],
      createdMs: Date.now(),
      api: 'openai.chat',
      body: JSON.stringify({ model: loaded.site.pools[0]?.endpoints[0]?.models[0], user: CANARIES[2], messages: [{ role: 'user', content: CANARIES[0] }] }),
    }
    const nowMs = Date.now()
    const batch = (ageMs: number) => {
      const value = codecs.encode('NodeBatch', nodeBatch(codecs, { node: 'n', observedMs: nowMs - ageMs, rows: [{ device: 'gpu-1', metric: 'hw.power', value: 1 }], pool: 'p' }))
      return { topic: 'hardware.telemetry', partition: 0, key: Buffer.from('n'), value }
    }
    await seed
      .producer()
      .send([
        ...[120_000, 60_000, 600_000].map(batch),
        { topic: 'telemetry.dcgm', partition: 0, key: null, value: Buffer.from([0xff, 0xfe]) },
        { topic: 'inference.requests', key: Buffer.from(id), value: Buffer.from(JSON.stringify(request)) },
      ])
    await seed.close()
    try {
      await running.start()
      const url = running.status().metricsUrl as string
      const wanted = asked()
      t.true(wanted.length >= 17)
      let missing: string[] = ['not asked yet']
      let page = ''
      await until(async () => {
        page = await (await fetch(url)).text()
        const shown = labelsOf(page)
        missing = wanted.flatMap(({ panel, metric, labels }) => {
          const has = shown.get(metric)
          return has === undefined ? [`${panel}: ${metric} is not there`] : labels.filter((l) => !has.has(l)).map((l) => `${panel}: ${metric} has no label ${l}`)
        })
        return missing.length === 0
      }, 30_000).catch(() => undefined)
      t.deepEqual(missing, [])

      const endToEnd = (): SpanSeen[] | undefined => {
        const byTrace = Map.groupBy(otlp.spans, (s) => s.traceId)
        return [...byTrace.values()].find((trace) =>
          ['create inference.requests', 'process inference.requests', 'POST', 'send inference.results'].every((name) => trace.some((s) => s.name === name)),
        )
      }
      await until(() => endToEnd() !== undefined, 15_000).catch(() => t.log([...new Set(otlp.spans.map((s) => s.name))]))
      const trace = endToEnd() ?? []
      const find = (name: string): SpanSeen | undefined => trace.find((s) => s.name === name)
      t.is(find('process inference.requests')?.parentSpanId, find('create inference.requests')?.spanId)
      t.is(find('POST')?.parentSpanId, find('process inference.requests')?.spanId, 'the endpoint’s call belongs to the handler')
      t.is(find('send inference.results')?.parentSpanId, find('process inference.requests')?.spanId)
      await until(() => (running.status().observed?.results ?? 0) > 0, 10_000)

      const ps = await sluice(['ps', '--json', '--url', running.status().healthUrl as string])
      t.is(ps.code, 0, ps.stderr)
      t.false(ps.stdout.includes('canary'))
      const { processes } = JSON.parse(ps.stdout) as { processes: (ProcessStatus & { partitions: { processingLag: number | null }[] })[] }
      const rows = processes[0]?.partitions ?? []
      t.deepEqual([...new Set(rows.map((r) => r.function))].toSorted(), [...FUNCTION_NAMES].toSorted())
      for (const row of rows) t.is(typeof row.processingLag, 'number', `${row.function} ${row.topic}/${row.partition}`)
      t.true(
        rows.some((r) => r.function === 'aggregate-metrics' && typeof r.watermarkLagMs === 'number'),
        'the watermark’s lag is one of the three signals (W9)',
      )

      for (const canary of CANARIES) {
        t.false(page.includes(canary), `${canary} on /metrics`)
        t.false(otlp.text().includes(canary), `${canary} in a span`)
        t.false(logged.join('\n').includes(canary), `${canary} in a log line`)
      }
      t.deepEqual(
        logged.filter((line) => /is not in the table/.test(line)),
        [],
      )
    } finally {
      await running.stop(2000)
      otlp.close()
      site.remove()
    }
  },
)
