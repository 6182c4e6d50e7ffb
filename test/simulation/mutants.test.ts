/** The mutation proof: its table, and a cheap part of it. `npm run simulate -- --mutations` runs all. */
import { readFileSync } from 'node:fs'
import test from 'ava'
import { mutated } from './load-mutated.ts'
import { MUTANTS, type Mutant } from './mutants.ts'
import { prove } from './prove.ts'
import { simulationOf } from './simulations.ts'

/** Not among them: W9 (signals, nothing rests on them) and W11 (the sinks’ own, test/infra/ledger and test/infra/aws). */
const INVARIANTS = 'C1 C2 C3 C4 C5 C6 C7 C8 D1 D2 D3 D4 D5 D6 R1 T1 T2 T3 W1 W2 W3 W4 W5 W6 W7 W8 W10'.split(' ')

test('mutants: every invariant of the runtime has a guard whose absence is looked for', (t) => {
  const named = new Set(MUTANTS.flatMap(({ invariants }) => invariants))
  t.deepEqual(
    INVARIANTS.filter((name) => !named.has(name)),
    [],
  )
  t.deepEqual(
    [...named].filter((name) => !INVARIANTS.includes(name)),
    [],
  )
})

test('mutants: every text of a guard stands in its file once, and every simulation exists', (t) => {
  t.true(MUTANTS.length > 80)
  t.is(new Set(MUTANTS.map(({ name }) => name)).size, MUTANTS.length)
  for (const mutant of MUTANTS) {
    const source = readFileSync(new URL(`../../${mutant.file}`, import.meta.url), 'utf8')
    t.notThrows(() => mutated(source, mutant), mutant.name)
    t.not(mutated(source, mutant), source, mutant.name)
    t.deepEqual(
      mutant.simulations.filter((name) => simulationOf(name) === undefined),
      [],
    )
  }
})

test('mutants: a guard whose text is gone, or stands there twice, fails loudly', (t) => {
  const at = (find: string) => ({ file: 'a.ts', edits: [[find, '']] as const })
  t.throws(() => mutated('one two', at('three')), { message: /a\.ts holds the text of the guard 0 times/ })
  t.throws(() => mutated('one one', at('one')), { message: /2 times/ })
  t.is(mutated('one two', at('one ')), 'two')
})

const CHEAP = [
  'position-committed',
  'offered-before-acknowledged',
  'truncation-not-told',
  'versions-not-looked-at',
  'key-opens-while-one-rests',
  'dead-letter-without-key',
  'starts-while-unwritable',
  'lanes-for-nobody',
  'late-is-folded',
  'results-read-before-fenced',
]

for (const name of CHEAP)
  test.serial(`mutants: without its guard ${name} is noticed`, async (t) => {
    t.timeout(120_000)
    const proof = await prove(MUTANTS.find((mutant) => mutant.name === name) as Mutant, 1, 100)
    t.not(proof.seed, null)
    t.not(proof.said, '')
  })

test.serial('mutants: a change that takes no guard away survives, so the proof can fail', async (t) => {
  const harmless: Mutant = { name: 'harmless', invariants: [], file: 'streams/places.ts', edits: [['let free = placesMax', 'let free = 0 + placesMax']], simulations: ['task-key'] }
  const proof = await prove(harmless, 1, 5)
  t.deepEqual([proof.seed, proof.runs], [null, 5])
})
