import test from 'ava'
import { describeProblems, noteProblem, PROBLEMS_NAMED_MAX, type Problems } from '../../../functions/normalize-telemetry/problems.ts'

test('problems: a flood of bad lines is counted, never listed without end (N2)', (t) => {
  const problems: Problems = { noted: [], more: 0 }
  t.is(describeProblems(problems), '')
  for (let i = 1; i <= 1000; i++) noteProblem(problems, `line ${i}`, 'no value')
  t.is(problems.noted.length, PROBLEMS_NAMED_MAX)
  t.true(describeProblems(problems).startsWith('line 1: no value; line 2: no value'))
  t.true(describeProblems(problems).endsWith(`${1000 - PROBLEMS_NAMED_MAX} more`))
})
