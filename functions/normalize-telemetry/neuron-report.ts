/**
 * One neuron-monitor report (telemetry.md §2): a JSON document of groups, each with `period` and `error`.
 *
 * Owns: which numbers become which rows. Utilisation is percent; execution counts are per period (delta); ECC are counters; `numeric` and
 * `numerical` both occur; latency percentiles may be null. A group whose `error` is not empty is missing, and noted (N2).
 * Decisions: what a runtime reports as a whole (executions, latency, memory, vCPU) is put on the lowest neuroncore it uses, so that its tenant is
 * known and a pool's total is right; without a core in use, on the node. Only `total_latency` is read: it is what a caller waits for.
 * With logical cores, core indexes are logical: a device has `neuroncore_per_device_count / logical_neuroncore_config` of them.
 * Invariants: N1 (pid, runtime tag, model, instance and pod names are never read), N2, N3. Every field is untrusted: own properties only.
 */
import type { AttributeMap } from '../../schemas/records.ts'
import { createBatchColumns, DICTIONARY_MAX, type BatchColumns, type BatchShape, type Device } from './batch-columns.ts'
import type { ScrapeContext } from './dcgm-scrape.ts'
import { noteProblem, type Problems } from './problems.ts'

export interface NeuronReport {
  readonly node: string
  readonly rack: string | null
  readonly shape: BatchShape
  readonly values: Float64Array
  readonly problems: Problems
}

type Json = Readonly<Record<string, unknown>>

const OUTCOMES = ['completed', 'completed_with_err', 'completed_with_num_err', 'timed_out', 'incorrect_input', 'failed_to_queue'] as const
const ERROR_TYPES: Readonly<Record<string, string>> = {
  generic: 'generic',
  numerical: 'numerical',
  numeric: 'numerical',
  transient: 'transient',
  model: 'model',
  runtime: 'runtime',
  hardware: 'hardware',
}
const PERCENTILES = ['p0', 'p1', 'p25', 'p50', 'p75', 'p99', 'p100'] as const
const ECC = [
  ['mem_ecc_corrected', 'corrected', 'hbm'],
  ['mem_ecc_uncorrected', 'uncorrected', 'hbm'],
  ['sram_ecc_corrected', 'corrected', 'sram'],
  ['sram_ecc_uncorrected', 'uncorrected', 'sram'],
] as const
const MODELS = new Set(['inferentia', 'inferentia2', 'trainium', 'trainium1', 'trainium2', 'trainium3'])

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value)
const isIndex = (text: string): boolean => /^\d{1,5}$/.test(text)

/** An own property; `__proto__` and friends give nothing. */
function own(value: unknown, name: string): unknown {
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined
}

interface Hardware {
  readonly model: string | null
  /** null = not known: cores then have no parent. */
  readonly coresPerDevice: number | null
}

class ReportReader {
  readonly problems: Problems = { noted: [], more: 0 }
  readonly columns: BatchColumns = createBatchColumns()
  readonly values: number[] = []
  private readonly context: ScrapeContext
  private readonly host: string
  private readonly pool: string | null
  private readonly document: Json
  private readonly hardware: Hardware
  private readonly deviceNamespaces: Json
  private readonly coreNamespaces: Json

  constructor(document: Json, host: string, context: ScrapeContext) {
    this.document = document
    this.host = host
    this.context = context
    this.pool = context.membership.poolOf(host).pool
    const hardware = this.group(document, 'neuron_hardware_info', '')
    this.hardware = hardwareOf(hardware)
    const k8s = this.group(document, 'neuron_k8s_info', '')
    this.deviceNamespaces = objectOr(own(k8s, 'neurondevices_k8s_info'))
    this.coreNamespaces = objectOr(own(k8s, 'neuroncores_k8s_info'))
  }

  read(): void {
    const runtimes = own(this.document, 'neuron_runtime_data')
    if (Array.isArray(runtimes)) runtimes.forEach((runtime, i) => this.runtime(runtime, `neuron_runtime_data[${i}]`))
    else if (runtimes !== undefined) noteProblem(this.problems, 'neuron_runtime_data', 'not a list')
    this.counters(this.group(own(this.document, 'system_data'), 'neuron_hw_counters', 'system_data.'))
  }

  /** A group of `parent`; undefined if it is absent or reports an error (noted). */
  private group(parent: unknown, name: string, path: string): Json | undefined {
    const group = own(parent, name)
    if (group === undefined || group === null) return undefined
    if (!isObject(group)) {
      noteProblem(this.problems, path + name, 'not an object')
      return undefined
    }
    const error = own(group, 'error')
    if (error === undefined || error === null || error === '') return group
    noteProblem(this.problems, path + name, 'the group reports an error')
    return undefined
  }

  private runtime(runtime: unknown, path: string): void {
    if (!isObject(runtime)) return noteProblem(this.problems, path, 'not an object')
    const error = own(runtime, 'error')
    if (typeof error === 'string' && error !== '') return noteProblem(this.problems, path, 'the runtime reports an error')
    const report = own(runtime, 'report')
    const cores = objectOr(own(this.group(report, 'neuroncore_counters', `${path}.`), 'neuroncores_in_use'))
    let lead: number | null = null
    for (const [core, facts] of Object.entries(cores)) {
      if (!isIndex(core)) {
        noteProblem(this.problems, `${path}.neuroncore_counters`, 'a core index is not a number')
        continue
      }
      const device = this.core(Number(core))
      lead ??= device
      this.add(device, 'hw.gpu.utilization', {}, own(facts, 'neuroncore_utilization'), 100, `${path}.neuroncore_counters`)
    }
    const on = lead ?? this.node()
    this.execution(this.group(report, 'execution_stats', `${path}.`), on, `${path}.execution_stats`)
    const used = own(this.group(report, 'memory_used', `${path}.`), 'neuron_runtime_used_bytes')
    this.add(on, 'hw.gpu.memory.usage', {}, own(used, 'neuron_device'), 1, `${path}.memory_used`)
    const vcpu = own(this.group(report, 'neuron_runtime_vcpu_usage', `${path}.`), 'vcpu_usage')
    for (const mode of ['user', 'system']) this.add(on, 'sluice.neuron.vcpu_usage', { mode }, own(vcpu, mode), 100, `${path}.neuron_runtime_vcpu_usage`)
  }

  private execution(stats: Json | undefined, on: number | null, path: string): void {
    const summary = own(stats, 'execution_summary')
    for (const outcome of OUTCOMES) this.add(on, 'sluice.neuron.execution', { outcome }, own(summary, outcome), 1, path)
    const errors = own(stats, 'error_summary')
    for (const [name, type] of Object.entries(ERROR_TYPES)) this.add(on, 'sluice.neuron.execution_errors', { 'error.type': type }, own(errors, name), 1, path)
    const latency = own(own(stats, 'latency_stats'), 'total_latency')
    for (const percentile of PERCENTILES) this.add(on, 'sluice.neuron.latency', { percentile }, own(latency, percentile), 1, path, true)
  }

  private counters(group: Json | undefined): void {
    const devices = own(group, 'neuron_devices')
    if (!Array.isArray(devices)) return
    for (const facts of devices) {
      const index = own(facts, 'neuron_device_index')
      if (typeof index !== 'number' || !Number.isSafeInteger(index) || index < 0 || index > 99_999) {
        noteProblem(this.problems, 'system_data.neuron_hw_counters', 'a device has no index')
        continue
      }
      const device = this.accelerator(index)
      for (const [name, type, memory] of ECC) this.add(device, 'hw.errors', { 'error.type': type, memory }, own(facts, name), 1, 'system_data.neuron_hw_counters')
    }
  }

  /** Adds `value ÷ divide`; absent and null are nothing. Several runtimes on one core or node add up (or, for latency, the largest stands). */
  private add(device: number | null, metric: string, attributes: AttributeMap, value: unknown, divide: number, path: string, isMax = false): void {
    if (value === undefined || value === null) return
    if (typeof value !== 'number' || !Number.isFinite(value)) return noteProblem(this.problems, path, 'a value is not a number')
    const row = device === null ? null : this.columns.row(device, metric, attributes)
    if (row === null) return noteProblem(this.problems, path, `more than ${DICTIONARY_MAX} devices`)
    const held = this.values[row.row] ?? 0
    const converted = value / divide
    if (row.isNew) this.values.push(converted)
    else this.values[row.row] = isMax ? Math.max(held, converted) : held + converted
  }

  private node(): number | null {
    return this.columns.device('node', () => ({ ...this.base('node'), id: this.context.pseudonyms.node(this.host) }))
  }

  private accelerator(index: number): number | null {
    return this.columns.device(`neuron/${index}`, () => ({
      ...this.base('neuron'),
      id: this.context.pseudonyms.device(this.host, 'neuron', index),
      tenant: this.tenant(own(this.deviceNamespaces, String(index))),
    }))
  }

  private core(index: number): number | null {
    const { pseudonyms } = this.context
    const { coresPerDevice } = this.hardware
    const parent = coresPerDevice === null ? null : Math.floor(index / coresPerDevice)
    return this.columns.device(`core/${index}`, () => ({
      ...this.base('neuroncore'),
      id: pseudonyms.device(this.host, 'neuroncore', index),
      parent: parent === null ? null : pseudonyms.device(this.host, 'neuron', parent),
      tenant: (parent === null ? null : this.tenant(own(this.deviceNamespaces, String(parent)))) ?? this.tenant(own(this.coreNamespaces, String(index))),
    }))
  }

  private base(type: string): Device {
    return { id: '', type, vendor: 'aws', model: this.hardware.model, parent: null, tenant: null, pool: this.pool }
  }

  private tenant(info: unknown): string | null {
    const namespace = own(info, 'namespace')
    return typeof namespace === 'string' && namespace.length <= 253 ? this.context.membership.tenantOf(namespace) : null
  }
}

const objectOr = (value: unknown): Json => (isObject(value) ? value : {})

function hardwareOf(info: Json | undefined): Hardware {
  const type = own(info, 'neuron_device_type')
  const cores = own(info, 'neuroncore_per_device_count')
  const logical = own(info, 'logical_neuroncore_config') ?? 1
  const isKnown = typeof cores === 'number' && typeof logical === 'number' && cores >= 1 && logical >= 1
  return { model: typeof type === 'string' && MODELS.has(type) ? `aws-${type}` : null, coresPerDevice: isKnown ? Math.max(1, Math.floor(cores / logical)) : null }
}

/** Returns the reason if nothing could be read. Deep and duplicate keys are no danger: JSON.parse does not recurse, and the last key stands. */
export function readNeuronReport(text: string, host: string, context: ScrapeContext): NeuronReport | { readonly failed: string } {
  let document: unknown
  try {
    document = JSON.parse(text)
  } catch {
    return { failed: 'not JSON' }
  }
  if (!isObject(document)) return { failed: 'not a JSON object' }
  const reader = new ReportReader(document, host, context)
  reader.read()
  if (reader.columns.rows === 0) return { failed: reader.problems.noted[0] ?? 'no group of neuron-monitor in it' }
  const { rack } = context.membership.poolOf(host)
  return { node: context.pseudonyms.node(host), rack, shape: reader.columns.shape(context.codecs), values: Float64Array.from(reader.values), problems: reader.problems }
}
