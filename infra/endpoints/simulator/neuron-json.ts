/** A report of a SIMULATED neuron-monitor: one JSON document in the structure of the real one. Owns: the groups and their units (percent, counts per period, seconds). */
import type { SimulatedHost } from './accelerator.ts'

const CORES_PER_DEVICE = 8
const LOGICAL = 2
const MIB = 1_048_576

/** `passedMs` = since the report before; counts are of that period. */
export function neuronJson(host: SimulatedHost, passedMs: number): string {
  const period = Math.max(1, passedMs) / 1000
  const perDevice = CORES_PER_DEVICE / LOGICAL
  const cores: Record<string, unknown> = {}
  for (const a of host.accelerators)
    for (let core = 0; core < perDevice; core++)
      cores[String(a.index * perDevice + core)] = { neuroncore_utilization: Math.round(a.utilization * 1e4) / 100, flops: Math.round(a.utilization * 1e12) }
  const executions = host.accelerators.reduce((sum, a) => sum + a.executions, 0)
  const memory = host.accelerators.reduce((sum, a) => sum + a.memoryMib, 0) * MIB
  const mean = host.accelerators.reduce((sum, a) => sum + a.utilization, 0) / Math.max(1, host.accelerators.length)
  const latency = 0.01 + 0.02 * mean
  const group = { period, error: '' }
  const owner = { pod_name: 'simulated-0', namespace: host.namespace, container_name: ['server'] }
  return JSON.stringify({
    neuron_runtime_data: [
      {
        pid: 4242,
        address: '',
        neuron_runtime_tag: 'simulated',
        error: '',
        report: {
          neuroncore_counters: { ...group, neuroncores_in_use: cores },
          execution_stats: {
            ...group,
            error_summary: { generic: 0, numerical: 0, transient: 0, model: 0, runtime: 0, hardware: 0 },
            execution_summary: { completed: executions, completed_with_err: 0, completed_with_num_err: 0, timed_out: 0, incorrect_input: 0, failed_to_queue: 0 },
            latency_stats: {
              total_latency: { p0: latency * 0.8, p1: latency * 0.8, p25: latency * 0.9, p50: latency, p75: latency * 1.1, p99: latency * 1.6, p100: latency * 2 },
              device_latency: null,
            },
          },
          memory_used: { ...group, neuron_runtime_used_bytes: { host: 6_997_643_264, neuron_device: memory } },
          neuron_runtime_vcpu_usage: { ...group, vcpu_usage: { user: Math.round(mean * 5000) / 100, system: Math.round(mean * 1500) / 100 } },
        },
      },
    ],
    system_data: {
      neuron_hw_counters: {
        ...group,
        neuron_devices: host.accelerators.map((a) => ({
          neuron_device_index: a.index,
          mem_ecc_corrected: a.eccCorrected,
          mem_ecc_uncorrected: 0,
          sram_ecc_uncorrected: a.sramUncorrected,
          sram_ecc_corrected: 0,
        })),
      },
    },
    instance_info: { instance_name: '', instance_type: 'trn3-simulated', error: '' },
    neuron_hardware_info: {
      neuron_device_type: 'trainium3',
      neuron_device_version: 'simulated',
      neuron_device_count: host.accelerators.length,
      neuroncore_per_device_count: CORES_PER_DEVICE,
      logical_neuroncore_config: LOGICAL,
      error: '',
    },
    neuron_k8s_info: { period, neurondevices_k8s_info: Object.fromEntries(host.accelerators.map((a) => [String(a.index), owner])), error: '' },
  })
}
