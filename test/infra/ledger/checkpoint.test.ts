import { createHash } from 'node:crypto'
import test from 'ava'
import { createSeed, createSigner, createVerifier } from '../../../infra/ledger/checkpoint.ts'

const NAME = 'example.org/hall-1/egress/1'
const root = createHash('sha256').digest()
const signer = createSigner(NAME, createSeed())

test('checkpoint: the note is origin, size, root, blank line and one signature line, as C2SP writes it (F)', (t) => {
  const note = signer.sign({ size: 70_003, root })
  t.regex(note, new RegExp(`^${NAME}\n70003\n${root.toString('base64').replaceAll('+', '\\+')}\n\n— ${NAME} [A-Za-z0-9+/]{90}[A-Za-z0-9+/=]{2}\n$`))
  t.deepEqual(createVerifier(signer.vkey).open(note), { origin: NAME, size: 70_003, root })
})

test('checkpoint: the key id is the first four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key) (F)', (t) => {
  const [, id = '', encoded = ''] = /^[^+]+\+([0-9a-f]{8})\+(.+)$/.exec(signer.vkey) ?? []
  const key = Buffer.from(encoded, 'base64')
  t.is(key[0], 1)
  t.is(createHash('sha256').update(`${NAME}\n`).update(key).digest('hex').slice(0, 8), id)
  t.is(
    Buffer.from(/— \S+ (\S+)/.exec(signer.sign({ size: 1, root }))?.[1] ?? '', 'base64')
      .subarray(0, 4)
      .toString('hex'),
    id,
  )
})

test('checkpoint: a note that another system signed is read: Go’s note package, its published example', (t) => {
  const vkey = 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW'
  t.is(createVerifier(vkey).name, 'PeterNeumann')
})

test('checkpoint: one changed byte anywhere in text or signature is refused', (t) => {
  const note = signer.sign({ size: 5, root })
  const { open } = createVerifier(signer.vkey)
  for (let i = 0; i < note.length - 1; i++) {
    const changed = `${note.slice(0, i)}${note[i] === 'A' ? 'B' : 'A'}${note.slice(i + 1)}`
    t.is(open(changed), null, `byte ${i}`)
  }
  for (const text of ['', '\n\n', note.split('\n\n')[0] ?? '', note.replace('\n\n', '\n')]) t.is(open(text), null)
})

test('checkpoint: the same signature spelt in another base64 is refused, for every key', (t) => {
  // 68 bytes leave four bits of the last digit unused: a lenient reader takes 16 spellings for one.
  for (let i = 0; i < 20; i++) {
    const own = createSigner(NAME, createSeed())
    const note = own.sign({ size: i, root })
    const at = note.lastIndexOf('=') - 1
    const digits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'
    const spelt = note.slice(0, at) + digits[digits.indexOf(note[at] ?? '') ^ 1] + note.slice(at + 1)
    t.is(createVerifier(own.vkey).open(spelt), null)
    t.is(createVerifier(own.vkey).open(note)?.size, i)
  }
})

test('checkpoint: another key under the same name, and the same key under another name, are refused', (t) => {
  const seed = createSeed()
  const note = createSigner(NAME, seed).sign({ size: 1, root })
  t.is(createVerifier(signer.vkey).open(note), null)
  t.is(createVerifier(createSigner('other', seed).vkey).open(note), null)
})

test('checkpoint: signatures of others beside ours do not harm: a witness may add its own', (t) => {
  const note = signer.sign({ size: 1, root })
  const witness = `— witness.example ${Buffer.alloc(76).toString('base64')}\n`
  t.is(createVerifier(signer.vkey).open(note + witness)?.size, 1)
  t.is(createVerifier(signer.vkey).open(note.replace('\n\n', `\n\n${witness}`))?.size, 1)
})

test('checkpoint: malformed verifier keys and seeds are named errors, no crash', (t) => {
  for (const vkey of ['', 'a+b+c', signer.vkey.slice(0, -4), signer.vkey.replace(NAME, 'other'), signer.vkey.replace('+A', '+B')])
    t.throws(() => createVerifier(vkey), { message: /SLU_LEDGER_CORRUPT/ }, vkey)
  t.throws(() => createSigner(NAME, 'c2hvcnQ='), { message: /SLU_LEDGER_CORRUPT/ })
})
