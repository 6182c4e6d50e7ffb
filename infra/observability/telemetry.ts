/**
 * The `Telemetry` port over OpenTelemetry JS (operations.md §1).
 *
 * Owns: bootstrap from the standard `OTEL_*` variables, the Prometheus endpoint, the translation from the port to instruments, spans
 * and logs. Stages: start → instruments made on first use from the table of names → shutdown, bounded and never throwing.
 * Must never: end the process because a collector is away, write to stdout, show an attribute outside the closed list.
 * Without an OTLP endpoint nothing is exported but `/metrics`; traces then cost nothing.
 */
import { createServer, type AddressInfo } from 'node:net'
import { context, diag, DiagLogLevel, logs, metrics, propagation, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto'
import { PrometheusExporter } from '@opentelemetry/exporter-prometheus'
import { UndiciInstrumentation } from '@opentelemetry/instrumentation-undici'
import { PeriodicExportingMetricReader, type IMetricReader } from '@opentelemetry/sdk-metrics'
import { startNodeSdk } from '@opentelemetry/sdk-node'
import { SluiceError } from '../../schemas/errors.ts'
import type { Attributes, EndpointCall, Span, SpanStart, Telemetry } from '../../schemas/ports.ts'
import { attributeNames, instruments, SCHEMA_URL, type Instrument } from '../../schemas/telemetry-names.ts'

type SdkOptions = NonNullable<Parameters<typeof startNodeSdk>[0]>

export interface TelemetryOptions {
  readonly service: string
  readonly site: string
  readonly version: string
  /** host:port of `/metrics`; null = none. Port 0 = a free one. */
  readonly metricsListen: string | null
  readonly environment: Readonly<Record<string, string | undefined>>
  /** Where log lines go besides OTLP; never stdout. */
  readonly onLog: (severity: 'debug' | 'info' | 'warn' | 'error', message: string, attributes?: Attributes) => void
  /** For tests: replaces the exporters chosen by the environment. */
  readonly spanProcessors?: SdkOptions extends { spanProcessors?: infer P } ? P : never
}

export interface RunningTelemetry extends Telemetry {
  /** URL of the Prometheus endpoint, or null. */
  readonly metricsUrl: string | null
  /** Flushes for at most two seconds; never rejects. */
  shutdown(): Promise<void>
}

const KINDS = { producer: SpanKind.PRODUCER, consumer: SpanKind.CONSUMER, client: SpanKind.CLIENT, internal: SpanKind.INTERNAL } as const
const SEVERITY = { debug: 5, info: 9, warn: 13, error: 17 } as const
const SHUTDOWN_MS = 2000

const ATTRIBUTES: ReadonlySet<string> = new Set(Object.values(attributeNames))

/** The attributes that may be shown; `onOther` hears the name of each other one. */
function shownOf(attributes: Attributes | undefined, onOther: (name: string) => void): Attributes {
  if (attributes === undefined) return {}
  const kept: Record<string, string | number | boolean> = {}
  for (const [key, value] of Object.entries(attributes))
    if (ATTRIBUTES.has(key)) kept[key] = value
    else onOther(key)
  return kept
}

function splitListen(listen: string): { host: string; port: number } {
  const at = listen.lastIndexOf(':')
  return { host: listen.slice(0, at).replace(/^\[|\]$/g, ''), port: Number(listen.slice(at + 1)) }
}

/** Errors reach the SDK's diagnostics as JSON with a stack: the message is what people want. */
function plain(message: string): string {
  if (!message.startsWith('{')) return message
  try {
    const { message: inner } = JSON.parse(message) as { message?: unknown }
    return typeof inner === 'string' ? inner : message
  } catch {
    return message
  }
}

async function freePort(host: string): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, host, resolve)
  })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function prometheus(listen: string): Promise<{ reader: PrometheusExporter; url: string }> {
  const { host, port: asked } = splitListen(listen)
  // The exporter takes 0 for "the default port": a free one is found here.
  const port = asked === 0 ? await freePort(host) : asked
  // Without target_info: it would carry resource attributes such as host names. Scope labels say nothing here.
  const reader = new PrometheusExporter({ host, port, preventServerStart: true, withoutTargetInfo: true, withoutScopeInfo: true })
  try {
    await reader.startServer()
  } catch (cause) {
    throw new SluiceError('SLU_ENV_PORT', `observability.metrics.listen ${listen}`, cause)
  }
  return { reader, url: `http://${host}:${port}/metrics` }
}

/** Starts measuring. Rejects with SLU_ENV_PORT if the metrics port is taken. */
export async function startTelemetry(options: TelemetryOptions): Promise<RunningTelemetry> {
  const env = options.environment
  const hasOtlp = (signal: 'TRACES' | 'METRICS' | 'LOGS'): boolean => {
    const chosen = env[`OTEL_${signal}_EXPORTER`]
    if (chosen !== undefined && chosen !== '') return chosen !== 'none'
    return env['OTEL_EXPORTER_OTLP_ENDPOINT'] !== undefined || env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`] !== undefined
  }
  const scrape = options.metricsListen === null ? null : await prometheus(options.metricsListen)
  const metricReaders: IMetricReader[] = []
  if (scrape !== null) metricReaders.push(scrape.reader)
  if (hasOtlp('METRICS')) metricReaders.push(new PeriodicExportingMetricReader({ exporter: new OTLPMetricExporter() }))

  const sdk = startNodeSdk({
    logLevel: 'none',
    resourceAttributes: { 'service.name': env['OTEL_SERVICE_NAME'] ?? options.service, 'service.version': options.version, 'service.namespace': options.site },
    metricReaders,
    instrumentations: [new UndiciInstrumentation()],
    ...(options.spanProcessors !== undefined ? { spanProcessors: options.spanProcessors } : hasOtlp('TRACES') ? {} : { spanProcessors: [] }),
    ...(hasOtlp('LOGS') ? {} : { logRecordProcessors: [] }),
  })
  // The SDK's own diagnostics write to stdout by default, where `--json` promises one document.
  const say = (severity: 'error' | 'warn' | 'info' | 'debug') => (message: string) => options.onLog(severity, `opentelemetry: ${plain(message)}`)
  diag.setLogger(
    { error: say('error'), warn: say('warn'), info: say('info'), debug: say('debug'), verbose: say('debug') },
    { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true },
  )

  const port = telemetryOverApi(options.onLog)
  return {
    ...port,
    metricsUrl: scrape?.url ?? null,
    shutdown: async () => {
      const bound = new Promise<void>((resolve) => setTimeout(resolve, SHUTDOWN_MS).unref())
      // A collector that cannot be reached makes shutdown reject: measurements are lost, the process goes on ending in order.
      await Promise.race([sdk.shutdown().catch((error: unknown) => options.onLog('warn', 'opentelemetry: not everything could be exported', { reason: String(error) })), bound])
      for (const api of [metrics, trace, context, propagation, logs, diag]) api.disable()
    },
  }
}

function telemetryOverApi(onLog: TelemetryOptions['onLog']): Telemetry {
  const meter = metrics.getMeter('sluice', undefined, { schemaUrl: SCHEMA_URL })
  const tracer = trace.getTracer('sluice')
  const logger = logs.getLogger('sluice', undefined, { schemaUrl: SCHEMA_URL })
  const rows = new Map<string, Instrument>(Object.values(instruments).map((row) => [row.name, row]))
  const made = new Map<string, (value: number, attributes: Attributes) => void>()
  const refused = new Set<string>()
  const shown = (attributes: Attributes | undefined): Attributes =>
    shownOf(attributes, (name) => {
      if (refused.has(name)) return
      refused.add(name)
      onLog('warn', `attribute ${name} is not in the table and is not shown`)
    })

  const instrument = (name: string): ((value: number, attributes: Attributes) => void) => {
    const known = made.get(name)
    if (known !== undefined) return known
    const row = rows.get(name)
    let write: (value: number, attributes: Attributes) => void = () => {}
    if (row === undefined) onLog('warn', `metric ${name} is not in the table and is not measured`)
    else {
      const options = { unit: row.unit, description: row.description }
      if (row.type === 'counter') {
        const i = meter.createCounter(name, options)
        write = (v, a) => i.add(v, a)
      } else if (row.type === 'gauge') {
        const i = meter.createGauge(name, options)
        write = (v, a) => i.record(v, a)
      } else {
        const i = meter.createHistogram(name, { ...options, advice: { explicitBucketBoundaries: [...(row.buckets ?? [])] } })
        write = (v, a) => i.record(v, a)
      }
    }
    made.set(name, write)
    return write
  }

  const span = (start: SpanStart): Span => {
    const parent = start.parent === undefined ? ROOT_CONTEXT : propagation.extract(ROOT_CONTEXT, start.parent)
    const links = (start.links ?? []).map((carrier) => trace.getSpanContext(propagation.extract(ROOT_CONTEXT, carrier))).filter((c) => c !== undefined)
    const s = tracer.startSpan(start.name, { kind: KINDS[start.kind], attributes: shown(start.attributes), links: links.map((c) => ({ context: c })) }, parent)
    const carrier: Record<string, string> = {}
    propagation.inject(trace.setSpan(parent, s), carrier)
    return {
      carrier,
      set: (attributes) => void s.setAttributes(shown(attributes)),
      end: (error) => {
        if (error !== undefined) {
          s.setStatus({ code: SpanStatusCode.ERROR, message: error.code })
          s.setAttribute('error.type', error.code)
        }
        s.end()
      },
    }
  }

  return {
    count: (name, value, attributes) => instrument(name)(value, shown(attributes)),
    record: (name, value, attributes) => instrument(name)(value, shown(attributes)),
    gauge: (name, value, attributes) => instrument(name)(value, shown(attributes)),
    span,
    log: (severity, message, attributes) => {
      onLog(severity, message, attributes)
      logger.emit({ severityNumber: SEVERITY[severity], severityText: severity.toUpperCase(), body: message, attributes: shown(attributes) })
    },
  }
}

/**
 * Runs endpoint calls inside the trace their headers name, so that the HTTP client's own span becomes its child
 * and the endpoint receives that child's context: one trace from producer to endpoint to result.
 */
export function tracedCall(call: EndpointCall): EndpointCall {
  return (request) => {
    const { traceparent, tracestate, ...headers } = request.headers
    if (traceparent === undefined) return call(request)
    const parent = propagation.extract(ROOT_CONTEXT, { traceparent, ...(tracestate === undefined ? {} : { tracestate }) })
    // With no propagator registered (SDK disabled) nothing would put the header back: leave it as it is.
    if (trace.getSpanContext(parent) === undefined) return call(request)
    return context.with(parent, () => call({ ...request, headers }))
  }
}

/** A port that measures nothing, for commands that only look. */
export const silentTelemetry: Telemetry = {
  count: () => {},
  record: () => {},
  gauge: () => {},
  span: (start) => ({ carrier: start.parent ?? {}, set: () => {}, end: () => {} }),
  log: () => {},
}
