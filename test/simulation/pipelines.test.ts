/** One function of each kind under the simulation. A failing seed is printed with how to replay it. */
import test from 'ava'
import { KINDS } from './pipeline-functions.ts'
import { simulatePipeline } from './pipelines.ts'

const SEEDS = 70

for (const kind of KINDS)
  test(`${kind}: over ${SEEDS} seeds of deaths, zombies, outages, resets and poison every record ends in its place, and no guard is passed (C1–C8, D1–D6, T1, T2)`, async (t) => {
    t.timeout(120_000)
    const sum = { records: 0, kills: 0, zombies: 0, moves: 0, stops: 0, outages: 0, resets: 0, truncations: 0, redrives: 0, refusals: 0 }
    for (let seed = 1; seed <= SEEDS; seed++) {
      const run = await simulatePipeline(seed, kind)
      t.deepEqual([run.lost, run.wrong, run.doubled, run.breaches], [0, 0, 0, []], `npm run simulate -- ${kind} --seed ${seed}`)
      for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += run[name]
    }
    // A simulation that hurts nothing shows nothing.
    t.true(sum.records > SEEDS * 50 && sum.kills > SEEDS * 2 && sum.zombies > SEEDS && sum.moves > SEEDS * 2 && sum.stops > SEEDS / 3, JSON.stringify(sum))
    t.true(
      [sum.outages, sum.refusals].every((n) => n > SEEDS / 10),
      JSON.stringify(sum),
    )
  })

test('pipelines: a seed replays the same run, so a failure can be looked at', async (t) => {
  for (const kind of KINDS) t.deepEqual(await simulatePipeline(7, kind), await simulatePipeline(7, kind))
})
