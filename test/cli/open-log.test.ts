import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { secret } from '../../cli/open-log.ts'
import { temporaryFolder } from '../helpers/gate.ts'

test('secret: the variable, else the file that <NAME>_FILE names, without its last newline', (t) => {
  const file = join(temporaryFolder(), 'key')
  writeFileSync(file, 'from a file\n')
  t.is(secret({ KEY: 'from the variable', KEY_FILE: file }, 'KEY'), 'from the variable')
  t.is(secret({ KEY_FILE: file }, 'KEY'), 'from a file')
  t.is(secret({ KEY: '', KEY_FILE: file }, 'KEY'), 'from a file')
})

test('secret: what is not set, not there or empty is named, and never taken for an empty key', (t) => {
  const file = join(temporaryFolder(), 'key')
  t.like(
    t.throws(() => secret({}, 'KEY')),
    { code: 'SLU_ENV_SECRET' },
  )
  t.like(
    t.throws(() => secret({ KEY: '', KEY_FILE: '' }, 'KEY')),
    { code: 'SLU_ENV_SECRET' },
  )
  t.regex((t.throws(() => secret({ KEY_FILE: file }, 'KEY')) as Error).message, /KEY_FILE .*key/)
  writeFileSync(file, '\n')
  t.regex((t.throws(() => secret({ KEY_FILE: file }, 'KEY')) as Error).message, /empty/)
})
