import test from 'ava'
import { createMint, type Exportable } from '../../../functions/forward-summaries/exportable.ts'
import { nodeHashing } from '../../../infra/hashing.ts'
import type { IntentLeaf } from '../../../schemas/ledger.ts'

const bytes = Buffer.from('x')
const leaf = { key: 'k', bytes: 1, sha256: nodeHashing.sha256(bytes).toString('hex') } as IntentLeaf

test('exportable: only what this mint made can be opened, a look-alike cannot', (t) => {
  const mint = createMint(nodeHashing)
  t.is(mint.open(mint.make(leaf, bytes)).key, 'k')
  t.like(
    t.throws(() => mint.open({ key: 'k', bytes } as unknown as Exportable)),
    { code: 'SLU_EGRESS_HOLD' },
  )
  t.like(
    t.throws(() => mint.open(createMint(nodeHashing).make(leaf, bytes))),
    { code: 'SLU_EGRESS_HOLD' },
  )
})

test('exportable: other bytes than those of the intent are refused', (t) => {
  t.like(
    t.throws(() => createMint(nodeHashing).make(leaf, Buffer.from('y'))),
    { code: 'SLU_LEDGER_CORRUPT' },
  )
})
