import test from 'ava'
import { readFileSync } from 'node:fs'
import { createHardware } from '../../../../infra/endpoints/simulator/hardware.ts'
import { seededRandom } from '../../../../infra/endpoints/simulator/seeded-random.ts'

type Json = Record<string, unknown>
const at = (json: unknown, path: string): unknown => path.split('.').reduce<unknown>((node, key) => (node as Json | undefined)?.[key], json)

test('neuron-json: the groups have the names and types of a real report; utilisation is percent', (t) => {
  const hardware = createHardware([{ host: 'trn-01', kind: 'trainium3', devices: 4, namespace: 'tenant-a' }], [], seededRandom(1))
  hardware.scrape(0, () => 0)
  const report: unknown = JSON.parse(hardware.scrape(1000, () => 0.5)[0]?.text ?? '')
  const sample: unknown = JSON.parse(readFileSync(new URL('../../../samples/neuron-monitor.json', import.meta.url), 'utf8'))
  for (const path of [
    'neuron_runtime_data.0.report.neuroncore_counters.neuroncores_in_use.0.neuroncore_utilization',
    'neuron_runtime_data.0.report.execution_stats.execution_summary.completed',
    'neuron_runtime_data.0.report.execution_stats.latency_stats.total_latency.p99',
    'neuron_runtime_data.0.report.memory_used.neuron_runtime_used_bytes.neuron_device',
    'system_data.neuron_hw_counters.neuron_devices.0.sram_ecc_uncorrected',
    'neuron_hardware_info.neuroncore_per_device_count',
    'neuron_k8s_info.neurondevices_k8s_info.0.namespace',
  ])
    t.is(typeof at(report, path), typeof at(sample, path), path)
  t.true(Number(at(report, 'neuron_runtime_data.0.report.neuroncore_counters.neuroncores_in_use.15.neuroncore_utilization')) > 1)
})
