import test from 'ava'
import { valuesOf } from '../../cli/send.ts'

const split = (text: string, isByLine: boolean) => {
  const { values, skipped } = valuesOf(Buffer.from(text), isByLine)
  return [values.map(String), skipped]
}

test('send: an input is one record as it is; an empty one is none', (t) => {
  t.deepEqual(split('x\n', false), [['x\n'], 0])
  t.deepEqual(split('\n', false), [['\n'], 0])
  t.deepEqual(split('', false), [[], 0])
})

test('send: by lines a record has no line break, and what is skipped is counted; the last line break begins no line', (t) => {
  t.deepEqual(split('a\nb\n', true), [['a', 'b'], 0])
  t.deepEqual(split('a\n\n\nb', true), [['a', 'b'], 2])
  t.deepEqual(split('\n', true), [[], 1])
  t.deepEqual(split('', true), [[], 0])
})
