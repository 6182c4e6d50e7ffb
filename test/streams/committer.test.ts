import test from 'ava'
import { SluiceError } from '../../schemas/errors.ts'
import type { CommitEntry, Committed } from '../../schemas/log.ts'
import type { Telemetry } from '../../schemas/ports.ts'
import { createCommitter, type CommitTarget } from '../../streams/committer.ts'

const telemetry = { log: () => undefined } as unknown as Telemetry

function target(partition: number, offers: Committed | null, topic = 't') {
  const facts = { committed: null as Committed | null, held: null as string | null }
  const running = {
    uncommitted: () => (facts.committed === null ? offers : null),
    committed: (c: Committed) => (facts.committed = c),
    hold: (e: SluiceError) => (facts.held = e.code),
    lastCommitted: () => facts.committed,
    status: () => ({ committed: facts.committed?.nextOffset ?? null }),
  }
  return { facts, target: { topic, partition, epoch: 1, running } as unknown as CommitTarget }
}

test('committer: one commit at a time, so an older one never lands after a newer one', async (t) => {
  let inFlight = 0
  let most = 0
  const commit = async (): Promise<void> => {
    most = Math.max(most, ++inFlight)
    await Promise.resolve()
    inFlight--
  }
  const committer = createCommitter({ commit }, telemetry)
  await Promise.all([0, 1, 2].map((p) => committer.commit([target(p, { nextOffset: 1n, metadata: '' }).target])))
  t.is(most, 1)
})

test('committer: an entry of a stale epoch is dropped and never takes the others with it (C3)', async (t) => {
  const sent: CommitEntry[] = []
  const commit = (entries: readonly CommitEntry[]): Promise<void> => {
    if (entries.some((e) => e.partition === 1)) return Promise.reject(new SluiceError('SLU_LOG_STALE_EPOCH', ''))
    sent.push(...entries)
    return Promise.resolve()
  }
  const [a, b] = [target(0, { nextOffset: 5n, metadata: 'm' }), target(1, { nextOffset: 6n, metadata: '' })]
  await createCommitter({ commit }, telemetry).commit([a.target, b.target])
  t.deepEqual(sent, [{ topic: 't', partition: 0, epoch: 1, nextOffset: 5n, metadata: 'm' }])
  t.is(a.facts.committed?.nextOffset, 5n)
  t.is(b.facts.committed, null)
})

test('committer: metadata above the bound holds the partition and is never sent (C2)', async (t) => {
  const one = target(0, { nextOffset: 5n, metadata: 'x'.repeat(3501) })
  await createCommitter({ commit: () => Promise.reject(new Error('sent')) }, telemetry).commit([one.target])
  t.is(one.facts.held, 'SLU_LOG_METADATA_TOO_LARGE')
})

test('committer: a failure that may pass never holds a partition: it is offered again until it is committed, told once, and shown meanwhile (C3)', async (t) => {
  const codes = ['SLU_LOG_FAILED', 'SLU_LOG_FAILED', 'SLU_LOG_NOT_READY', 'SLU_LOG_STORAGE', 'SLU_LOG_STORAGE'] as const
  const told: string[] = []
  const left: (typeof codes)[number][] = [...codes]
  const commit = (): Promise<void> => {
    const code = left.shift()
    return code === undefined ? Promise.resolve() : Promise.reject(new SluiceError(code, 'x'))
  }
  const one = target(0, { nextOffset: 5n, metadata: '' })
  const committer = createCommitter({ commit }, {
    log: (severity: string, message: string) => void told.push(`${severity} ${message.slice(0, message.indexOf(':'))}`),
  } as unknown as Telemetry)
  for (const code of codes) {
    await committer.commit([one.target])
    t.is(committer.refusal(one.target.running)?.code, code)
    t.deepEqual([one.facts.held, one.facts.committed], [null, null])
  }
  await committer.commit([one.target])
  t.is(one.facts.committed?.nextOffset, 5n)
  t.is(committer.refusal(one.target.running), null)
  t.deepEqual(told, ['error SLU_LOG_FAILED', 'warn SLU_LOG_NOT_READY', 'error SLU_LOG_STORAGE'])
})

test('committer: a refusal that lasts holds the partition it is of and no other, with its code', async (t) => {
  for (const code of ['SLU_LOG_METADATA_TOO_LARGE', 'SLU_LOG_FORBIDDEN'] as const) {
    const commit = (entries: readonly CommitEntry[]): Promise<void> => (entries.some((e) => e.partition === 1) ? Promise.reject(new SluiceError(code, '')) : Promise.resolve())
    const [a, b] = [target(0, { nextOffset: 5n, metadata: '' }), target(1, { nextOffset: 6n, metadata: '' })]
    await createCommitter({ commit }, telemetry).commit([a.target, b.target])
    t.deepEqual([a.facts.held, a.facts.committed?.nextOffset, b.facts.held, b.facts.committed], [null, 5n, code, null])
  }
})

test('committer: the proof commits what stands and rejects when the partition is not ours (C8)', async (t) => {
  const sent: CommitEntry[] = []
  const one = target(0, null)
  await createCommitter({ commit: (e) => (sent.push(...e), Promise.resolve()) }, telemetry).prove(one.target, 3n)
  t.is(sent[0]?.nextOffset, 3n)
  one.facts.committed = { nextOffset: 7n, metadata: 'of the owner before' }
  await createCommitter({ commit: (e) => (sent.push(...e), Promise.resolve()) }, telemetry).prove(one.target, 3n)
  t.like(sent[1], { nextOffset: 7n, metadata: 'of the owner before' }, 'where nothing is new, what was committed stays as it was (C2)')
  const stale = createCommitter({ commit: () => Promise.reject(new SluiceError('SLU_LOG_STALE_EPOCH', '')) }, telemetry)
  await t.throwsAsync(stale.prove(one.target, 3n), { message: /SLU_LOG_STALE_EPOCH/ })
})

test('committer: a topic that is gone takes nothing from the others, and holds nothing: it is offered again (B6)', async (t) => {
  const requests: string[][] = []
  let isGone = true
  const commit = (entries: readonly CommitEntry[]): Promise<void> => {
    requests.push(entries.map((e) => `${e.topic}/${e.partition}`))
    return isGone && entries.some((e) => e.topic === 'gone') ? Promise.reject(new SluiceError('SLU_LOG_TOPIC_MISSING', 'gone')) : Promise.resolve()
  }
  const offered = { nextOffset: 5n, metadata: '' }
  const [a, b, c, d] = [target(0, offered), target(0, offered, 'gone'), target(1, offered), target(1, offered, 'gone')] as const
  const committer = createCommitter({ commit }, telemetry)
  await committer.commit([a.target, b.target, c.target, d.target])
  t.deepEqual(requests.slice(1), [
    ['t/0', 't/1'],
    ['gone/0', 'gone/1'],
  ])
  t.deepEqual(
    [a, b, c, d].map(({ facts }) => [facts.committed !== null, facts.held]),
    [
      [true, null],
      [false, null],
      [true, null],
      [false, null],
    ],
  )
  t.is(committer.refusal(b.target.running)?.code, 'SLU_LOG_TOPIC_MISSING')
  isGone = false
  await committer.commit([b.target, d.target])
  t.true(b.facts.committed !== null && d.facts.committed !== null)
})
