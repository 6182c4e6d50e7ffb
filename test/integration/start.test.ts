/** The whole site in one process, as a newcomer runs it: real processes, the embedded log, simulated accelerators. */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { sluice, siteInFolder, startSluice } from '../helpers/site.ts'
import { until } from '../helpers/until.ts'
import type { StartReport } from '../../cli/start.ts'
import type { Observed } from '../../cli/observe.ts'

test.serial('start: 20 s of the repository’s site end drained, with every request answered, no work for the faulted GPU and a verified ledger', async (t) => {
  t.timeout(120_000)
  const site = siteInFolder()
  const run = await sluice(['start', '--for', '20s', '--json', '--site', site.file])
  t.is(run.code, 0, run.stderr)
  const report = JSON.parse(run.stdout) as StartReport & { inference: Observed; health: { verdicts: Observed['verdicts'] }; egress: Observed['egress'] & { policy: string } }
  t.true(report.drained, run.stderr)
  t.true(report.simulated)
  t.true(report.inference.requests > 200)
  t.is(report.inference.results, report.inference.requests, 'a request was lost')
  t.is(report.inference.doubled, 0)
  t.is(report.inference.ok + report.inference.failed, report.inference.results + report.inference.earlier)
  t.true(report.inference.ok > report.inference.requests / 2)
  t.true(Object.keys(report.inference.byPool).length >= 2)

  const xid = report.health.verdicts.find((v) => v.verdict === 'DRAIN' && v.endpoints.includes('vllm-1'))
  t.truthy(xid, 'the XID 79 gave no verdict')
  t.true(
    xid !== undefined && xid.lastRequestMs !== null && xid.lastRequestMs <= xid.recordMs + 1000,
    `a request went to the faulted endpoint ${(xid?.lastRequestMs ?? 0) - (xid?.recordMs ?? 0)} ms after its record`,
  )
  t.true(report.health.verdicts.some((v) => v.endpoints.includes('neuron-1') && v.verdict === 'DO_NOT_ROUTE'))

  t.true(report.windows.closed >= 5)
  t.true(report.egress.released >= 1 && report.egress.withheld >= 1 && report.egress.denied >= 1, JSON.stringify(report.egress))
  t.regex(report.egress.policy, /unsigned/)
  t.true(report.ledger?.verified)
  t.true((report.ledger?.size ?? 0) >= report.egress.released + report.egress.withheld + report.egress.denied)
  for (const [name, f] of Object.entries(report.functions)) t.is(f.deadLetters, 0, `${name} parked records`)

  const verify = await sluice(['egress', 'verify', join(site.dir, '.sluice/ledger'), '--json'])
  t.is(verify.code, 0, verify.stderr)
  t.true(readdirSync(join(site.dir, '.sluice/carry'), { recursive: true }).length > 0)
  site.remove()
})

test.serial('start: SIGTERM in the middle of work ends with exit 0 within the grace, and a second start goes on where the first stopped', async (t) => {
  t.timeout(120_000)
  const site = siteInFolder((s) => (s.simulation.faults = []))
  const first = startSluice(['start', '--json', '--site', site.file])
  await until(() => first.stderr().includes('is running'), 60_000)
  await until(() => /requests [1-9]\d+/.test(first.stderr()), 60_000)
  first.child.kill('SIGTERM')
  const ended = await first.finished
  t.is(ended.code, 0, ended.stderr)
  const report = JSON.parse(ended.stdout) as StartReport
  t.true((report.functions['normalize-telemetry']?.in ?? 0) > 0)
  const second = await sluice(['start', '--for', '6s', '--json', '--site', site.file])
  t.is(second.code, 0, second.stderr)
  t.true((JSON.parse(second.stdout) as StartReport).drained, second.stderr)
  site.remove()
})

test.serial('start: SIGKILL in the middle of work loses no request: after a restart every one has exactly one result', async (t) => {
  t.timeout(120_000)
  const site = siteInFolder((s) => (s.simulation.faults = []))
  const first = startSluice(['start', '--json', '--site', site.file])
  await until(() => /requests [1-9]\d+/.test(first.stderr()), 60_000)
  first.child.kill('SIGKILL')
  await first.finished
  const second = await sluice(['start', '--for', '8s', '--json', '--site', site.file])
  t.is(second.code, 0, second.stderr)
  t.true((JSON.parse(second.stdout) as StartReport).drained, second.stderr)
  const read = async (topic: string): Promise<string[]> => {
    const tail = await sluice(['tail', topic, '--from', 'start', '--until-end', '--json', '--site', site.file])
    t.is(tail.code, 0, tail.stderr)
    return tail.stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => (JSON.parse(line) as { key: string }).key)
  }
  const asked = new Set(await read('inference.requests'))
  const answered = await read('inference.results')
  t.true(asked.size > 50)
  t.is(new Set(answered).size, answered.length, 'an id was answered twice')
  t.deepEqual(
    [...asked].filter((id) => !answered.includes(id)),
    [],
    'a request was lost',
  )
  site.remove()
})

test.serial('start: with transactional delivery the same site runs and ends drained, with nothing held', async (t) => {
  t.timeout(120_000)
  const site = siteInFolder((s) => {
    s.functions['normalize-telemetry'] = { delivery: 'transactional' }
    s.functions['assess-health'].delivery = 'transactional'
  })
  const run = await sluice(['start', '--for', '8s', '--json', '--site', site.file])
  t.is(run.code, 0, run.stderr)
  const report = JSON.parse(run.stdout) as StartReport
  t.true(report.drained, run.stderr)
  for (const name of ['normalize-telemetry', 'assess-health']) t.true((report.functions[name]?.out ?? 0) > 0, `${name} wrote nothing`)
  for (const [name, f] of Object.entries(report.functions)) t.is(f.deadLetters, 0, `${name} parked records`)
  site.remove()
})
