import fc from 'fast-check'
import test from 'ava'
import { indented, onOneLine, printable, printableJson, printableTree, shortened } from '../../cli/printable.ts'

const HOSTILE = 'a\u001b[2Jb\r\u0007\u007f\u009b31m\u202egnp\u2066\u061c\u2028z'
const SHOWN = String.raw`a\x1b[2Jb\x0d\x07\x7f\x9b31m\u202egnp\u2066\u061c\u2028z`

test('printable: escape sequences, C1, DEL and bidi controls are written out, everything else is left as it is', (t) => {
  t.is(printable(HOSTILE), SHOWN)
  t.is(printable('{"x":"ü 温度 🙂"}\n\t2'), '{"x":"ü 温度 🙂"}\n\t2')
})

test('printable: what stands on one line stays there; what is indented never begins a line of ours', (t) => {
  t.is(onOneLine('k\n0/1  forged\t'), String.raw`k\x0a0/1  forged\x09`)
  t.is(indented('a\n0/1  forged\n\u001b', '  '), '  a\n  0/1  forged\n  \\x1b')
})

test('printable: JSON is the same document and holds nothing that a terminal obeys', (t) => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.string({ unit: 'binary' }), (value, hostile) => {
      const json = printableJson(JSON.stringify({ value, hostile, [HOSTILE]: HOSTILE }))
      // oxlint-disable-next-line no-control-regex
      t.notRegex(json, /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069]/)
      t.deepEqual(JSON.parse(json), JSON.parse(JSON.stringify({ value, hostile, [HOSTILE]: HOSTILE })))
    }),
  )
})

test('printable: a long text is cut between characters, and says how long it was; a short one is as it is', (t) => {
  t.is(shortened('abc', 3, '--full'), 'abc')
  t.is(shortened('abcd', 3, '--full'), 'abc\n[cut: 3 of 4 characters; all with --full]')
  t.is(shortened('ab🙂d', 3, '--full'), 'ab\n[cut: 2 of 5 characters; all with --full]')
})

test('printable: a tree keeps its shape; names and texts are written out', (t) => {
  t.deepEqual(printableTree({ a: [HOSTILE, 1, null, { ['\u001b']: 2n }], b: true }), { a: [SHOWN, 1, null, { ['\\x1b']: 2n }], b: true } as never)
})
