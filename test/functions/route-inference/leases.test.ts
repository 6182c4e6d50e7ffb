import test from 'ava'
import { createLeases } from '../../../functions/route-inference/leases.ts'

test('leases: no more than the slots are taken, and releasing twice frees one', (t) => {
  const leases = createLeases(new Map([['a', 2]]))
  let released = 0
  leases.onRelease(() => released++)
  const first = leases.take('a')
  leases.take('a')
  t.is(leases.take('a'), null)
  t.is(leases.take('unknown'), null)
  first?.release()
  first?.release()
  t.is(leases.inFlight('a'), 1)
  t.is(released, 1)
})
