import test from 'ava'
import { pageOf, planScrapes, SAMPLES_PER_SCRAPE, type ScrapePlan } from './scrapes.ts'

const options = { seed: 3, samples: 200_000, spanMs: 120_000, partitions: 6, key: 'a key', lateAfterMs: 20_000, jitterMs: 2000 }

test('chaos scrapes: a seed makes the same input each time, another seed another', (t) => {
  const [a, b] = [planScrapes(options), planScrapes(options)]
  t.deepEqual(a, b)
  t.is(pageOf(a, a.published[17] as ScrapePlan['published'][number]), pageOf(b, b.published[17] as ScrapePlan['published'][number]))
  t.notDeepEqual(planScrapes({ ...options, seed: 4 }).published, a.published)
})

test('chaos scrapes: at least the samples asked for, within the span, of every kind, some again, some too late', (t) => {
  const plan = planScrapes(options)
  t.true(plan.samples >= 200_000 && plan.samples < 200_000 + SAMPLES_PER_SCRAPE)
  t.true((plan.published.at(-1)?.publishAt ?? Infinity) <= options.spanMs + options.jitterMs + 2000)
  t.deepEqual([...new Set(plan.published.map((s) => s.kind))].sort(), ['future', 'garbage', 'part', 'whole'])
  t.true(plan.published.length > new Set(plan.published.map((s) => `${s.h}/${s.k}`)).size + 50)
  t.true(plan.published.filter((s) => s.publishAt - s.eventAt >= options.lateAfterMs).length > 20)
})

test('chaos scrapes: one partition never gets a record, another falls silent in the middle and wakes up', (t) => {
  const plan = planScrapes(options)
  t.deepEqual(
    [0, 1, 2, 3, 4, 5].map((partition) => plan.hosts.some((h) => h.partition === partition)),
    [true, true, true, true, true, false],
  )
  const times = plan.published.filter((s) => plan.hosts[s.h]?.partition === 0 && s.kind === 'whole').map((s) => s.eventAt)
  t.true(times.some((at) => at < 40_000) && times.some((at) => at > 80_000))
  t.false(times.some((at) => at > 40_000 && at < 80_000))
})
