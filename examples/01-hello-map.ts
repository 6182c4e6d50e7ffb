/**
 * Example 1: a handler of kind `map`. It reads dcgm-exporter scrapes and publishes one line of text per host and XID that is not zero.
 *
 * Run it with `sluice run examples/01-hello-map.ts` (its output topic is created by `sluice topics apply`). What it cannot read ends on
 * `telemetry.dcgm.dlq`, byte for byte, and the next record goes on.
 */
import { SluiceError } from '../schemas/errors.ts'
import { defineFunction, type Emit, type MapFunction } from '../streams/define-function.ts'

const XID = /^DCGM_FI_DEV_XID_ERRORS\{[^}]*gpu="(\d+)"[^}]*\}\s+(\d+)/

const helloMap: MapFunction<string[]> = defineFunction<MapFunction<string[]>>({
  kind: 'map',
  name: 'hello-map',
  inputs: ['telemetry.dcgm'],
  outputs: ['hardware.health'],
  decode: (record) => {
    if (record.value === null) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'no value')
    return record.value.toString('utf8').split('\n')
  },
  handle: (lines, record): Emit[] =>
    lines.flatMap((line) => {
      const [, gpu, xid] = XID.exec(line) ?? []
      if (gpu === undefined || xid === '0') return []
      return [{ to: 'topic', topic: 'hardware.health', key: record.key, value: Buffer.from(`gpu ${gpu}: xid ${xid}`) }]
    }),
})

export default helloMap
