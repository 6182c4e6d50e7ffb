import test from 'ava'
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { OutRecord } from '../../../../schemas/log.ts'
import type { Telemetry } from '../../../../schemas/ports.ts'
import type { Site } from '../../../../schemas/site.ts'
import { validateSite } from '../../../../schemas/validate-site.ts'
import { systemClock } from '../../../../infra/clock.ts'
import { startSimulatedSite, type SimulatedSite } from '../../../../infra/endpoints/simulator/site.ts'
import { testCodecs } from '../../../helpers/codecs.ts'
import { until } from '../../../helpers/until.ts'

const telemetry: Telemetry = { count: () => {}, record: () => {}, gauge: () => {}, log: () => {}, span: () => ({ carrier: {}, set: () => {}, end: () => {} }) }
const shipped = (): Site => validateSite(parse(readFileSync(new URL('../../../../site.yaml', import.meta.url), 'utf8'))).site as Site

async function open(site: Site): Promise<{ simulated: SimulatedSite; sent: OutRecord[]; closed: () => boolean }> {
  const sent: OutRecord[] = []
  let isClosed = false
  const producer = {
    send: async (records: readonly OutRecord[]) => {
      sent.push(...records)
      return records.map((r) => ({ topic: r.topic, partition: 0, offset: 0n }))
    },
    close: async () => {
      isClosed = true
    },
  }
  const simulated = await startSimulatedSite({ site, producer, topicPrefix: '', codecs: testCodecs(), telemetry, clock: systemClock, onProblem: () => {} })
  return { simulated, sent, closed: () => isClosed }
}

test('site: the shipped site has a server per endpoint and publishes nothing before it is told to; then hosts and requests', async (t) => {
  const site = shipped()
  const { simulated, sent, closed } = await open(site)
  t.deepEqual(
    simulated.endpoints.map((e) => e.id),
    site.pools.flatMap((p) => p.endpoints.map((e) => e.id)),
  )
  for (const endpoint of simulated.endpoints) t.is((await fetch(`${endpoint.url}/v2/health/ready`)).status, 200)
  t.is(sent.length, 0)
  simulated.startProducing()
  await until(
    () => simulated.stats().ids >= 3,
    20_000,
    () => `requests: ${simulated.stats().ids}`,
  )
  await simulated.stop()
  t.is(new Set(sent.filter((r) => r.topic === 'telemetry.dcgm').map((r) => r.key?.toString())).size, 16)
  t.is(new Set(sent.filter((r) => r.topic === 'telemetry.neuron').map((r) => r.key?.toString())).size, 4)
  t.true(closed())
  await t.throwsAsync(fetch(`${simulated.endpoints[0]?.url}/health`))
})

test('site: an endpoint that stands on no simulated host is left alone, and a site without simulation starts nothing', async (t) => {
  const site = shipped()
  const real = await open({ ...site, simulation: { ...(site.simulation as NonNullable<Site['simulation']>), hosts: [] } })
  t.deepEqual(real.simulated.endpoints, [])
  await real.simulated.stop()
  const none = await open({ ...site, simulation: undefined })
  none.simulated.startProducing()
  await none.simulated.stop()
  t.is(none.sent.length, 0)
})
