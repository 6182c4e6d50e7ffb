/**
 * A seeded simulation of R1 on the in-memory log: routers are killed, sleep through their session, wake, stop and start while requests,
 * repeats and reused ids arrive; answers of transactions get lost, commits fail, metadata is wiped.
 *
 * Owns: the script of one seed and its count. `doubled` = ids with more than one visible result, `unanswered` = ids with none, `wrong` = results
 * that are not the answer to the first body of their id's executed requests. All three must be 0 for every seed.
 */
import type { LogRecord } from '../../schemas/log.ts'
import type { Random } from '../../schemas/ports.ts'
import { defineFunction, type TaskFunction } from '../../streams/define-function.ts'
import type { Runner } from '../../streams/runner.ts'
import { runnerWorld, text } from '../helpers/runner-world.ts'

export interface OnceRun {
  readonly seed: number
  readonly ids: number
  readonly requests: number
  readonly doubled: number
  readonly unanswered: number
  readonly wrong: number
  readonly deadLetters: number
  readonly executions: number
  readonly kills: number
  readonly zombies: number
}

interface Request {
  readonly id: string
  readonly body: string
  readonly createdMs: number
}

interface Process {
  readonly name: string
  readonly runner: Runner
  state: 'starting' | 'live' | 'zombie' | 'gone'
}

const PARTITIONS = 2
const DEDUPE_MS = 4000
const STEPS = 120
const GROUP = 'sluice.route'

/** mulberry32 */
export function seededRandom(seed: number): Random {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let x = Math.imul(a ^ (a >>> 15), 1 | a)
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296
  }
}

const requestOf = (r: LogRecord): Request => JSON.parse(text(r)) as Request

/** Why over 70 lines: one script, read from top to bottom. */
export async function simulateOnce(seed: number): Promise<OnceRun> {
  const random = seededRandom(seed)
  const chance = (p: number): boolean => random() < p
  const pick = <T>(all: readonly T[]): T | undefined => all[Math.floor(random() * all.length)]
  const w = runnerWorld({ requests: PARTITIONS, results: PARTITIONS, 'requests.dlq': PARTITIONS }, random)
  const { clock, log } = w
  let executions = 0
  const definition = defineFunction<TaskFunction<Request>>({
    kind: 'task',
    name: 'route',
    inputs: ['requests'],
    outputs: ['results'],
    order: 'unordered',
    concurrency: 6,
    deadlineMs: 60_000,
    decode: requestOf,
    handle: (request) =>
      new Promise((resolve) => {
        executions++
        clock.setTimer(Math.floor(random() * 600), () => resolve([{ to: 'topic', topic: 'results', key: request.id, value: Buffer.from(`${request.id}=${request.body}`) }]))
      }),
    once: { resultsTopic: 'results', dedupeMs: DEDUPE_MS, skewMs: 200, id: (r) => r.id, createdMs: (r) => r.createdMs, digest: (r) => r.body },
  })

  const processes: Process[] = []
  let kills = 0
  let zombies = 0
  const live = (): Process[] => processes.filter((p) => p.state === 'live')
  const startOne = (): void => {
    const name = `p${processes.length}`
    const runner = w.runner(definition, name, { commitEveryMs: 150, recordsInFlightMax: 12 }, () => (chance(0.5) ? 0 : Math.floor(random() * 400)))
    const started: Process = { name, runner, state: 'starting' }
    processes.push(started)
    void runner.start().then(() => (started.state = 'live'))
  }
  const published: Request[] = []
  const publish = (): void => {
    const earlier = chance(0.3) ? pick(published) : undefined
    const request = earlier === undefined ? { id: `r${published.length}`, body: 'A', createdMs: clock.nowMs() } : { ...earlier, body: chance(0.3) ? 'B' : 'A' }
    published.push(request)
    log.append({ topic: 'requests', key: Buffer.from(request.id), value: Buffer.from(JSON.stringify(request)) })
  }
  const hurt = (): void => {
    const victim = pick(live())
    const fate = random()
    if (victim !== undefined && fate < 0.08) {
      log.crash(victim.name)
      victim.state = 'gone'
      kills++
    } else if (victim !== undefined && fate < 0.16) {
      log.zombie(victim.name)
      victim.state = 'zombie'
      zombies++
    } else if (victim !== undefined && fate < 0.19 && live().length > 1) {
      victim.state = 'gone'
      void victim.runner.stop(300)
    }
    const sleeper = pick(processes.filter((p) => p.state === 'zombie'))
    if (sleeper !== undefined && chance(0.1)) {
      sleeper.state = 'live'
      void log.wake(sleeper.name)
    }
    if (processes.filter((p) => p.state === 'live' || p.state === 'starting').length < 3 && chance(0.25)) startOne()
    if (chance(0.05)) log.failSends(1, 'SLU_LOG_UNREACHABLE', { topic: 'results', landed: chance(0.6) })
    if (chance(0.05)) log.failCommits(1, 'SLU_LOG_UNREACHABLE')
    if (chance(0.02)) log.delaySends(Math.floor(random() * 80))
    if (chance(0.02)) {
      const at = { topic: 'requests', partition: Math.floor(random() * PARTITIONS) }
      const committed = log.committed(GROUP, at)
      if (committed !== null) log.setCommitted(GROUP, at, { ...committed, metadata: '' })
    }
  }

  startOne()
  for (let step = 0; step < STEPS; step++) {
    for (let i = Math.floor(random() * 3); i > 0; i--) publish()
    hurt()
    await clock.advance(Math.floor(random() * 200))
  }
  for (const sleeper of processes.filter((p) => p.state === 'zombie')) void log.wake(sleeper.name)
  startOne()
  const ids = new Set(published.map((r) => r.id))
  const answeredIds = (): number => new Set(log.dump('results').map((r) => r.key?.toString())).size
  for (let i = 0; i < 120 && answeredIds() < ids.size; i++) await clock.advance(500)
  await clock.advance(3000)

  const results = log.dump('results')
  const per = new Map<string, number>()
  for (const r of results) per.set(r.key?.toString() ?? '', (per.get(r.key?.toString() ?? '') ?? 0) + 1)
  const bodies = new Set(log.dump('requests').map((r) => `${requestOf(r).id}=${requestOf(r).body}`))
  return {
    seed,
    ids: ids.size,
    requests: published.length,
    doubled: [...per.values()].filter((n) => n > 1).length,
    unanswered: [...ids].filter((id) => !per.has(id)).length,
    wrong: results.filter((r) => !bodies.has(text(r)) || !text(r).startsWith(`${r.key?.toString()}=`)).length,
    deadLetters: log.dump('requests.dlq').length,
    executions,
    kills,
    zombies,
  }
}
