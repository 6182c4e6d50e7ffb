import fc from 'fast-check'
import test from 'ava'
import { createParkedKeys, type ParkEntry } from '../../streams/parked-keys.ts'
import { record } from '../helpers/records.ts'

/** A copy says its order in its value: `copy <order>`. */
const orderOfCopy = (r: { readonly value: Buffer | null }): bigint | null => {
  const found = /^copy (\d+)$/.exec(r.value?.toString() ?? '')
  return found === null ? null : BigInt(found[1] as string)
}
const keys = (ordersMax = 100) => createParkedKeys({ ordersMax, orderOfCopy, digestOf: (r) => r.value?.toString() ?? '' })
const fresh = (offset: number, key: string | null = 'k') => record(offset, { key, value: `v${offset}` })
const copy = (offset: number, order: number, key = 'k') => record(offset, { key, value: `copy ${order}` })
const entry = (kind: ParkEntry['kind'], of: ReturnType<typeof fresh>, at: number): ParkEntry => ({
  kind,
  key: of.key?.toString() ?? '',
  offset: of.offset,
  order: orderOfCopy(of) ?? of.offset,
  digest: of.value?.toString() ?? '',
  at: BigInt(at),
})

test('parked keys: what follows a parked record of its key is diverted, other keys and records without a key go on (D4)', (t) => {
  const k = keys()
  t.is(k.look(fresh(1)), 'handle')
  k.park(fresh(1))
  t.deepEqual([fresh(2), fresh(3, 'other'), fresh(4, null)].map(k.look), ['divert', 'handle', 'handle'])
  t.is(k.handled(fresh(3, 'other'), 9n), false, 'nothing to tell of a record that was never parked')
})

test('parked keys: of the copies put back only the lowest open order is handled; the key is free when the last one was (D4)', (t) => {
  const k = keys()
  for (const offset of [1, 2, 3]) {
    k.look(fresh(offset))
    k.park(fresh(offset))
  }
  t.is(k.look(copy(10, 2)), 'divert', 'never before the one that stands before it')
  t.is(k.look(copy(11, 1)), 'handle')
  t.true(k.handled(copy(11, 1), 9n))
  t.is(k.look(fresh(12)), 'divert', 'a fresh record waits behind those still parked')
  k.park(fresh(12))
  for (const order of [2, 3, 12]) {
    t.is(k.look(copy(20 + order, order)), 'handle')
    t.true(k.handled(copy(20 + order, order), 9n))
  }
  t.deepEqual([k.parkedKeys(), k.openOrders(), k.look(fresh(40))], [0, 0, 'handle'])
})

test('parked keys: a copy that fails again keeps its place before those behind it', (t) => {
  const k = keys()
  for (const offset of [1, 2]) k.park(fresh(offset))
  t.is(k.look(copy(10, 1)), 'handle')
  k.park(copy(10, 1))
  t.is(k.look(copy(11, 2)), 'divert')
  t.is(k.openOrders(), 2, 'no order stands twice')
})

test('parked keys: what the DLQ says of records at or above the committed offset counts when they come again, not before, and they are not parked twice', (t) => {
  const k = keys()
  for (const [i, e] of [entry('parked', fresh(1), 0), entry('parked', fresh(5), 0), entry('parked', copy(8, 1), 0), entry('handled', copy(9, 1), 0)].entries())
    k.restore({ ...e, at: BigInt(i) }, 5n)
  t.is(k.look(fresh(4, 'other')), 'handle')
  t.is(k.look(fresh(5)), 'settled')
  t.is(k.look(fresh(6)), 'divert')
  t.deepEqual([copy(8, 1), copy(9, 1)].map(k.look), ['settled', 'settled'])
  t.is(k.look(copy(10, 5)), 'handle', 'the first is done with, this one is the lowest')
})

test('parked keys: as long as the note of a handled copy does not stand in the DLQ, its dead letter is still needed', (t) => {
  const k = keys()
  k.park(fresh(1))
  k.wrote('parked', fresh(1), 3n)
  t.is(k.neededFrom(2n, 9n), 3n)
  t.is(k.look(copy(5, 1)), 'handle')
  t.true(k.handled(copy(5, 1), 9n))
  t.is(k.neededFrom(5n, 9n), 3n, 'committed before the copy: a successor meets it again')
  k.wrote('handled', copy(5, 1), 9n)
  t.is(k.neededFrom(6n, 10n), 10n)
})

test('parked keys: a copy may be handled before its dead letter was acknowledged: the DLQ is needed from where it was known then', (t) => {
  const k = keys()
  k.park(fresh(1))
  t.is(k.look(copy(5, 1)), 'handle')
  t.true(k.handled(copy(5, 1), 7n))
  t.is(k.neededFrom(1n, 9n), 7n)
})

test('parked keys: another record at the offset of a dead letter, in a topic made anew, is not taken for it', (t) => {
  const k = keys()
  k.restore({ ...entry('parked', fresh(5), 0), digest: 'of another time' }, 0n)
  t.is(k.look(fresh(5)), 'handle')
})

test('parked keys: the bound counts orders; a copy that is parked again is none more (C6)', (t) => {
  const k = keys(2)
  k.park(fresh(1))
  k.park(fresh(2))
  t.true(k.isFull(fresh(3)))
  t.false(k.isFull(copy(4, 1)))
  t.false(k.isFull(fresh(5, null)))
})

test('parked keys: what is taken back leaves all as it was', (t) => {
  const k = keys()
  k.restore(entry('parked', fresh(9), 3), 9n)
  k.park(fresh(1))
  k.begin()
  k.park(fresh(2))
  k.handled(copy(8, 1), 9n)
  t.is(k.look(fresh(9)), 'settled')
  k.undo()
  t.is(k.openOrders(), 1)
  t.is(k.look(copy(8, 1)), 'handle')
  t.is(k.look(fresh(9)), 'settled')
})

test('parked keys: wherever an owner ends, the next one that reads the DLQ from where the commit says decides as the first would have', (t) => {
  const step = fc.record({ key: fc.constantFrom('a', 'b'), isSick: fc.boolean(), redrive: fc.nat(4) })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: 'max' }), fc.nat(40), (steps, cut) => {
      const log: ReturnType<typeof fresh>[] = []
      const dlq: ParkEntry[] = []
      const open: { key: string; order: number }[] = []
      const first = keys()
      const verdicts: string[] = []
      const froms: bigint[] = []
      // Marks only rise: commits reach `cut` and no further.
      const needed = (offset: number): bigint => first.neededFrom(BigInt(Math.min(offset, cut)), BigInt(dlq.length))
      const take = (r: ReturnType<typeof fresh>, isSick: boolean): void => {
        log.push(r)
        froms.push(needed(Number(r.offset)))
        const look = first.look(r)
        verdicts.push(look)
        const write = (kind: ParkEntry['kind']): void => {
          dlq.push(entry(kind, r, dlq.length))
          first.wrote(kind, r, BigInt(dlq.length - 1))
        }
        if (look === 'divert' || isSick) {
          first.park(r)
          write('parked')
          open.push({ key: r.key?.toString() ?? '', order: Number(orderOfCopy(r) ?? r.offset) })
        } else if (first.handled(r, BigInt(dlq.length))) write('handled')
      }
      for (const { key, isSick, redrive } of steps) {
        take(fresh(log.length, key), isSick)
        if (redrive === 0) for (const { key: of, order } of open.splice(0)) take(copy(log.length, order, of), isSick && order % 2 === 0)
      }
      const mark = Math.min(cut, log.length)
      const late = needed(mark)
      // The commit was made as soon as it could be, or after all of this had been done.
      for (const start of new Set([0n, froms[mark] ?? late, late])) {
        const next = keys()
        for (const e of dlq) if (e.at >= start) next.restore(e, BigInt(mark))
        for (const r of log.slice(mark)) {
          const look = next.look(r)
          const known = dlq.some((e) => e.offset === r.offset)
          // What was not told to the DLQ was handled; it is handled again.
          t.is(look, known ? 'settled' : (verdicts[Number(r.offset)] as 'handle' | 'divert'), `from ${start}, mark ${mark}, ${r.offset}`)
        }
        for (const [i, key] of ['a', 'b'].entries()) {
          const [ours, theirs] = [first, next].map((k) => k.look(fresh(log.length + i, key)))
          t.is(theirs, ours, `from ${start}, mark ${mark}, key ${key}`)
        }
        t.is(next.openOrders(), first.openOrders())
      }
    }),
    { numRuns: 300 },
  )
})
