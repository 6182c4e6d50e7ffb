import test from 'ava'
import { loadHandler } from '../../cli/load-handler.ts'
import { notes } from '../../examples/02-lambda-handler.ts'
import { headerOf, runnerWorld } from '../helpers/runner-world.ts'

test('example 2: a Powertools handler runs unchanged; what fails of a batch is parked, the rest is done', async (t) => {
  // Powertools prints what it cannot parse; here that is on purpose.
  const { error } = console
  console.error = () => undefined
  t.teardown(() => (console.error = error))
  const definition = await loadHandler(new URL('../../examples/02-lambda-handler.ts', import.meta.url).pathname, { topics: ['health.notes'] })
  const w = runnerWorld({ 'health.notes': 1, 'health.notes.dlq': 1 })
  const values = ['{"device":"a","text":"one"}', 'no json', '{"device":"b","text":""}', '{"device":"c","text":"three"}']
  w.log.append(values.map((value) => ({ topic: 'health.notes', key: null, value: Buffer.from(value) })))
  const runner = w.runner(definition, 'p')
  await runner.start()
  await w.until('drained', () => runner.drained(), 300_000)
  t.deepEqual(
    [...notes],
    [
      ['a', 'one'],
      ['c', 'three'],
    ],
  )
  t.deepEqual(
    w.log.dump('health.notes.dlq').map((r) => [r.value?.toString(), headerOf(r, 'sluice.attempts')]),
    [
      ['no json', '11'],
      ['{"device":"b","text":""}', '11'],
    ],
  )
  await runner.stop(1000)
})
