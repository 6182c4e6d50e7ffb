import test from 'ava'
import { helpPage } from '../../cli/help.ts'
import { errors, type ErrorCode } from '../../schemas/errors.ts'

for (const code of Object.keys(errors) as ErrorCode[])
  test(`help: ${code} has a page with what, why, fix, what happens then, exit code`, (t) => {
    const page = helpPage(code).join('\n')
    for (const part of ['what', 'why', 'fix', 'then', 'exit code', errors[code].what, errors[code].fix]) t.true(page.includes(part), part)
  })
