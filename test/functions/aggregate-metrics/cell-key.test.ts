import test from 'ava'
import fc from 'fast-check'
import { cellKey } from '../../../functions/aggregate-metrics/cell-key.ts'

test('cell-key: attributes are sorted and separators escaped', (t) => {
  t.is(cellKey('pool-a', 'hw.errors', { memory: 'hbm', 'error.type': 'corrected' }), 'pool-a|hw.errors|error.type=corrected,memory=hbm')
  t.is(cellKey('pool-a', 'hw.power', {}), 'pool-a|hw.power|')
})

test('cell-key: two cells never share a key', (t) => {
  const part = fc.string({ unit: fc.constantFrom('a', '|', '=', ',', '%', '7', 'c'), maxLength: 4 })
  const cell = fc.tuple(part, part, fc.dictionary(part, part, { maxKeys: 3 }))
  const canonical = ([p, m, a]: [string, string, Record<string, string>]): string =>
    JSON.stringify([
      p,
      m,
      Object.keys(a)
        .sort()
        .map((k) => [k, a[k]]),
    ])
  fc.assert(
    fc.property(cell, cell, (a, b) => {
      t.is(cellKey(...a) === cellKey(...b), canonical(a) === canonical(b))
    }),
    { numRuns: 2000 },
  )
})
