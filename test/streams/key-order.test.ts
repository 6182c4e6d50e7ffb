import test from 'ava'
import fc from 'fast-check'
import { createKeyOrder, type Ordered } from '../../streams/key-order.ts'

interface Entry extends Ordered {
  readonly key: string | null
  readonly at: number
}

const entry = (key: string | null, at: number): Entry => ({ key, at, lane: null, isResting: false })

test('key order: never two of a key in flight, never out of order within a key, all of them started (T2)', (t) => {
  const keys = fc.array(fc.option(fc.constantFrom('a', 'b', 'c'), { nil: null }), { maxLength: 40 })
  fc.assert(
    fc.property(keys, fc.array(fc.nat(), { minLength: 200, maxLength: 200 }), fc.integer({ min: 1, max: 4 }), (all, choices, concurrency) => {
      const order = createKeyOrder<Entry>('key', concurrency)
      const running: Entry[] = []
      const resting: Entry[] = []
      const finished: Entry[] = []
      for (const [at, key] of all.entries()) order.add(key, entry(key, at))
      for (const choice of choices) {
        if (choice % 3 === 0 || running.length === 0) {
          const next = order.next()
          if (next !== undefined) {
            if (next.key !== null) t.false([...running, ...resting].some((e) => e.key === next.key))
            running.push(next)
          } else if (running.length === 0 && resting.length > 0) order.again(resting.shift() as Entry)
        } else if (choice % 3 === 1) {
          const [entry] = running.splice(choice % running.length, 1) as [Entry]
          finished.push(entry)
          order.finish(entry)
        } else {
          const [entry] = running.splice(choice % running.length, 1) as [Entry]
          resting.push(entry)
          order.rest(entry)
        }
        t.is(order.running(), running.length)
        t.true(running.length <= concurrency)
      }
      for (let entry = order.next() ?? resting.shift() ?? running.shift(); entry !== undefined; entry = order.next() ?? resting.shift() ?? running.shift()) {
        order.finish(entry)
        finished.push(entry)
      }
      while (running.length > 0) finished.push(running.shift() as Entry)
      t.is(finished.length, all.length)
      for (const key of ['a', 'b', 'c']) {
        const ats = finished.filter((e) => e.key === key).map((e) => e.at)
        t.deepEqual(
          ats,
          [...ats].sort((x, y) => x - y),
        )
      }
    }),
  )
})

test('key order: a resting record keeps its key shut and gives its place to other keys (D1)', (t) => {
  const order = createKeyOrder<Entry>('key', 1)
  const [a1, a2, b1] = [entry('a', 1), entry('a', 2), entry('b', 3)]
  for (const entry of [a1, a2, b1]) order.add(entry.key, entry)
  t.is(order.next(), a1)
  t.is(order.next(), undefined)
  order.rest(a1)
  t.is(order.next(), b1)
  order.finish(b1)
  t.is(order.next(), undefined)
  order.again(a1)
  t.is(order.next(), a1)
  order.finish(a1)
  t.is(order.next(), a2)
})

test('key order: order `partition` runs one at a time, `unordered` never waits for a key', (t) => {
  const one = createKeyOrder<Entry>('partition', 8)
  const many = createKeyOrder<Entry>('unordered', 8)
  for (const order of [one, many]) for (const at of [1, 2]) order.add('same', entry('same', at))
  t.is(one.next()?.at, 1)
  t.false(one.hasNext())
  t.is(many.next()?.at, 1)
  t.is(many.next()?.at, 2)
})
