import test from 'ava'
import { hasElapsed } from '../../streams/elapsed.ts'

test('elapsed: over after the time, not before', (t) => {
  t.false(hasElapsed(1000, 50, 1000))
  t.false(hasElapsed(1000, 50, 1049))
  t.true(hasElapsed(1000, 50, 1050))
})

test('elapsed: a clock set back never makes a wait longer than it was', (t) => {
  t.true(hasElapsed(3_600_000, 50, 0))
})
