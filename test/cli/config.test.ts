import { readFileSync } from 'node:fs'
import test from 'ava'
import { referencePage } from '../../cli/config.ts'

test('config: docs/configuration.md is the schema printed, not a copy that has drifted', (t) => {
  t.is(readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8'), referencePage())
})
