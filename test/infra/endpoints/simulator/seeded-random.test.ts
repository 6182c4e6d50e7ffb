import test from 'ava'
import { seededRandom } from '../../../../infra/endpoints/simulator/seeded-random.ts'

test('seeded-random: the same seed repeats, another does not, and values never leave [0, 1)', (t) => {
  const take = (seed: number): number[] => {
    const random = seededRandom(seed)
    return Array.from({ length: 1000 }, () => random())
  }
  t.deepEqual(take(1), take(1))
  t.notDeepEqual(take(1), take(2))
  t.true(take(3).every((x) => x >= 0 && x < 1))
  t.true(Math.abs(take(4).reduce((a, b) => a + b, 0) / 1000 - 0.5) < 0.05)
})
