/**
 * Committing for one member: one commit at a time, so that an older one never lands after a newer one.
 *
 * Owns: the order of commits, what a refused one means, and the proof of ownership (C8). Invariants: C1 (only what a partition offers), C2
 * (metadata bound checked before it is sent), C3 (an entry refused for its epoch is dropped: the revocation is on its way). Any other refusal but
 * those of `PERMANENT` is tried again with the next commit, as long as the partition is ours: work goes on meanwhile, a crash would do more of it again.
 */
import { asSluiceError, causeChain, SluiceError, type ErrorCode } from '../schemas/errors.ts'
import { COMMIT_METADATA_BYTES_MAX, type CommitEntry, type Committed, type LogConsumer } from '../schemas/log.ts'
import type { Telemetry } from '../schemas/ports.ts'
import { attributeNames } from '../schemas/telemetry-names.ts'
import type { RunningPartition } from './partition.ts'

/**
 * Refusals that the same commit meets again until somebody acts: they hold the partition. What the table calls unknown (SLU_LOG_FAILED) may pass, and a
 * member whose configuration or rights are refused altogether is ended by its consumer.
 */
const PERMANENT: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['SLU_LOG_FORBIDDEN', 'SLU_LOG_METADATA_TOO_LARGE'])

/** Of one partition, perhaps: the others are committed without it. A topic that is gone is one for all of its own. */
const DIVIDING: ReadonlySet<ErrorCode> = new Set<ErrorCode>([...PERMANENT, 'SLU_LOG_STALE_EPOCH'])

export interface CommitTarget {
  /** As the broker knows it. */
  readonly topic: string
  readonly partition: number
  readonly epoch: number
  readonly running: RunningPartition
}

export interface Committer {
  /** Commits what the targets offer; never rejects: what failed is offered again next time. */
  commit(targets: readonly CommitTarget[]): Promise<void>
  /** Why the newest commit of the partition failed; null once one succeeded. */
  refusal(running: RunningPartition): SluiceError | null
  /** Commits `target` as it stands, or as `given` says (`start` if it never was): rejects when the partition is not ours any more (C8). */
  prove(target: CommitTarget, start: bigint, given?: Committed): Promise<void>
}

export function createCommitter(consumer: Pick<LogConsumer, 'commit'>, telemetry: Telemetry): Committer {
  let last: Promise<unknown> = Promise.resolve()
  const refusals = new WeakMap<RunningPartition, SluiceError>()
  const inTurn = <T>(run: () => Promise<T>): Promise<T> => {
    const turn = last.then(run)
    last = turn.catch(() => undefined)
    return turn
  }

  const entryOf = (target: CommitTarget, offered: Committed): CommitEntry => ({ topic: target.topic, partition: target.partition, epoch: target.epoch, ...offered })

  const tooLarge = (target: CommitTarget, offered: Committed): boolean => {
    const bytes = Buffer.byteLength(offered.metadata)
    if (bytes <= COMMIT_METADATA_BYTES_MAX) return false
    target.running.hold(new SluiceError('SLU_LOG_METADATA_TOO_LARGE', `${bytes} bytes for ${target.topic}/${target.partition}`))
    return true
  }

  const send = async (due: readonly { target: CommitTarget; offered: Committed }[]): Promise<void> => {
    try {
      await consumer.commit(due.map(({ target, offered }) => entryOf(target, offered)))
      for (const { target, offered } of due) {
        refusals.delete(target.running)
        target.running.committed(offered)
      }
    } catch (thrown) {
      const error = asSluiceError(thrown, 'SLU_LOG_FAILED')
      const isPermanent = PERMANENT.has(error.code)
      const parts = DIVIDING.has(error.code) ? due.map((one) => [one]) : error.code === 'SLU_LOG_TOPIC_MISSING' ? [...Map.groupBy(due, ({ target }) => target.topic).values()] : []
      if (parts.length > 1) {
        for (const part of parts) await send(part)
        return
      }
      // Once a state, not once a try.
      if (due.some(({ target }) => refusals.get(target.running)?.code !== error.code))
        telemetry.log(error.disposition === 'retry' ? 'warn' : 'error', error.message, {
          [attributeNames.destination]: [...new Set(due.map(({ target }) => target.topic))].join(', '),
          [attributeNames.errorChain]: causeChain(error.cause).join(': '),
        })
      for (const { target } of due) {
        if (isPermanent) target.running.hold(error)
        else if (error.code !== 'SLU_LOG_STALE_EPOCH') refusals.set(target.running, error)
      }
    }
  }

  return {
    commit: (targets) =>
      inTurn(async () => {
        const due = targets.flatMap((target) => {
          const offered = target.running.uncommitted()
          return offered === null || tooLarge(target, offered) ? [] : [{ target, offered }]
        })
        if (due.length > 0) await send(due)
      }),
    refusal: (running) => refusals.get(running) ?? null,
    prove: (target, start, given) =>
      inTurn(async () => {
        const standing = given ?? target.running.uncommitted() ?? target.running.lastCommitted() ?? { nextOffset: start, metadata: '' }
        await consumer.commit([entryOf(target, standing)])
        target.running.committed(standing)
      }),
  }
}
