/**
 * What goes wrong, and when: the schedule of a seed, and its execution.
 *
 * Owns: the schedule (kills of members and brokers, zombies, cuts; spread over the span, each kind in a lane of its own, so that they overlap) and what
 * each fault waits for: a member that runs, a cluster whose partitions have all their replicas again. Only what was done is counted.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { draw, drawBelow } from './draw.ts'
import type { Members } from './members.ts'
import type { Cut, Proxy } from './proxy.ts'

export interface FaultCounts {
  readonly memberKills: number
  readonly brokerKills: number
  readonly zombies: number
  readonly cuts: number
}

export interface Fault {
  readonly kind: 'member' | 'broker' | 'zombie' | 'cut'
  /** ms from the start of the run; executed then or as soon as it can be. */
  readonly atMs: number
  /** Decides whom it meets among those that can be met. */
  readonly pick: number
  /** How long the killed one stays down, the frozen one frozen, the network cut. */
  readonly forMs: number
  readonly how: Cut
}

/** Evenly spread with some jitter, over the span without its first and last bit. */
export function faultSchedule(seed: number, spanMs: number, counts: FaultCounts, sessionMs: number): Fault[] {
  const lane = (kind: Fault['kind'], count: number, which: number, forMs: (i: number) => number): Fault[] =>
    Array.from({ length: count }, (_, i) => {
      const slotMs = (spanMs * 0.94) / count
      return {
        kind,
        atMs: Math.floor(spanMs * 0.03 + i * slotMs + drawBelow(Math.max(1, Math.floor(slotMs * 0.6)), seed, 40, which, i)),
        pick: draw(seed, 41, which, i),
        forMs: forMs(i),
        how: i % 2 === 0 ? 'reset' : 'silence',
      }
    })
  const between = (low: number, high: number, which: number, i: number): number => low + drawBelow(high - low, seed, 42, which, i)
  return [
    ...lane('member', counts.memberKills, 1, (i) => between(200, 2000, 1, i)),
    ...lane('broker', counts.brokerKills, 2, (i) => between(4000, 9000, 2, i)),
    // Longer than the session, so that another member takes over, and shorter than the run is long.
    ...lane('zombie', counts.zombies, 3, (i) => between(sessionMs * 2, sessionMs * 4, 3, i)),
    ...lane('cut', counts.cuts, 4, (i) => between(2000, 6000, 4, i)),
  ].sort((a, b) => a.atMs - b.atMs)
}

/** A cluster whose brokers can be killed. */
export interface Brokers {
  readonly count: number
  kill(index: number): Promise<void>
  restart(index: number): Promise<void>
  /** Every partition has all its replicas in sync. */
  isWhole(): Promise<boolean>
}

export interface Kills {
  member: number
  broker: number
  zombie: number
  cut: number
}

export interface World {
  readonly members: Members
  readonly brokers: Brokers
  readonly proxies: readonly Proxy[]
  readonly say: (line: string) => void
  readonly signal: AbortSignal
}

const ASK_AGAIN_MS = 200

/** Executes the schedule; resolves with what was done. A lane that meets nobody for a while goes on with its next fault. */
export async function executeFaults(schedule: readonly Fault[], startMs: number, patienceMs: number, world: World): Promise<Kills> {
  const { members, brokers, proxies, say, signal } = world
  const kills: Kills = { member: 0, broker: 0, zombie: 0, cut: 0 }
  const sleep = (ms: number): Promise<void> => delay(Math.max(0, ms), undefined, { signal })

  /** The first that `meets` says yes to, beginning with the drawn one; null if nobody can be met in time. */
  const meet = async <T>(all: readonly T[], pick: number, meets: (one: T) => boolean): Promise<T | null> => {
    const untilMs = Date.now() + patienceMs
    for (;;) {
      const found = all.map((_, i) => all[(pick + i) % all.length] as T).find(meets)
      if (found !== undefined) return found
      if (Date.now() > untilMs) return null
      await sleep(ASK_AGAIN_MS)
    }
  }

  const doers: Record<Fault['kind'], (fault: Fault) => Promise<void>> = {
    member: async ({ pick, forMs }) => {
      const name = await meet(members.names, pick, (n) => members.kill(n, forMs))
      if (name === null) return
      kills.member++
      say(`killed member ${name}, down for ${forMs} ms`)
    },
    zombie: async ({ pick, forMs }) => {
      const name = await meet(members.names, pick, (n) => members.freeze(n))
      if (name === null) return
      say(`froze member ${name} for ${forMs} ms`)
      await sleep(forMs)
      members.thaw(name)
      kills.zombie++
      say(`thawed member ${name}`)
    },
    broker: async ({ pick, forMs }) => {
      const untilMs = Date.now() + patienceMs
      while (!(await brokers.isWhole())) {
        if (Date.now() > untilMs) return
        await sleep(ASK_AGAIN_MS)
      }
      const index = pick % brokers.count
      await brokers.kill(index)
      kills.broker++
      say(`killed broker ${index + 1}, down for ${forMs} ms`)
      await sleep(forMs)
      await brokers.restart(index)
      say(`broker ${index + 1} is back`)
    },
    cut: async ({ pick, forMs, how }) => {
      const index = pick % proxies.length
      proxies[index]?.cut(how)
      say(`cut the network to broker ${index + 1} (${how}) for ${forMs} ms`)
      await sleep(forMs)
      proxies[index]?.heal()
      kills.cut++
    },
  }

  const lane = async (kind: Fault['kind']): Promise<void> => {
    for (const fault of schedule.filter((f) => f.kind === kind)) {
      await sleep(startMs + fault.atMs - Date.now())
      await doers[kind](fault)
    }
  }
  await Promise.all((['member', 'broker', 'zombie', 'cut'] as const).map(lane))
  return kills
}
