import { readFileSync } from 'node:fs'
import test from 'ava'
import helloMap from '../../examples/01-hello-map.ts'
import { headerOf, runnerWorld, text } from '../helpers/runner-world.ts'

test('example 1: it says which GPU had which XID, and what it cannot read never stops it', async (t) => {
  const w = runnerWorld({ 'telemetry.dcgm': 1, 'hardware.health': 1, 'telemetry.dcgm.dlq': 1 })
  const scrape = readFileSync(new URL('../samples/dcgm-exporter.prom', import.meta.url), 'utf8')
  const broken = scrape.replace(/^(DCGM_FI_DEV_XID_ERRORS\{[^}]*gpu="0"[^}]*\}\s+)\d+/m, '$179')
  t.not(broken, scrape.replace('x', 'y'))
  const runner = w.runner(helloMap, 'p')
  await runner.start()
  for (const value of [null, Buffer.from(broken)]) w.log.append({ topic: 'telemetry.dcgm', key: Buffer.from('host-1'), value })
  await w.until('drained', () => runner.drained())
  t.true(w.log.dump('hardware.health').map(text).includes('gpu 0: xid 79'))
  t.deepEqual(
    w.log.dump('telemetry.dcgm.dlq').map((r) => headerOf(r, 'sluice.error.code')),
    ['SLU_RECORD_UNDECODABLE'],
  )
  await runner.stop(1000)
})
