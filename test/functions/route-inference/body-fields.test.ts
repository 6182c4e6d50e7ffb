import test from 'ava'
import fc from 'fast-check'
import { stringAt, topLevelRanges, withStringAt } from '../../../functions/route-inference/body-fields.ts'

const names = new Set(['model', 'stream'])

test('body fields: the top-level model of any JSON object is found, never a nested one', (t) => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string(), fc.constantFrom(0, 2), (rest, model, indent) => {
      const { model: _, ...others } = rest
      const body = Buffer.from(JSON.stringify({ nested: { model: 'no' }, ...others, model }, null, indent))
      const top = topLevelRanges(body, names)
      if (top.kind !== 'object') return false
      const range = top.ranges.get('model')
      return range !== undefined && stringAt(body, range) === model && (JSON.parse(withStringAt(body, range, 'x').toString()) as { model: string }).model === 'x'
    }),
  )
  t.pass()
})

test('body fields: replacing the model changes no other byte: an INT64 stays exact', (t) => {
  const body = Buffer.from('{ "seed": 9223372036854775807,"model" : "a" , "x":[1,{"model":"b"}]}')
  const top = topLevelRanges(body, names)
  t.is(
    top.kind === 'object' && withStringAt(body, top.ranges.get('model') as { start: number; end: number }, 'zz').toString(),
    '{ "seed": 9223372036854775807,"model" : "zz" , "x":[1,{"model":"b"}]}',
  )
})

test('body fields: a name given twice or with escapes is not overlooked; truncated bytes are no object', (t) => {
  t.is(topLevelRanges(Buffer.from('{"model":"a","mod\\u0065l":"b"}'), names).kind, 'repeated')
  for (const text of ['', '[]', '{', '{"a"', '{"a":', '{"a":1', '{"a":"', '{"a":1,}', '"x"']) t.is(topLevelRanges(Buffer.from(text), names).kind, 'not-object', text)
})
