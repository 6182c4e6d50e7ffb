import test from 'ava'
import type { SluiceError } from '../../../../schemas/errors.ts'
import type { TopicPartition } from '../../../../schemas/log.ts'
import type { GroupMember } from '../../../../infra/log/embedded/group.ts'
import { Group } from '../../../../infra/log/embedded/group.ts'
import { createVirtualClock, settled } from '../../../fakes/virtual-clock.ts'

interface Fake extends GroupMember {
  owned: readonly TopicPartition[]
  epoch: number
  releases: number
}

function fake(letGo: () => Promise<void> = async () => {}): Fake {
  const member: Fake = {
    topics: ['a'],
    sessionMs: 1000,
    owned: [],
    epoch: -1,
    releases: 0,
    release: async () => {
      member.releases += 1
      if (member.owned.length > 0) await letGo()
      member.owned = []
    },
    assign: (partitions, epoch) => {
      member.owned = partitions
      member.epoch = epoch
    },
  }
  return member
}

const at = { topic: 'a', partition: 0 }
const isOwner = (group: Group, member: Fake, epoch = member.epoch): boolean => {
  try {
    group.check(member, at, epoch)
    return true
  } catch (error) {
    if ((error as SluiceError).code !== 'SLU_LOG_STALE_EPOCH') throw error
    return false
  }
}

test('group: a member that never lets go is thrown out after its session, owns nothing more, and cannot block the others (C3, C4)', async (t) => {
  const clock = createVirtualClock()
  const group = new Group(clock, () => 1)
  const gate = Promise.withResolvers<void>()
  const stuck = fake(() => gate.promise)
  group.join(stuck)
  await settled()
  t.true(isOwner(group, stuck))
  const other = fake()
  group.join(other)
  await clock.advance(999)
  t.is(other.owned.length, 0)
  await clock.advance(2)
  t.is(other.owned.length, 1)
  t.false(isOwner(group, stuck))
  t.true(isOwner(group, other))
  t.false(isOwner(group, other, other.epoch - 1))
  gate.resolve()
  await settled()
  t.is(other.releases > 0 && stuck.owned.length + other.owned.length, 1)
})

test('group: nobody joins in between while a leaving member still lets go (C4)', async (t) => {
  const group = new Group(createVirtualClock(), () => 1)
  const gate = Promise.withResolvers<void>()
  const first = fake(() => gate.promise)
  group.join(first)
  await settled()
  const left = group.leave(first)
  const second = fake()
  group.join(second)
  await settled()
  t.is(second.owned.length, 0)
  gate.resolve()
  await left
  await settled()
  t.is(second.owned.length, 1)
})
