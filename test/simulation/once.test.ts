import test from 'ava'
import { seededRandom, simulateOnce } from './once.ts'

const SEEDS = 300

test('R1: over 300 seeds of kills, zombies, lost answers and wiped metadata no id is answered twice and none is left out', async (t) => {
  t.timeout(120_000)
  const sum = { ids: 0, kills: 0, zombies: 0, repeats: 0 }
  for (let seed = 1; seed <= SEEDS; seed++) {
    const run = await simulateOnce(seed)
    if (run.doubled + run.unanswered + run.wrong > 0) t.fail(JSON.stringify(run))
    sum.ids += run.ids
    sum.kills += run.kills
    sum.zombies += run.zombies
    sum.repeats += run.requests - run.ids
  }
  // A simulation that hurts nothing shows nothing.
  t.true(sum.ids > SEEDS * 40 && sum.kills > SEEDS * 3 && sum.zombies > SEEDS * 3 && sum.repeats > SEEDS * 10, JSON.stringify(sum))
})

test('R1: a seed replays the same run, so a failure can be looked at', async (t) => {
  t.deepEqual(await simulateOnce(7), await simulateOnce(7))
  t.not(seededRandom(1)(), seededRandom(2)())
})
