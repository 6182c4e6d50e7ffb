import test from 'ava'
import { createHardware } from '../../../../infra/endpoints/simulator/hardware.ts'
import { seededRandom } from '../../../../infra/endpoints/simulator/seeded-random.ts'
import { dcgmFieldByName } from '../../../../functions/normalize-telemetry/dcgm-fields.ts'

const page = createHardware([{ host: 'tray-01', kind: 'blackwell', devices: 4, namespace: 'tenant-a' }], [], seededRandom(1)).scrape(0, () => 0)[0]?.text ?? ''

test('dcgm-text: every line is a comment or a sample of a field that our own reader knows, four GPUs each', (t) => {
  const samples = page.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  t.true(page.endsWith('\n'))
  const names = new Set<string>()
  for (const line of samples) {
    const match = /^(DCGM_FI_[A-Z_]+)\{(.*)\} (-?\d+(?:\.\d+)?)$/.exec(line)
    t.truthy(match, line)
    names.add(match?.[1] ?? '')
    t.regex(match?.[2] ?? '', /gpu="[0-3]".*hostname="tray-01".*namespace="tenant-a"/)
  }
  for (const name of names) t.true(dcgmFieldByName.has(name), name)
  t.is(samples.length, names.size * 4)
})
