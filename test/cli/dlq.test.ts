import test from 'ava'
import { countDlq, redrive } from '../../cli/dlq.ts'
import { SluiceError } from '../../schemas/errors.ts'
import { defineFunction, type MapFunction } from '../../streams/define-function.ts'
import type { LogDriver } from '../../schemas/log.ts'
import { HEADER_REDRIVE } from '../../streams/redrive.ts'
import { headerOf, runnerWorld, text } from '../helpers/runner-world.ts'

const TOPICS: Parameters<typeof runnerWorld>[0] = { in: 2, out: 2, 'in.dlq': [2, { timestampType: 'CreateTime' }] }

const all = { matches: () => true, limit: Infinity }

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
  t.is(await redrive(operator, 'in.dlq', all), 125)
  t.is(await redrive(operator, 'in.dlq', all), 0, 'a second time there is nothing left')
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

test('dlq retry: what one function parked, another that reads the same topic does not handle again, unless it is put back for all (D5)', async (t) => {
  const w = runnerWorld({ in: 1, out: 1, 'in.dlq': [1, { timestampType: 'CreateTime' }] })
  let isSick = true
  const copier = (name: string, isFussy: boolean) =>
    defineFunction<MapFunction<string>>({
      kind: 'map',
      name,
      inputs: ['in'],
      outputs: ['out'],
      decode: text,
      handle: (value) => {
        if (isFussy && isSick && value.startsWith('bad')) throw new SluiceError('SLU_RECORD_REFUSED', value)
        return [{ to: 'topic', topic: 'out', key: name, value: Buffer.from(value) }]
      },
    })
  const runners = [w.runner(copier('fussy', true), 'p'), w.runner(copier('easy', false), 'q')]
  const drained = (): boolean => runners.every((runner) => runner.drained())
  await Promise.all(runners.map((runner) => runner.start()))
  w.log.append(['bad1', 'ok2', 'bad3'].map((value) => ({ topic: 'in', partition: 0, key: Buffer.from('k'), value: Buffer.from(value) })))
  const outOf = (name: string): string[] =>
    w.log
      .dump('out')
      .filter((r) => r.key?.toString() === name)
      .map(text)
  await w.until('handled or parked', () => w.log.dump('in.dlq').length === 2 && drained())
  isSick = false
  const operator = w.log.driver('operator')
  t.is(await redrive(operator, 'in.dlq', { ...all, limit: 1 }), 1)
  await w.until('the copy is handled', () => outOf('fussy').length === 2 && drained())
  t.deepEqual(outOf('fussy'), ['ok2', 'bad1'])
  t.deepEqual(outOf('easy'), ['bad1', 'ok2', 'bad3'], 'the copy is not for it')
  t.is(runners[1]?.stats().skipped, 1)
  t.is(await redrive(operator, 'in.dlq', { ...all, isForAll: true }), 1)
  await w.until('handled by both', () => outOf('fussy').length === 3 && outOf('easy').length === 4 && drained())
  await Promise.all(runners.map((runner) => runner.stop(100)))
})

test('dlq retry: two at once: the older is refused, and no dead letter is put back twice (D5)', async (t) => {
  const { w } = world()
  w.log.append(Array.from({ length: 10 }, (_, i) => ({ topic: 'in.dlq', partition: 0, key: null, value: Buffer.from(String(i)) })))
  const [first, second] = [w.log.driver('first'), w.log.driver('second')]
  let newer: Promise<number> | undefined
  const older = redrive(first, 'in.dlq', {
    limit: Infinity,
    matches: () => {
      // In the gap between reading and writing another operator begins.
      newer ??= redrive(second, 'in.dlq', all)
      return true
    },
  })
  const endings = await Promise.allSettled([older, new Promise((resolve) => setImmediate(resolve)).then(() => newer)])
  const putBack = w.log.dump('in').map(text)
  t.deepEqual(
    putBack.toSorted(),
    Array.from({ length: 10 }, (_, i) => String(i)),
  )
  t.is(putBack.length, 10)
  t.true(endings.some((e) => e.status === 'fulfilled'))
  for (const ended of endings) if (ended.status === 'rejected') t.regex((ended.reason as Error).message, /SLU_LOG_FENCED.*in\.dlq: another redrive of this DLQ is running/)
  t.is(endings[0]?.status, 'rejected')
})

test('dlq retry: a source topic that is gone is named, and nothing is put back', async (t) => {
  const { w } = world()
  w.log.append({ topic: 'in.dlq', partition: 0, key: null, value: Buffer.from('before it') })
  w.log.append({ topic: 'in.dlq', partition: 1, key: null, value: Buffer.from('x'), headers: [['__connect.errors.topic', Buffer.from('gone')]] })
  await t.throwsAsync(redrive(w.log.driver('o'), 'in.dlq', all), { message: /SLU_LOG_TOPIC_MISSING.*gone/ })
  t.is(w.log.dump('in.dlq').length, 2)
  t.is(w.log.dump('in').length, 0)
})

test('dlq retry: a limit and a choice put back what they name, and the rest stays open', async (t) => {
  const { w } = world()
  w.log.append(Array.from({ length: 6 }, (_, i) => ({ topic: 'in.dlq', partition: i % 2, key: null, value: Buffer.from(String(i)) })))
  const operator = w.log.driver('operator')
  t.is(await redrive(operator, 'in.dlq', { ...all, limit: 4 }), 4)
  t.deepEqual(w.log.dump('in').map(text), ['0', '2', '4', '1'], 'by partition, then offset')
  t.deepEqual(await countDlq(operator, 'in.dlq'), { open: 2, redriven: 4, codes: { 'no code': 2 } })
  t.is(await redrive(operator, 'in.dlq', { ...all, partition: 1, matches: (l) => l.record.offset === 2n }), 1)
  t.deepEqual(w.log.dump('in').map(text), ['0', '2', '4', '1', '5'])
})

test('dlq ls: codes of foreign tools without end are counted together past a hundred', async (t) => {
  const { w } = world()
  w.log.append(Array.from({ length: 150 }, (_, i) => ({ topic: 'in.dlq', partition: 0, key: null, value: null, headers: [['sluice.error.code', Buffer.from(`X${i}`)]] as const })))
  const { open, codes } = await countDlq(w.log.driver('operator'), 'in.dlq')
  t.is(open, 150)
  t.is(Object.keys(codes).length, 101)
  t.is(codes['other codes'], 50)
})

/** A DLQ of one partition whose records are made when they are read, and a producer that counts. */
function endlessDlq(records: number, bytesEach: number): { driver: LogDriver; written: () => { records: number; most: number } } {
  let [written, most] = [0, 0]
  const refuse = (): never => {
    throw new Error('not part of this test')
  }
  const driver: LogDriver = {
    name: 'memory',
    capabilities: { transactions: true, commitMetadata: true, perPartitionPause: 'native', codecs: [] },
    consumer: refuse,
    producer: refuse,
    fencedProducer: async () => ({
      transaction: async (out) => {
        written += out.length - 1
        most = Math.max(most, out.length)
        return []
      },
      close: async () => {},
    }),
    reader: () => ({
      open: async () => ({
        caughtUp: Promise.resolve(),
        close: async () => {},
        async *[Symbol.asyncIterator]() {
          for (let i = 0; i < records; i++)
            yield {
              topic: 'in.dlq',
              partition: 0,
              readTo: BigInt(i + 1),
              records: [{ topic: 'in.dlq', partition: 0, offset: BigInt(i), timestampMs: 0, appendMs: null, key: null, value: Buffer.alloc(bytesEach), headers: [] }],
            }
        },
      }),
      close: async () => {},
    }),
    admin: () => ({
      topics: async () => [{ name: 'in', partitions: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1 }],
      createTopics: refuse,
      ranges: async () => [{ partition: 0, startOffset: 0n, endOffset: BigInt(records) }],
      committed: refuse,
      mayAppend: refuse,
      close: async () => {},
    }),
    close: async () => {},
  }
  return { driver, written: () => ({ records: written, most }) }
}

test('dlq: 2 GiB of dead letters are counted and put back without being held in memory', async (t) => {
  const [records, bytesEach] = [2048, 1 << 20]
  const { driver, written } = endlessDlq(records, bytesEach)
  let most = 0
  const matches = (): boolean => {
    most = Math.max(most, process.memoryUsage().arrayBuffers)
    return true
  }
  t.is((await countDlq(driver, 'in.dlq')).open, records)
  t.is(await redrive(driver, 'in.dlq', { matches, limit: Infinity }), records)
  t.deepEqual(written(), { records, most: 5 }, 'four MiB and the marker')
  t.true(most < (records * bytesEach) / 4, `${most} bytes of buffers at once`)
})
