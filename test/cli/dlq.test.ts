import test from 'ava'
import { redrive } from '../../cli/dlq.ts'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, type MapFunction } from '../../streams/define-function.ts'
import { HEADER_REDRIVE } from '../../streams/redrive.ts'
import { headerOf, runnerWorld, text } from '../helpers/runner-world.ts'

const TOPICS: Parameters<typeof runnerWorld>[0] = { in: 2, out: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] }

function world() {
  const w = runnerWorld(TOPICS)
  const state = { isSick: true }
  const definition = defineFunction<MapFunction<string>>({
    kind: 'map',
    name: 'm',
    inputs: ['in'],
    outputs: ['out'],
    decode: (r) => {
      if (state.isSick && r.value?.toString().startsWith('bad') === true) throw new SluiceError('SLU_RECORD_UNDECODABLE', 'bad')
      return text(r)
    },
    handle: (value, r) => [{ to: 'topic', topic: 'out', key: r.key, value: Buffer.from(value), partition: r.partition }],
  })
  return { w, state, definition }
}

test('dlq retry: after the handler was corrected every dead letter is handled, in order, once', async (t) => {
  const { w, state, definition } = world()
  const values = Array.from({ length: 250 }, (_, i) => (i % 2 === 0 ? `bad${i}` : `ok${i}`))
  w.log.append(values.map((value) => ({ topic: 'in', partition: 1, key: Buffer.from('k'), value: Buffer.from(value) })))
  const runner = w.runner(definition, 'p')
  await runner.start()
  await w.until('drained', () => runner.drained())
  t.is(w.log.dump('in.dlq').length, 125)
  state.isSick = false
  const operator = w.log.driver('operator')
  t.is(await redrive(operator, 'in.dlq', (open) => [...open]), 125)
  t.is(await redrive(operator, 'in.dlq', (open) => [...open]), 0, 'a second time there is nothing left')
  await w.until('drained', () => runner.drained())
  const out = w.log.dump('out').map(text)
  t.deepEqual(
    out.filter((x) => x.startsWith('bad')),
    values.filter((x) => x.startsWith('bad')),
  )
  t.is(out.length, 250)
  const back = w.log.dump('in').filter((r) => headerOf(r, HEADER_REDRIVE) !== undefined)
  t.is(back[0]?.partition, 1)
  t.is(headerOf(back[0] as NonNullable<(typeof back)[0]>, HEADER_REDRIVE), 'in.dlq/1/0')
  await runner.stop(100)
})

test('dlq retry: two at once: the older is refused, and no dead letter is put back twice (D5)', async (t) => {
  const { w } = world()
  w.log.append(Array.from({ length: 10 }, (_, i) => ({ topic: 'in.dlq', partition: 0, key: null, value: Buffer.from(String(i)) })))
  const [first, second] = [w.log.driver('first'), w.log.driver('second')]
  let newer: Promise<number> | undefined
  const older = redrive(first, 'in.dlq', (open) => {
    // In the gap between reading and writing another operator begins.
    newer = redrive(second, 'in.dlq', (all) => [...all])
    return [...open]
  })
  const endings = await Promise.allSettled([older, new Promise((resolve) => setImmediate(resolve)).then(() => newer)])
  const putBack = w.log.dump('in').map(text)
  t.deepEqual(
    putBack.toSorted(),
    Array.from({ length: 10 }, (_, i) => String(i)),
  )
  t.is(putBack.length, 10)
  t.true(endings.some((e) => e.status === 'fulfilled'))
})

test('dlq retry: a source topic that is gone is named, and nothing is put back', async (t) => {
  const { w } = world()
  w.log.append({ topic: 'in.dlq', partition: 0, key: null, value: Buffer.from('x'), headers: [['__connect.errors.topic', Buffer.from('gone')]] })
  await t.throwsAsync(
    redrive(w.log.driver('o'), 'in.dlq', (open) => [...open]),
    { message: /SLU_LOG_TOPIC_MISSING.*gone/ },
  )
  t.is(w.log.dump('in.dlq').length, 1)
})
