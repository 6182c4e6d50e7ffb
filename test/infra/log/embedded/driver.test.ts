/** What the embedded log promises beyond the conformance suite: durability, its lock, and files that cannot be used. */
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { createEmbeddedDriver } from '../../../../infra/log/embedded/driver.ts'
import { FILE_NAME } from '../../../../infra/log/embedded/database.ts'
import type { SluiceError } from '../../../../schemas/errors.ts'
import type { LogDriver, TopicSpec } from '../../../../schemas/log.ts'
import { join as joinGroup } from '../../../conformance/member.ts'
import { valuesOf } from '../../../helpers/read-topic.ts'
import { until } from '../../../helpers/until.ts'

const dirs: string[] = []
const newDir = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-log-'))
  dirs.push(dir)
  return dir
}
test.after.always(() => {
  for (const dir of dirs) rmSync(dir, { recursive: true, force: true })
})

const spec: TopicSpec = { name: 'a', partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1_000_000 }

const values = (driver: LogDriver): Promise<string[]> => valuesOf(driver, 'a')

const refusal = (dir: string): SluiceError => {
  try {
    createEmbeddedDriver({ dir })
  } catch (error) {
    return error as SluiceError
  }
  throw new Error('opened')
}

const CHILD = fileURLToPath(new URL('append-child.ts', import.meta.url))

test('embedded log: SIGKILL in the middle of writing loses nothing acknowledged, and what is found is a prefix', async (t) => {
  const dir = newDir()
  const child = spawn(process.execPath, [CHILD, dir], { stdio: ['ignore', 'pipe', 'inherit'] })
  let printed = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => (printed += chunk))
  const ended = new Promise<void>((resolve) => void child.once('close', () => resolve()))
  await until(() => printed.split('\n').length > 50, 30_000, 'the child acknowledges')
  const locked = refusal(dir)
  child.kill('SIGKILL')
  await ended
  t.is(locked.code, 'SLU_LOG_STORAGE')
  t.regex(locked.message, /log\.sqlite: locked: another process/)
  const acknowledged = Number(printed.slice(0, printed.lastIndexOf('\n')).split('\n').at(-1))
  const driver = createEmbeddedDriver({ dir })
  const found = await values(driver)
  t.true(acknowledged >= 1000)
  t.true(found.length >= acknowledged, `${found.length} found, ${acknowledged} acknowledged`)
  t.true(found.every((value, n) => value === String(n)))
  t.is((await driver.admin().ranges('a'))[0]?.endOffset, BigInt(found.length))
  await driver.close()
})

test('embedded log: records, commits with metadata and fences survive a restart', async (t) => {
  const dir = newDir()
  let driver = createEmbeddedDriver({ dir })
  await driver.admin().createTopics([spec])
  const holder = await driver.fencedProducer('h')
  await holder.transaction([{ topic: 'a', key: null, value: Buffer.from('one') }])
  const member = await joinGroup(driver, { group: 'g', topic: 'a' })
  await until(() => member.records().length === 1)
  await member.consumer.commit([{ topic: 'a', partition: 0, epoch: member.epochOf(0), nextOffset: 1n, metadata: 'kept' }])
  t.is(refusal(dir).code, 'SLU_LOG_STORAGE', 'an idle log is locked too')
  await driver.close()
  driver = createEmbeddedDriver({ dir })
  t.deepEqual(await values(driver), ['one'])
  t.deepEqual((await driver.admin().committed('g', 'a')).get(0), { nextOffset: 1n, metadata: 'kept' })
  const [first, second] = [await driver.fencedProducer('h'), await driver.fencedProducer('h')]
  t.is(((await t.throwsAsync(first.transaction([{ topic: 'a', key: null, value: null }]))) as SluiceError).code, 'SLU_LOG_FENCED')
  await second.transaction([{ topic: 'a', key: null, value: Buffer.from('two') }])
  t.deepEqual(await values(driver), ['one', 'two'])
  await driver.close()
})

test('embedded log: a full disk refuses the append by name, keeps what it had, and works again when there is room', async (t) => {
  const dir = newDir()
  let driver = createEmbeddedDriver({ dir, bytesMax: 300_000 })
  await driver.admin().createTopics([spec])
  const producer = driver.producer()
  let count = 0
  let error: SluiceError | undefined
  for (; error === undefined && count < 100; count += 1)
    error = await producer.send([{ topic: 'a', key: null, value: Buffer.alloc(20_000) }]).then(
      () => undefined,
      (thrown: unknown) => thrown as SluiceError,
    )
  t.is(error?.code, 'SLU_LOG_STORAGE')
  t.regex(String(error?.detail), /full: no space is left/)
  t.is((await values(driver)).length, count - 1)
  await driver.close()
  driver = createEmbeddedDriver({ dir })
  const [appended] = await driver.producer().send([{ topic: 'a', key: null, value: Buffer.alloc(20_000) }])
  t.is(appended?.offset, BigInt(count - 1))
  await driver.close()
})

test('embedded log: a file that is no database, a damaged one and a folder that cannot be are SLU_LOG_STORAGE with the file named', async (t) => {
  const foreign = newDir()
  writeFileSync(join(foreign, FILE_NAME), 'this is not a database, it only stands where one should be'.repeat(200))
  t.is(refusal(foreign).code, 'SLU_LOG_STORAGE')
  t.regex(refusal(foreign).detail, /log\.sqlite: damaged/)
  const damaged = newDir()
  const driver = createEmbeddedDriver({ dir: damaged })
  await driver.admin().createTopics([spec])
  await driver.close()
  const bytes = readFileSync(join(damaged, FILE_NAME))
  writeFileSync(join(damaged, FILE_NAME), bytes.fill(0xaa, 100))
  t.regex(refusal(damaged).detail, /log\.sqlite: damaged/)
  const taken = join(newDir(), 'taken')
  writeFileSync(taken, '')
  t.is(refusal(taken).code, 'SLU_LOG_STORAGE')
  const folder = newDir()
  mkdirSync(join(folder, FILE_NAME))
  t.regex(refusal(folder).detail, /cannot be opened/)
})
