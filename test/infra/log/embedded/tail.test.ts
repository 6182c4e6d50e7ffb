import test from 'ava'
import type { SluiceError } from '../../../../schemas/errors.ts'
import { createMemoryLog } from '../../../fakes/memory-log.ts'
import { createVirtualClock } from '../../../fakes/virtual-clock.ts'

const options = { topic: 'a', partitions: 'all', from: 'start', committedOnly: true, untilEnd: false } as const

test('tail: closed at any moment it ends, never waits for ever; caughtUp then rejects instead of claiming', async (t) => {
  const log = createMemoryLog({ clock: createVirtualClock() })
  log.create('a', 1)
  log.append([{ topic: 'a', key: null, value: null }])
  for (let turns = 0; turns < 12; turns += 1) {
    const tail = await log.driver().reader().open(options)
    const ended = (async () => {
      for await (const _ of tail) if (turns === 0) continue
    })()
    for (let turn = 0; turn < turns; turn += 1) await Promise.resolve()
    await tail.close()
    await ended
  }
  const tail = await log.driver().reader().open(options)
  await tail.close()
  t.is(((await t.throwsAsync(tail.caughtUp)) as SluiceError).code, 'SLU_LOG_FAILED')
})

test('tail: what retention removed while it waited ends it with SLU_LOG_TRUNCATED, never a jump (C7)', async (t) => {
  const log = createMemoryLog({ clock: createVirtualClock() })
  log.create('a', 1)
  log.append(Array.from({ length: 3 }, () => ({ topic: 'a', key: null, value: null })))
  const tail = await log.driver().reader().open(options)
  log.truncate({ topic: 'a', partition: 0 }, 2n)
  const error = await t.throwsAsync(async () => {
    for await (const batch of tail) t.fail(`read ${batch.records.length}`)
  })
  t.is((error as SluiceError).code, 'SLU_LOG_TRUNCATED')
})
