import test from 'ava'
import { decodeLeaf, encodeLeaf } from '../../../infra/ledger/leaf.ts'
import { canonicalJson } from '../../../schemas/canonical-json.ts'
import { NO_ROOT, type PolicyLeaf } from '../../../schemas/ledger.ts'

const LEDGER = 'example.org/hall-1/egress/1'
const NONCE = '00112233445566778899aabbccddeeff'
const policy: PolicyLeaf = { type: 'policy', bundle: 'b', bundle_id: 'starter', version: 1, signature: 'unsigned', root: NO_ROOT, at: 5 }
const text = (more: object): Buffer => Buffer.from(canonicalJson({ ...policy, v: 1, ledger: LEDGER, seq: 7, nonce: NONCE, ...more }))

const wrongIn = (decoded: ReturnType<typeof decodeLeaf>): string => (typeof decoded === 'string' ? decoded : '')

test('leaf: it is canonical JSON of v, type, ledger, seq, nonce and its members (F)', (t) => {
  const bytes = encodeLeaf(policy, LEDGER, 7, NONCE)
  t.is(
    bytes.toString(),
    `{"at":5,"bundle":"b","bundle_id":"starter","ledger":"${LEDGER}","nonce":"${NONCE}","root":"${NO_ROOT}","seq":7,"signature":"unsigned","type":"policy","v":1,"version":1}`,
  )
  t.like(decodeLeaf(bytes, LEDGER, 7), policy)
})

test('leaf: one at another place, of another ledger, without nonce or of no known type is named, never read', (t) => {
  t.regex(wrongIn(decodeLeaf(text({}), LEDGER, 8)), /stands at 7/)
  t.regex(wrongIn(decodeLeaf(text({}), 'other', 7)), /another ledger/)
  t.regex(wrongIn(decodeLeaf(text({ nonce: 'x' }), LEDGER, 7)), /nonce/)
  t.regex(wrongIn(decodeLeaf(text({ type: 'gift' }), LEDGER, 7)), /gift/)
  t.regex(wrongIn(decodeLeaf(text({ v: 2 }), LEDGER, 7)), /version 2/)
  t.regex(wrongIn(decodeLeaf(Buffer.from(`${text({}).toString()} `), LEDGER, 7)), /canonical/)
  t.regex(wrongIn(decodeLeaf(Buffer.from([0xff]), LEDGER, 7)), /canonical/)
})

test('leaf: members and types of later releases do not break this reader', (t) => {
  t.like(decodeLeaf(text({ later: 'x' }), LEDGER, 7), { later: 'x' })
  t.is(decodeLeaf(text({ type: 'tombstone' }), LEDGER, 7), null)
})

test('leaf: beyond 65,535 bytes it is refused, for an entry bundle could not hold it', (t) => {
  t.throws(() => encodeLeaf({ ...policy, bundle: 'x'.repeat(65_536) }, LEDGER, 0, NONCE), { instanceOf: TypeError })
})
