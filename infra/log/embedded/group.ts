/**
 * A consumer group inside one process: who owns which partition, in generations.
 *
 * Stages of a rebalance: every member releases what it owns (its `revoked` is awaited, at most the session budget) → generation
 * rises → partitions are dealt out → members are told.
 * Invariants: C3 (ownership is asked here, by epoch, at the moment of a commit), C4 (nobody owns a partition before its former
 * owner has let go or its session budget is over). One rebalance at a time; requests in between are folded into one.
 */
import { SluiceError } from '../../../schemas/errors.ts'
import type { TopicPartition } from '../../../schemas/log.ts'
import type { Clock } from '../../../schemas/ports.ts'

export interface GroupMember {
  readonly topics: readonly string[]
  readonly sessionMs: number
  /** Stops intake at once and resolves when the member has let go. Never rejects. */
  release(isLost: boolean): Promise<void>
  assign(partitions: readonly TopicPartition[], epoch: number): void
}

interface Owner {
  readonly member: GroupMember
  readonly epoch: number
}

export const partitionId = (at: TopicPartition): string => `${at.partition} ${at.topic}`

/** Resolves true when `work` is done, false when the budget is over first. */
async function within(work: Promise<void>, budgetMs: number, clock: Clock): Promise<boolean> {
  let cancel = (): void => {}
  const over = new Promise<boolean>((resolve) => {
    cancel = clock.setTimer(budgetMs, () => resolve(false))
  })
  const isDone = await Promise.race([work.then(() => true), over])
  cancel()
  return isDone
}

export class Group {
  private readonly clock: Clock
  private readonly partitionsOf: (topic: string) => number
  private readonly members: GroupMember[] = []
  private readonly owners = new Map<string, Owner>()
  /** Members whose release outlived the session budget: they get nothing until it ends. */
  private readonly stuck = new Set<GroupMember>()
  /** Members on their way out, with what tells them that they are. */
  private readonly leaving = new Map<GroupMember, () => void>()
  private generation = 0
  private isDirty = false
  private turning: Promise<void> | null = null

  constructor(clock: Clock, partitionsOf: (topic: string) => number) {
    this.clock = clock
    this.partitionsOf = partitionsOf
  }

  join(member: GroupMember): void {
    this.members.push(member)
    this.rebalance()
  }

  /** Releases the member (not lost) and deals its partitions out to the others. */
  async leave(member: GroupMember): Promise<void> {
    if (!this.remove(member)) return
    const gone = Promise.withResolvers<void>()
    this.leaving.set(member, gone.resolve)
    this.rebalance()
    await gone.promise
  }

  /** Throws a member out without telling it: it finds out when a commit is refused. */
  evict(member: GroupMember): void {
    if (!this.remove(member)) return
    this.forget(member)
    this.rebalance()
  }

  /** Throws SLU_LOG_STALE_EPOCH unless the member owns the partition under this epoch (C3). */
  check(member: GroupMember, at: TopicPartition, epoch: number): void {
    const owner = this.owners.get(partitionId(at))
    if (owner?.member !== member || owner.epoch !== epoch) throw new SluiceError('SLU_LOG_STALE_EPOCH', `${at.topic}/${at.partition} epoch ${epoch}`)
  }

  private remove(member: GroupMember): boolean {
    const index = this.members.indexOf(member)
    if (index >= 0) this.members.splice(index, 1)
    return index >= 0
  }

  private forget(member: GroupMember): void {
    for (const [id, owner] of this.owners) if (owner.member === member) this.owners.delete(id)
  }

  private async letGo(member: GroupMember): Promise<void> {
    const release = member.release(false)
    if (!(await within(release, member.sessionMs, this.clock))) {
      this.stuck.add(member)
      void this.unstick(member, release)
    }
    this.forget(member)
  }

  private async unstick(member: GroupMember, release: Promise<void>): Promise<void> {
    await release
    this.stuck.delete(member)
    this.rebalance()
  }

  private rebalance(): void {
    this.isDirty = true
    this.turning ??= this.turn().finally(() => {
      this.turning = null
      if (this.isDirty) this.rebalance()
    })
  }

  private async turn(): Promise<void> {
    await Promise.resolve()
    this.isDirty = false
    const leaving = new Map(this.leaving)
    this.leaving.clear()
    const holders = [...this.members, ...leaving.keys()].filter((member) => !this.stuck.has(member))
    await Promise.all(holders.map((member) => this.letGo(member)))
    for (const tell of leaving.values()) tell()
    if (this.isDirty) return
    this.generation += 1
    this.deal()
  }

  /** Partition p of every topic goes to the same member where subscriptions agree, so that co-partitioned topics stay together. */
  private deal(): void {
    const shares = new Map<GroupMember, TopicPartition[]>()
    for (const topic of new Set(this.members.flatMap((member) => member.topics))) {
      const takers = this.members.filter((member) => member.topics.includes(topic) && !this.stuck.has(member))
      if (takers.length === 0) continue
      for (let partition = 0; partition < this.partitionsOf(topic); partition += 1) {
        const taker = takers[partition % takers.length] as GroupMember
        const at = { topic, partition }
        this.owners.set(partitionId(at), { member: taker, epoch: this.generation })
        const share = shares.get(taker)
        if (share === undefined) shares.set(taker, [at])
        else share.push(at)
      }
    }
    for (const [member, share] of shares) member.assign(share, this.generation)
  }
}
