/**
 * Asking the leaders of partitions, when they may have moved, are being elected or do not serve yet.
 *
 * Owns: which answers pass by themselves, how long they are waited for, and that each try after the first looks at fresh metadata: a client that
 * asks the broker it knew would hear the same until its metadata expires. A topic created a moment ago is in the metadata before its leader
 * serves it, and on some brokers later than on others.
 */
import { setTimeout as delay } from 'node:timers/promises'
import type { SluiceError } from '../../../schemas/errors.ts'
import type { Cluster } from './kafkajs.ts'

export interface Patience {
  /** How an error of the client reads in our codes. */
  readonly explain: (error: unknown) => SluiceError
  /** How long answers that pass are waited for. */
  readonly boundMs: number
  /** How long a topic nobody has heard of, or a connection that is closed, is tried again. Default: a second. */
  readonly soonMs?: number
  readonly isStopped?: () => boolean
}

/** For whoever can wait that long: a dead leader keeps its partitions until its session with the cluster is over, 9 s by default. */
export const PASSING_BOUND_MS = 15_000

const BACKOFF_MIN_MS = 50
const BACKOFF_MAX_MS = 500
const SOON_MS = 1000

/** SLU_LOG_ADVERTISED: a leader that is down and not in the bootstrap list looks like one that advertises what cannot be reached. */
const PASSING: ReadonlySet<string> = new Set(['SLU_LOG_NOT_READY', 'SLU_LOG_UNREACHABLE', 'SLU_LOG_ADVERTISED'])
/** May pass, and may never: a listener that wants a user closes the connection too. */
const SOON: ReadonlySet<string> = new Set(['SLU_LOG_TOPIC_MISSING', 'SLU_LOG_CLOSED'])

/** Repeats `ask` while its error passes by itself. Rejects with what `explain` makes of the last one. */
export async function whilePassing<T>(ask: (isAgain: boolean) => Promise<T>, patience: Patience): Promise<T> {
  const startMs = performance.now()
  for (let backoffMs = BACKOFF_MIN_MS, isAgain = false; ; backoffMs = Math.min(BACKOFF_MAX_MS, backoffMs * 2), isAgain = true) {
    try {
      return await ask(isAgain)
    } catch (thrown) {
      const error = patience.explain(thrown)
      const waitMs = SOON.has(error.code) ? (patience.soonMs ?? SOON_MS) : PASSING.has(error.code) ? patience.boundMs : 0
      if (performance.now() - startMs >= waitMs || patience.isStopped?.() === true) throw error
      await delay(backoffMs)
      // Another try would open the connection again that was closed meanwhile.
      if (patience.isStopped?.() === true) throw error
    }
  }
}

/** As `whilePassing`, each try after the first on fresh metadata of `topics`. */
export function askLeaders<T>(cluster: Cluster, topics: readonly string[], ask: () => Promise<T>, patience: Patience): Promise<T> {
  return whilePassing(async (isAgain) => {
    await cluster.addMultipleTargetTopics(topics)
    if (isAgain) await cluster.refreshMetadata()
    return ask()
  }, patience)
}

export type Offsets = ReadonlyMap<number, bigint>

/** The offset at the start or the end of `partitions`, of each from its leader. */
export async function leaderOffsets(cluster: Cluster, topic: string, partitions: readonly number[], which: 'start' | 'end'): Promise<Offsets> {
  const [found] = await cluster.fetchTopicsOffset([{ topic, fromBeginning: which === 'start', partitions: partitions.map((partition) => ({ partition })) }])
  return new Map((found?.partitions ?? []).map((p) => [p.partition, BigInt(p.offset)]))
}

/** The partitions that the metadata has; none of a topic that is not there. */
export const partitionsOf = (cluster: Cluster, topic: string): number[] => cluster.findTopicPartitionMetadata(topic).map((p) => p.partitionId)
