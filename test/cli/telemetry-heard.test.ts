import test from 'ava'
import { loadSite } from '../../cli/load-site.ts'
import { unheardNotes } from '../../cli/telemetry-heard.ts'
import { createMemoryLog } from '../fakes/memory-log.ts'
import { createVirtualClock } from '../fakes/virtual-clock.ts'
import { testCodecs } from '../helpers/codecs.ts'
import { nodeBatch } from '../helpers/node-batch.ts'
import { siteInFolder } from '../helpers/site.ts'

const codecs = testCodecs()

test('telemetry heard: names the rules whose signal is missing, whatever else lies in the topic', async (t) => {
  const site = siteInFolder()
  t.teardown(site.remove)
  const loaded = loadSite(site.file)
  const log = createMemoryLog({ clock: createVirtualClock() })
  log.create('hardware.telemetry', 2)
  const driver = log.driver('p')
  t.deepEqual(await unheardNotes(driver, loaded), ['no telemetry has arrived yet: no health rule has heard its signal'])
  const rows = [{ device: 'gpu-1', metric: 'sluice.gpu.xid', value: 0 }]
  log.append([
    { topic: 'hardware.telemetry', partition: 0, key: null, value: Buffer.from([0xc3, 0x01, 9, 9]) },
    { topic: 'hardware.telemetry', partition: 0, key: null, value: null },
    { topic: 'hardware.telemetry', partition: 1, key: null, value: codecs.encode('NodeBatch', nodeBatch(codecs, { node: 'n', observedMs: 1, rows, pool: 'p' })) },
  ])
  const notes = await unheardNotes(driver, loaded)
  t.true(notes.some((n) => n.startsWith('no telemetry of late holds sluice.gpu.recovery_action: recovery-reset')))
  t.false(notes.some((n) => n.includes('xid-79')))
})
