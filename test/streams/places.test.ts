import fc from 'fast-check'
import test from 'ava'
import { createPlaces, type Share } from '../../streams/places.ts'

const takeAll = (share: Share): number => {
  let taken = 0
  while (share.take()) taken++
  return taken
}

test('places: a lone partition may have all there are, never more, and hears when one comes free if it waits (C5, C6)', (t) => {
  let heard = 0
  const share = createPlaces(20, () => heard++).join()
  t.is(takeAll(share), 20)
  share.giveBack()
  t.is(heard, 0, 'nobody waits')
  t.is(takeAll(share), 1)
  share.wait()
  share.giveBack()
  t.is(heard, 1)
  share.rest()
  share.giveBack()
  t.is(heard, 1)
})

test('places: a partition whose effects hang never holds all: one that had none begins at once (B6, C5)', (t) => {
  for (const [placesMax, partitions, kept] of [
    [2, 2, 1],
    [10, 4, 1],
    [16, 4, 2],
    [256, 4, 3],
    [256, 100, 32],
  ] as const) {
    const places = createPlaces(placesMax, () => undefined)
    const [hanging, ...others] = Array.from({ length: partitions }, () => places.join())
    t.is(takeAll(hanging as Share), placesMax - kept, `${placesMax} places, ${partitions} partitions`)
    t.is(others.filter((share) => share.take()).length, kept)
  }
})

test('places: a pool of one keeps nothing, and a partition that has gone is kept nothing for', (t) => {
  const one = createPlaces(1, () => undefined)
  const [a] = [one.join(), one.join()]
  t.true(a?.take())
  let heard = 0
  const places = createPlaces(8, () => heard++)
  const [stays, goes] = [places.join(), places.join()]
  t.is(takeAll(stays), 7)
  stays.wait()
  goes.leave()
  goes.leave()
  t.is(heard, 1, 'what was kept for it is free')
  t.true(stays.take())
  t.false(goes.take())
})

test('places: what a partition holds when it goes counts until it is given back (C6)', (t) => {
  const places = createPlaces(3, () => undefined)
  const [goes, stays] = [places.join(), places.join()]
  t.is(takeAll(goes), 2)
  goes.leave()
  t.is(takeAll(stays), 1)
  goes.giveBack()
  t.is(takeAll(stays), 1)
})

test('places: beyond its fair share a partition takes nothing while another waits below its own, whoever asks first', (t) => {
  const places = createPlaces(8, () => undefined)
  const [first, second] = [places.join(), places.join()]
  t.is(takeAll(first), 7)
  t.is(takeAll(second), 1)
  second.wait()
  for (let i = 0; i < 3; i++) {
    first.giveBack()
    t.false(first.take())
    t.true(second.take())
    second.wait()
  }
  // Four each: nobody is below its share.
  first.giveBack()
  t.true(first.take())
  second.giveBack()
  second.rest()
  t.true(first.take(), 'whoever waits for nothing keeps nobody back')
})

test('places: whatever partitions do, places are bounded, one that holds none is never refused a free one, and no wake-up is lost (B6, C5, C6)', (t) => {
  const step = fc.tuple(fc.nat(3), fc.constantFrom('more', 'end', 'less', 'leave'))
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.array(step, { maxLength: 200 }), (placesMax, steps) => {
      const world = Array.from({ length: 4 }, () => ({ work: 0, held: 0, isGone: false }))
      const pump = (): void => {
        for (const [i, partition] of world.entries()) {
          const share = shares[i] as Share
          while (partition.work > 0 && !partition.isGone && share.take()) {
            partition.work--
            partition.held++
          }
          if (partition.work > 0) share.wait()
          else share.rest()
        }
      }
      const places = createPlaces(placesMax, pump)
      const shares = world.map(() => places.join())
      const total = (): number => world.reduce((sum, partition) => sum + partition.held, 0)
      for (const [i, what] of steps) {
        const [partition, share] = [world[i] as (typeof world)[number], shares[i] as Share]
        if (what === 'more') partition.work += 7
        else if (what === 'less') partition.work = 0
        else if (what === 'leave') {
          partition.isGone = true
          share.leave()
        } else if (partition.held > 0) {
          partition.held--
          share.giveBack()
          // Whoever waited was asked: nobody below its share is left refused for nothing.
          for (const [j, other] of world.entries()) t.true(other.isGone || other.work === 0 || (shares[j] as Share).isRefused())
        }
        pump()
        t.true(total() <= placesMax)
        for (const other of world) t.false(!other.isGone && other.work > 0 && other.held === 0 && total() < placesMax)
      }
      for (const [i, partition] of world.entries()) for (; partition.held > 0; partition.held--) (shares[i] as Share).giveBack()
      while (total() > 0) for (const [i, partition] of world.entries()) if (partition.held > 0 && partition.held--) (shares[i] as Share).giveBack()
      t.true(
        world.every((partition) => partition.isGone || partition.work === 0),
        'all work found its place',
      )
    }),
  )
})
