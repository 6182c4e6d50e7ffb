import test from 'ava'
import { createHardware, type SimulatedFault } from '../../../../infra/endpoints/simulator/hardware.ts'
import { seededRandom } from '../../../../infra/endpoints/simulator/seeded-random.ts'

const HOSTS = [
  { host: 'tray-01', kind: 'blackwell' as const, devices: 2, namespace: 'tenant-a' },
  { host: 'trn-01', kind: 'trainium3' as const, devices: 2, namespace: 'tenant-b' },
]
const hardware = (faults: SimulatedFault[] = [], seed = 1) => createHardware(HOSTS, faults, seededRandom(seed))
const value = (text: string | undefined, field: string, gpu: number): number => Number(new RegExp(`^${field}\\{gpu="${gpu}"[^}]*\\} (\\S+)$`, 'm').exec(text ?? '')?.[1])
const idle = (): number => 0

test('hardware: the same seed gives the same pages; energy never falls', (t) => {
  const [a, b] = [hardware(), hardware()]
  let energy = 0
  for (let ms = 0; ms <= 5000; ms += 1000) {
    const page = a.scrape(ms, idle)
    t.deepEqual(page, b.scrape(ms, idle))
    const now = value(page[0]?.text, 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 0)
    t.true(now >= energy)
    energy = now
  }
  t.notDeepEqual(hardware([], 2).scrape(0, idle), hardware().scrape(0, idle))
})

test('hardware: an XID is a sticky gauge on one GPU only, and the recovery action follows it', (t) => {
  const h = hardware([{ atMs: 2000, kind: 'xid', code: 79, host: 'tray-01', gpu: 1 }])
  const xids = [0, 1000, 2000, 3000].map((ms) => {
    const text = h.scrape(ms, idle)[0]?.text
    return [value(text, 'DCGM_FI_DEV_XID_ERRORS', 0), value(text, 'DCGM_FI_DEV_XID_ERRORS', 1), value(text, 'DCGM_FI_DEV_GPU_RECOVERY_ACTION', 1)]
  })
  t.deepEqual(xids, [
    [0, 0, 0],
    [0, 0, 0],
    [0, 79, 0],
    [0, 79, 2],
  ])
})

test('hardware: a thermal ramp raises the temperature past the slow-down limit, slows that GPU only, and never reaches shutdown', (t) => {
  const h = hardware([{ atMs: 1000, kind: 'thermal-ramp', host: 'tray-01', gpu: 0, overMs: 4000 }])
  const temperatures: number[] = []
  for (let ms = 0; ms <= 20_000; ms += 500) temperatures.push(value(h.scrape(ms, idle)[0]?.text, 'DCGM_FI_DEV_GPU_TEMP', 0))
  t.true((temperatures[0] as number) < 70)
  t.true((temperatures.at(-1) as number) > 85)
  t.true(Math.max(...temperatures) < 95)
  t.deepEqual([h.slowdownOf('tray-01', 0), h.slowdownOf('tray-01', 1), h.slowdownOf('other', 0)], [3, 1, 1])
})

test('hardware: a Neuron uncorrectable error is counted once; a silent host publishes nothing and comes back', (t) => {
  const h = hardware([
    { atMs: 1000, kind: 'neuron-uncorrectable', host: 'trn-01', device: 1 },
    { atMs: 2000, kind: 'silent', host: 'tray-01', forMs: 2000 },
  ])
  const seen = [0, 1000, 2000, 3000, 4000].map((ms) => h.scrape(ms, idle))
  const sram = (page: (typeof seen)[number]): number => {
    const text = page.find((s) => s.topic === 'telemetry.neuron')?.text ?? ''
    return (
      (JSON.parse(text) as { system_data: { neuron_hw_counters: { neuron_devices: { sram_ecc_uncorrected: number }[] } } }).system_data.neuron_hw_counters.neuron_devices[1]
        ?.sram_ecc_uncorrected ?? -1
    )
  }
  t.deepEqual(seen.map(sram), [0, 1, 1, 1, 1])
  t.deepEqual(
    seen.map((page) => page.some((s) => s.host === 'tray-01')),
    [true, true, false, false, true],
  )
})

test('hardware: the load of the model servers shows in the utilisation', (t) => {
  const [busy, calm] = [hardware(), hardware()]
  let pages: [string | undefined, string | undefined] = ['', '']
  for (let ms = 0; ms <= 60_000; ms += 1000) pages = [busy.scrape(ms, () => 1)[0]?.text, calm.scrape(ms, idle)[0]?.text]
  t.true(value(pages[0], 'DCGM_FI_DEV_GPU_UTIL', 0) > value(pages[1], 'DCGM_FI_DEV_GPU_UTIL', 0) + 30)
})
