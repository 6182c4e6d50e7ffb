import test from 'ava'
import { simulateRouting } from './routing.ts'

const SEEDS = 150

test('R2, R3, R4, R7, R8: over 150 seeds of failing endpoints, flapping health and cancels no request is lost, late, misrouted or left behind', async (t) => {
  t.timeout(120_000)
  const sum = { requests: 0, calls: 0, failures: 0, busy: 0, doubts: 0, cancelled: 0, waited: 0 }
  const codes = new Set<string>()
  for (let seed = 1; seed <= SEEDS; seed++) {
    const run = await simulateRouting(seed)
    t.deepEqual(run.breaches, [], `seed ${seed}`)
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += run[name]
    for (const code of Object.keys(run.codes)) codes.add(code)
  }
  // A simulation that hurts nothing shows nothing.
  const { requests, failures, busy, doubts, cancelled, waited } = sum
  t.true(requests > SEEDS * 40 && [failures, busy, doubts, cancelled, waited].every((n) => n > SEEDS), JSON.stringify(sum))
  for (const code of ['ok', 'DEADLINE', 'CANCELLED', 'NO_ENDPOINT', 'ENDPOINT_FAILED', 'TENANT_LIMIT', 'INVALID', 'RESULT_TOO_LARGE'])
    t.true(codes.has(code === 'ok' ? code : `SLU_ROUTE_${code}`), code)
})

test('routing: a seed replays the same run, so a failure can be looked at', async (t) => {
  t.deepEqual(await simulateRouting(7), await simulateRouting(7))
})
