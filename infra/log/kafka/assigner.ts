/**
 * Who of a group is given which partitions: pure; for the member that the coordinator made the leader.
 *
 * Owns: that a topic's partitions go to members that subscribed to it, and to no other. kafkajs' own assigner deals the *leader's* topics out to every
 * member: where two of one group read different topics, as in a rolling change of a function's inputs, topics were read by nobody, and others handed
 * to members that never asked for them. Name and encoding are kafkajs' round robin's still, so that members of both kinds can be in one group.
 */
export interface Subscriber {
  readonly memberId: string
  readonly topics: readonly string[]
}

/** Topic to partitions, by member. */
export type Dealt = ReadonlyMap<string, ReadonlyMap<string, readonly number[]>>

/** Each partition to whoever of its subscribers has fewest so far: in turns, where all read the same. */
export function deal(subscribers: readonly Subscriber[], partitionsOf: (topic: string) => readonly number[]): Dealt {
  const members = [...subscribers].sort((a, b) => (a.memberId < b.memberId ? -1 : 1))
  const dealt = new Map(members.map(({ memberId }) => [memberId, new Map<string, number[]>()]))
  const counts = new Map(members.map(({ memberId }) => [memberId, 0]))
  const countOf = (memberId: string): number => counts.get(memberId) ?? 0
  for (const topic of topicsOf(members)) {
    const takers = members.filter((member) => member.topics.includes(topic))
    for (const partition of partitionsOf(topic)) {
      const { memberId } = takers.reduce((least, taker) => (countOf(taker.memberId) < countOf(least.memberId) ? taker : least))
      counts.set(memberId, countOf(memberId) + 1)
      const share = dealt.get(memberId)
      share?.set(topic, [...(share.get(topic) ?? []), partition])
    }
  }
  return dealt
}

/** Whatever any of them reads. */
export const topicsOf = (subscribers: readonly Subscriber[]): string[] => [...new Set(subscribers.flatMap(({ topics }) => topics))].sort()
