import test from 'ava'
import { readNeuronReport, type NeuronReport } from '../../../functions/normalize-telemetry/neuron-report.ts'
import { describeProblems } from '../../../functions/normalize-telemetry/problems.ts'
import { codecs, pseudonyms, sample, scrapeContext } from '../../helpers/telemetry.ts'

// oxlint-disable-next-line typescript/no-explicit-any -- a document to be broken in many ways
type Document = any

const document = (): Document => JSON.parse(sample('neuron-monitor.json').toString('utf8'))
const read = (doc: Document): NeuronReport => readNeuronReport(JSON.stringify(doc), 'trn-01', scrapeContext) as NeuronReport

function value(report: NeuronReport, metric: string, attribute?: string): number | undefined {
  const layout = codecs.decodeBare('NodeLayout', report.shape.layout)
  const at = layout.metrics.findIndex((m) => m.name === metric && (attribute === undefined || Object.values(m.attributes).includes(attribute)))
  const row = Array.from({ length: report.shape.rows }, (_, i) => i).find((i) => report.shape.metricIndex.readUInt16LE(i * 2) === at)
  return row === undefined ? undefined : report.values[row]
}

test('neuron-report: a group that reports an error is missing and noted, the others are read (N2)', (t) => {
  const doc = document()
  doc.neuron_runtime_data[0].report.execution_stats.error = 'canary text'
  const report = read(doc)
  t.is(value(report, 'sluice.neuron.execution'), undefined)
  t.truthy(value(report, 'hw.gpu.utilization'))
  t.is(describeProblems(report.problems), 'neuron_runtime_data[0].execution_stats: the group reports an error')
})

test('neuron-report: numeric and numerical are one error type, null latency is no value', (t) => {
  const doc = document()
  const stats = doc.neuron_runtime_data[0].report.execution_stats
  stats.error_summary = { numeric: 4 }
  stats.latency_stats.total_latency = { p50: null, p99: 0.5 }
  const report = read(doc)
  t.is(value(report, 'sluice.neuron.execution_errors', 'numerical'), 4)
  t.is(value(report, 'sluice.neuron.latency', 'p50'), undefined)
  t.is(value(report, 'sluice.neuron.latency', 'p99'), 0.5)
  stats.latency_stats.total_latency = null
  t.is(value(read(doc), 'sluice.neuron.latency'), undefined)
})

test('neuron-report: two runtimes that use no core add up on the node, and neither is lost', (t) => {
  const doc = document()
  const runtime = doc.neuron_runtime_data[0]
  runtime.report.neuroncore_counters.neuroncores_in_use = {}
  doc.neuron_runtime_data = [runtime, runtime]
  t.is(value(read(doc), 'sluice.neuron.execution', 'completed'), 3740)
  t.is(value(read(doc), 'sluice.neuron.latency', 'p99'), 0.0201)
})

test('neuron-report: logical cores find their device: core 5 of 4 a device lies on device 1', (t) => {
  const doc = document()
  doc.neuron_runtime_data[0].report.neuroncore_counters.neuroncores_in_use = { 5: { neuroncore_utilization: 50 } }
  t.is(codecs.decodeBare('NodeLayout', read(doc).shape.layout).devices[0]?.parent, pseudonyms.device('trn-01', 'neuron', 1))
})

test('neuron-report: hostile JSON ends as a report or a reason, never as a crash or a number that is none (D6)', (t) => {
  const doc = document()
  doc.neuron_runtime_data[0].report.neuroncore_counters.neuroncores_in_use = { 0: { neuroncore_utilization: '71' }, x: {}, 1: null }
  doc.neuron_runtime_data.push(null, 7, { error: 'died' })
  doc.system_data.neuron_hw_counters.neuron_devices.push({}, null, { neuron_device_index: -1 })
  const report = read(doc)
  t.is(value(report, 'hw.gpu.utilization'), undefined)
  t.regex(describeProblems(report.problems), /a value is not a number/)
  t.deepEqual(readNeuronReport('['.repeat(1_000_000), 'trn-01', scrapeContext), { failed: 'not JSON' })
  t.deepEqual(readNeuronReport(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'trn-01', scrapeContext), { failed: 'no group of neuron-monitor in it' })
  const twice = sample('neuron-monitor.json').toString('utf8').replace('"completed":1870', '"completed":1,"completed":1870')
  t.is(value(readNeuronReport(twice, 'trn-01', scrapeContext) as NeuronReport, 'sluice.neuron.execution', 'completed'), 1870)
  const proto = '{"__proto__":{"neuron_runtime_data":[]},"system_data":{"__proto__":{"neuron_hw_counters":{"neuron_devices":[{"neuron_device_index":0,"mem_ecc_corrected":9}]}}}}'
  t.true('failed' in readNeuronReport(proto, 'trn-01', scrapeContext))
})
