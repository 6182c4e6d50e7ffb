import test from 'ava'
import { SHUTDOWN_CEL, SLOWDOWN_CEL } from '../../../../infra/endpoints/simulator/accelerator.ts'

test('accelerator: silicon slows down before it would switch itself off, never after', (t) => {
  t.true(SLOWDOWN_CEL < SHUTDOWN_CEL)
})
