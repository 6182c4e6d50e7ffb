import test from 'ava'
import fc from 'fast-check'
import { createLowWaterMark } from '../../streams/low-water-mark.ts'

test('low-water mark: it never passes a record that is not done, in whatever order records finish (C1)', (t) => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 60 }), fc.array(fc.nat(), { maxLength: 60 }), (gaps, picks) => {
      const mark = createLowWaterMark(10n)
      const open: bigint[] = []
      let at = 10n
      for (const gap of gaps) {
        at += BigInt(gap)
        mark.take(at)
        open.push(at)
      }
      mark.readTo(at + 3n)
      for (const pick of picks) {
        if (open.length === 0) break
        mark.done(open.splice(pick % open.length, 1)[0] as bigint)
        const lowest = open[0] ?? (gaps.length === 0 ? 13n : at + 3n)
        t.true(mark.mark() <= lowest)
        t.is(mark.mark(), open.length === 0 ? at + 3n : lowest)
        t.is(mark.pending(), open.length)
      }
    }),
  )
})

test('low-water mark: control records at the end do not hold it back', (t) => {
  const mark = createLowWaterMark(0n)
  mark.take(0n)
  mark.readTo(2n)
  t.is(mark.mark(), 0n)
  mark.done(0n)
  t.is(mark.mark(), 2n)
})

test('low-water mark: memory does not grow with what was committed', (t) => {
  const mark = createLowWaterMark(0n)
  for (let offset = 0n; offset < 10_000n; offset++) {
    mark.take(offset)
    mark.done(offset)
  }
  t.is(mark.tracked(), 0)
  t.is(mark.mark(), 10_000n)
})

test('low-water mark: done twice, never taken, or taken backwards is an invariant, not a shrug', (t) => {
  const mark = createLowWaterMark(5n)
  t.throws(() => mark.take(4n), { message: /SLU_INTERNAL/ })
  mark.take(5n)
  mark.done(5n)
  t.throws(() => mark.done(5n), { message: /SLU_INTERNAL/ })
  t.throws(() => mark.done(6n), { message: /SLU_INTERNAL/ })
})
