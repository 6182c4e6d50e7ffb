import test from 'ava'
import { document, printed, shortcomings } from './report.ts'
import type { ChaosOptions, ChaosResult } from './run.ts'

const options: ChaosOptions = { seed: 1, samples: 10, requests: 1, spanMs: 1000, memberKills: 2, brokerKills: 1, zombies: 1, cuts: 1, isKept: false }

const good: ChaosResult = {
  seed: 1,
  verdict: {
    lost: 0,
    wrong: 0,
    doubled: 0,
    windows: 5,
    results: 3,
    samples: 10,
    late: 1,
    lateUnplanned: 0,
    deadLetters: {},
    repeats: { canonical: 0, windows: 0, late: 0, deadLetters: 0 },
    ticks: 1,
    faults: [],
  },
  kills: { member: 2, broker: 1, zombie: 1, cut: 1 },
  crashes: [],
  startRetries: 0,
  isDrained: true,
  published: { scrapes: 10, requests: 1, sendsRepeated: 0 },
  input: { samples: 10, scrapes: 10, requests: 1 },
  executions: 3,
  durations: { startMs: 1, inputMs: 1, drainMs: 1, compareMs: 1 },
  dir: '',
}

test('chaos report: a run that met every fault and compared something is whole', (t) => {
  t.deepEqual(shortcomings(options, good), [])
})

test('chaos report: fewer faults than asked for, no fault at all, nothing or too little compared, not drained, a crash: each is a shortcoming', (t) => {
  const { kills, verdict } = good
  for (const kind of ['member', 'broker', 'zombie', 'cut'] as const) t.is(shortcomings(options, { ...good, kills: { ...kills, [kind]: 0 } }).length, 1, kind)
  const none = { member: 0, broker: 0, zombie: 0, cut: 0 }
  t.deepEqual(shortcomings({ ...options, memberKills: 0, brokerKills: 0, zombies: 0, cuts: 0 }, { ...good, kills: none }), ['no fault was met'])
  t.is(shortcomings(options, { ...good, verdict: { ...verdict, windows: 0 } }).length, 1)
  t.is(shortcomings(options, { ...good, verdict: { ...verdict, results: 0 } }).length, 1)
  t.is(shortcomings(options, { ...good, verdict: { ...verdict, lateUnplanned: 2 } }).length, 1)
  t.is(shortcomings(options, { ...good, isDrained: false }).length, 1)
  t.is(shortcomings(options, { ...good, crashes: ['telemetry-1 ended by itself'] }).length, 1)
})

test('chaos report: the document holds the counts, the kills by kind, the seed and the durations; the text ends with the counts', (t) => {
  const json = JSON.parse(JSON.stringify(document(options, good, [])))
  t.like(json, { lost: 0, wrong: 0, doubled: 0, kills: { member: 2, broker: 1, zombie: 1, cut: 1 }, seed: 1, durations: { startS: 0 } })
  t.regex(printed(good, []), /\nlost 0, wrong 0, doubled 0\n$/)
})
