import test from 'ava'
import { attributeNames, metricNames } from '../../schemas/telemetry-names.ts'

test('telemetry names: every name is given once, in the dotted form of the conventions', (t) => {
  for (const names of [Object.values(metricNames), Object.values(attributeNames)] as const) {
    t.is(new Set<string>(names).size, names.length)
    for (const name of names) t.regex(name, /^[a-z][a-z_]*(\.[a-z_]+)+$/)
  }
})
