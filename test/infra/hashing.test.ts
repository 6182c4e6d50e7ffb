import test from 'ava'
import { nodeHashing } from '../../infra/hashing.ts'

test('hashing: SHA-256 and HMAC-SHA-256 give the published values (FIPS 180-4, RFC 4231)', (t) => {
  t.is(nodeHashing.sha256(Buffer.from('abc')).toString('hex'), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad')
  t.is(nodeHashing.sha256(Buffer.alloc(2_000_000, 'a')).length, 32)
  t.is(nodeHashing.hmacSha256(Buffer.from('Jefe'), Buffer.from('what do ya want for nothing?')).toString('hex'), '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
})

test('hashing: the short and the long path agree, or a ledger would depend on size', (t) => {
  const big = Buffer.alloc((1 << 20) + 1, 7)
  t.deepEqual(nodeHashing.sha256(big), nodeHashing.sha256(Buffer.from(big)))
  t.not(nodeHashing.sha256(big.subarray(0, 1 << 20)).toString('hex'), nodeHashing.sha256(big).toString('hex'))
})
