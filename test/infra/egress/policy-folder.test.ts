import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { parseStrictJson, readPolicyFolder } from '../../../infra/egress/policy-folder.ts'
import { temporaryFolder } from '../../helpers/gate.ts'

const refused = { code: 'SLU_EGRESS_POLICY' } as const

test('policy folder: the shipped bundle reads, unsigned, and permits no metric it also denies', (t) => {
  const policy = readPolicyFolder('policy')
  t.is(policy.signature, 'unsigned')
  t.true(policy.denials.has('hw.gpu.memory.limit'))
  t.false(policy.permits.has('hw.gpu.memory.limit'))
  t.is(policy.minContributors.tenant, 10)
})

test('policy folder: a file edited, missing, foreign or of a drifted schema closes the gate (E01, E11, E22)', (t) => {
  const fresh = (): string => {
    const dir = temporaryFolder()
    cpSync('policy', dir, { recursive: true })
    return dir
  }
  const edited = fresh()
  writeFileSync(join(edited, 'enums.json'), `${readFileSync(join(edited, 'enums.json'), 'utf8')} `)
  t.like(
    t.throws(() => readPolicyFolder(edited)),
    refused,
  )
  const extra = fresh()
  writeFileSync(join(extra, 'more.json'), '{}')
  t.like(
    t.throws(() => readPolicyFolder(extra)),
    refused,
  )
  t.like(
    t.throws(() => readPolicyFolder(temporaryFolder())),
    refused,
  )
  t.like(
    t.throws(() => readPolicyFolder('policy', Buffer.from('{"fields":[]}'))),
    refused,
  )
})

test('policy folder: duplicate members and odd numbers are refused, the last one does not win (E03)', (t) => {
  for (const text of ['{"a":1,"a":2}', '{"a":1e999}', '{"a":-0}', '{"a":9007199254740993}', 'x'])
    t.like(
      t.throws(() => parseStrictJson('f', Buffer.from(text))),
      refused,
    )
})
