import test from 'ava'
import { isTick, TICK_HEADER, tickRecord, tickTimeMs } from '../../streams/tick.ts'

test('tick: what is written is read back, to the explicit partition (W8)', (t) => {
  const tick = tickRecord('hardware.telemetry', 3, 1_700_000_000_000)
  t.is(tick.partition, 3)
  t.is(tick.value, null)
  t.true(isTick({ headers: tick.headers ?? [] }))
  t.is(tickTimeMs({ headers: tick.headers ?? [] }), 1_700_000_000_000)
})

test('tick: a header that is not a time moves no watermark, and a record without it is no tick', (t) => {
  for (const text of ['', 'soon', '-1', '1.5', '9'.repeat(30)]) t.is(tickTimeMs({ headers: [[TICK_HEADER, Buffer.from(text)]] }), null, text)
  t.false(isTick({ headers: [['traceparent', Buffer.from('x')]] }))
  t.is(tickTimeMs({ headers: [] }), null)
})
