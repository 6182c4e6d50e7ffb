import fc from 'fast-check'
import test from 'ava'
import { deal, topicsOf } from '../../../../infra/log/kafka/assigner.ts'

const plain = (dealt: ReturnType<typeof deal>) => Object.fromEntries([...dealt].map(([member, share]) => [member, Object.fromEntries(share)]))

test('kafka assigner: a topic goes to the members that subscribed to it, never by what the leader reads', (t) => {
  const subscribers = [
    { memberId: 'a', topics: ['orders'] },
    { memberId: 'b', topics: ['invoices', 'orders'] },
    { memberId: 'c', topics: ['invoices'] },
  ]
  t.deepEqual(plain(deal(subscribers, () => [0, 1, 2])), { a: { orders: [0, 1, 2] }, b: { invoices: [0, 2] }, c: { invoices: [1] } })
  t.deepEqual(topicsOf(subscribers), ['invoices', 'orders'])
})

test('kafka assigner: of any subscriptions each partition has one owner, which asked for it; members that read the same differ by one at most', (t) => {
  const topic = fc.constantFrom('t', 'u', 'v', 'gone')
  const members = fc.uniqueArray(fc.record({ memberId: fc.string({ minLength: 1 }), topics: fc.uniqueArray(topic) }), { selector: (m) => m.memberId, minLength: 1, maxLength: 6 })
  fc.assert(
    fc.property(members, fc.nat(7), (subscribers, count) => {
      const partitionsOf = (name: string): number[] => (name === 'gone' ? [] : Array.from({ length: count }, (_, i) => i))
      const dealt = deal(subscribers, partitionsOf)
      const owners = [...dealt].flatMap(([memberId, share]) =>
        [...share].flatMap(([name, partitions]) => partitions.map((partition) => ({ memberId, at: `${name}/${partition}`, name }))),
      )
      const wanted = topicsOf(subscribers).flatMap((name) => partitionsOf(name).map((partition) => `${name}/${partition}`))
      t.deepEqual(owners.map(({ at }) => at).toSorted(), wanted.toSorted())
      for (const { memberId, name } of owners) t.true(subscribers.some((m) => m.memberId === memberId && m.topics.some((mine) => mine === name)))
      const same = deal(
        subscribers.map(({ memberId }) => ({ memberId, topics: ['t', 'u'] })),
        partitionsOf,
      )
      const sizes = [...same.values()].map((share) => [...share.values()].flat().length)
      t.true(Math.max(...sizes) - Math.min(...sizes) <= 1)
    }),
  )
})
