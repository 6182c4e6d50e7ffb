import test from 'ava'
import { createPlaces } from '../../streams/places.ts'

test('places: never more taken than there are, and a waiting partition hears when one comes free (C5)', (t) => {
  let heard = 0
  const places = createPlaces(2, () => heard++)
  t.true(places.take())
  t.true(places.take())
  t.false(places.take())
  places.giveBack()
  t.is(heard, 1)
  places.giveBack()
  t.is(heard, 1)
  t.is(places.free(), 2)
})
