/** The telemetry pipeline under the simulation, with the real functions. A failing seed is printed with how to replay it. */
import test from 'ava'
import { simulateSite } from './telemetry-site.ts'

const SEEDS = 60

test(`telemetry: over ${SEEDS} seeds every scrape ends in one window, late or a dead letter, and the windows say what was scraped (N2, W1–W10, C1)`, async (t) => {
  t.timeout(180_000)
  const sum = { scrapes: 0, windows: 0, late: 0, deadLetters: 0, kills: 0, zombies: 0, moves: 0, outages: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const run = await simulateSite(seed)
    t.deepEqual([run.lost, run.wrong, run.doubled, run.breaches], [0, 0, 0, []], `npm run simulate -- telemetry --seed ${seed}`)
    for (const name of Object.keys(sum) as (keyof typeof sum)[]) sum[name] += run[name]
  }
  // A simulation that hurts nothing shows nothing.
  t.true(sum.scrapes > SEEDS * 55 && sum.windows > SEEDS * 15 && sum.late > SEEDS && sum.deadLetters > SEEDS * 4, JSON.stringify(sum))
  t.true(sum.kills > SEEDS * 5 && sum.zombies > SEEDS * 3 && sum.moves > SEEDS * 3 && sum.outages > SEEDS, JSON.stringify(sum))
})

test('telemetry: a seed replays the same run, so a failure can be looked at', async (t) => {
  t.deepEqual(await simulateSite(7), await simulateSite(7))
})
