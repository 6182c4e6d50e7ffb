import test from 'ava'
import { partitionLines, ps } from '../../cli/ps.ts'
import { partitionRows, type PartitionRow } from '../../cli/site-status.ts'
import type { Output } from '../../cli/output.ts'
import { defineFunction, type MapFunction } from '../../streams/define-function.ts'
import { runnerWorld } from '../helpers/runner-world.ts'

test('ps: a partition that stands still says which and why, with its lags; the others of the function run on (W9)', async (t) => {
  const w = runnerWorld({ in: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] })
  const broken = defineFunction<MapFunction<null>>({
    kind: 'map',
    name: 'broken',
    inputs: ['in'],
    outputs: [],
    decode: (r) => {
      if (r.value?.toString() === 'poison') throw new TypeError('x')
      return null
    },
    handle: () => [],
  })
  w.log.failSends(1e9, 'SLU_LOG_UNREACHABLE', { topic: 'in.dlq' })
  w.log.append(
    [0, 1].flatMap((partition) => Array.from({ length: 3 }, (_, i) => ({ topic: 'in', partition, key: null, value: Buffer.from(partition === 0 && i === 1 ? 'poison' : 'fine') }))),
  )
  const runner = w.runner(broken, 'p')
  await runner.start()
  const rows = (): PartitionRow[] => partitionRows([{ name: 'broken', runner }], w.clock.nowMs())
  await w.until('held', () => rows().some((r) => r.state === 'held'))
  await w.until('the other one goes on', () => rows().some((r) => r.partition === 1 && r.committedLag === 0n))
  const held = rows().find((r) => r.partition === 0)
  t.like(held, { state: 'held', code: 'SLU_LOG_DLQ_UNWRITABLE', processingLag: 3n, inFlight: 3 })
  const [, first, why] = partitionLines(rows())
  t.regex(first ?? '', /^broken +in\/0 +held/, 'what stands still comes first')
  t.regex(why ?? '', /SLU_LOG_DLQ_UNWRITABLE/)
  let isStopped = false
  const stopping = runner.stop(100).then(() => (isStopped = true))
  await w.until('stopped', () => isStopped)
  await stopping
})

test('ps: where no process answers it says so, and does not hang', async (t) => {
  const output: Output = { isJson: true, line: () => undefined, json: () => undefined, note: () => undefined }
  await t.throwsAsync(ps({ siteFile: 'site.yaml', output, environment: {} }, [], { url: ['http://127.0.0.1:1'] }), { message: /SLU_ENV_NOT_RUNNING.*127.0.0.1:1\/status/ })
})
