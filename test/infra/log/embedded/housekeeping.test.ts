import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { createEmbeddedDriver } from '../../../../infra/log/embedded/driver.ts'
import type { LogDriver, TopicSpec } from '../../../../schemas/log.ts'
import { createVirtualClock } from '../../../fakes/virtual-clock.ts'
import { readTopic } from '../../../helpers/read-topic.ts'

const base: TopicSpec = { name: 'a', partitions: 1, replication: 1, timestampType: 'LogAppendTime', cleanup: 'delete', retentionMs: 60_000, maxMessageBytes: 1000 }
const DAY_MS = 24 * 3_600_000

async function contents(driver: LogDriver): Promise<string[]> {
  return (await readTopic(driver, 'a')).map((r) => `${r.offset}:${r.key === null ? '' : String(r.key)}=${r.value === null ? 'null' : String(r.value)}`)
}

async function withLog(spec: TopicSpec, housekeepingMs: number, run: (driver: LogDriver, clock: ReturnType<typeof createVirtualClock>) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-log-'))
  const clock = createVirtualClock()
  const driver = createEmbeddedDriver({ dir, clock, housekeepingMs })
  await driver.admin().createTopics([spec])
  try {
    await run(driver, clock)
  } finally {
    await driver.close()
    rmSync(dir, { recursive: true })
  }
}

test('housekeeping: retention drops what is too old, in bounded steps, and nothing younger; offsets go on', async (t) => {
  await withLog(base, 1000, async (driver, clock) => {
    const producer = driver.producer()
    await producer.send(Array.from({ length: 5000 }, () => ({ topic: 'a', key: null, value: Buffer.from('old') })))
    await clock.advance(50_000)
    await producer.send([{ topic: 'a', key: null, value: Buffer.from('young') }])
    t.is((await driver.admin().ranges('a'))[0]?.startOffset, 0n)
    await clock.advance(11_001)
    t.true(((await driver.admin().ranges('a'))[0]?.startOffset ?? 0n) >= 2000n)
    await clock.advance(2000)
    t.deepEqual(await contents(driver), ['5000:=young'])
    await clock.advance(60_000)
    t.deepEqual((await driver.admin().ranges('a'))[0], { partition: 0, startOffset: 5001n, endOffset: 5001n })
    t.is((await producer.send([{ topic: 'a', key: null, value: null }]))[0]?.offset, 5001n)
  })
})

test('housekeeping: compaction keeps the newest record of each key, and a deletion until readers had a day to see it', async (t) => {
  await withLog({ ...base, cleanup: 'compact', retentionMs: -1 }, 3_600_000, async (driver, clock) => {
    const send = (key: string, value: string | null): Promise<unknown> =>
      driver.producer().send([{ topic: 'a', key: Buffer.from(key), value: value === null ? null : Buffer.from(value) }])
    for (const value of ['1', '2', '3']) await send('x', value)
    await send('y', '1')
    await send('y', null)
    await clock.advance(3_600_000)
    t.deepEqual(await contents(driver), ['2:x=3', '4:y=null'])
    await send('x', '4')
    await clock.advance(DAY_MS)
    t.deepEqual(await contents(driver), ['5:x=4'])
    t.deepEqual((await driver.admin().ranges('a'))[0], { partition: 0, startOffset: 0n, endOffset: 6n })
  })
})
