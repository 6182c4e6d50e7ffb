/**
 * C2SP tlog-checkpoint in a signed note, Ed25519 (egress.md §6).
 *
 * Owns: the text (F): origin, decimal size, padded base64 root, blank line, signature lines; origin = key name; key id = first 4 bytes of
 * SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key); verifier key `name+hex id+base64(0x01 ‖ public key)`; the signer's key file. Ed25519 is `node:crypto`.
 */
import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, sign, verify, type KeyObject } from 'node:crypto'
import { SluiceError } from '../../schemas/errors.ts'

export interface Checkpoint {
  readonly origin: string
  readonly size: number
  /** 32 bytes. */
  readonly root: Buffer
}

export interface Signer {
  readonly name: string
  readonly vkey: string
  /** The whole note. */
  sign(checkpoint: Omit<Checkpoint, 'origin'>): string
}

const ALGORITHM = 0x01
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex')
const SPKI = Buffer.from('302a300506032b6570032100', 'hex')

function keyId(name: string, publicKey: Uint8Array): Buffer {
  return createHash('sha256')
    .update(name)
    .update(Buffer.from([0x0a, ALGORITHM]))
    .update(publicKey)
    .digest()
    .subarray(0, 4)
}

const publicBytes = (key: KeyObject): Buffer => key.export({ type: 'spki', format: 'der' }).subarray(SPKI.length)

function body({ origin, size, root }: Checkpoint): string {
  return `${origin}\n${size}\n${root.toString('base64')}\n`
}

/** A new seed, base64. */
export function createSeed(): string {
  const { privateKey } = generateKeyPairSync('ed25519')
  return privateKey.export({ type: 'pkcs8', format: 'der' }).subarray(PKCS8.length).toString('base64')
}

/** The signer of a ledger: `name` is its origin, `seed` 32 bytes in base64. Throws SLU_LEDGER_CORRUPT for an unusable seed. */
export function createSigner(name: string, seed: string): Signer {
  const raw = Buffer.from(seed.trim(), 'base64')
  if (raw.length !== 32) throw new SluiceError('SLU_LEDGER_CORRUPT', 'the signing key is not 32 bytes')
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, raw]), format: 'der', type: 'pkcs8' })
  const publicKey = publicBytes(createPublicKey(key))
  const id = keyId(name, publicKey)
  return {
    name,
    vkey: `${name}+${id.toString('hex')}+${Buffer.concat([Buffer.from([ALGORITHM]), publicKey]).toString('base64')}`,
    sign: (checkpoint) => {
      const text = body({ origin: name, ...checkpoint })
      return `${text}\n— ${name} ${Buffer.concat([id, sign(null, Buffer.from(text), key)]).toString('base64')}\n`
    },
  }
}

export interface Verifier {
  readonly name: string
  /** The checkpoint of a note signed by this key; null for anything else. */
  open(note: string): Checkpoint | null
}

/** Throws SLU_LEDGER_CORRUPT for a malformed verifier key. */
export function createVerifier(vkey: string): Verifier {
  // The base64 may hold plus signs itself.
  const [, name = '', idHex = '', encoded = ''] = /^([^\s+]{1,256})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(vkey.trim()) ?? []
  const bytes = Buffer.from(encoded, 'base64')
  const publicKey = bytes.subarray(1)
  if (bytes.length !== 33 || bytes[0] !== ALGORITHM || keyId(name, publicKey).toString('hex') !== idHex)
    throw new SluiceError('SLU_LEDGER_CORRUPT', 'the verifier key is malformed')
  const key = createPublicKey({ key: Buffer.concat([SPKI, publicKey]), format: 'der', type: 'spki' })
  return {
    name,
    open: (note) => {
      const at = note.indexOf('\n\n')
      if (at < 0) return null
      const text = note.slice(0, at + 1)
      const signatures = note.slice(at + 2).split('\n')
      const isSigned = signatures.some((line) => {
        const [dash, signer, blob] = line.split(' ')
        if (dash !== '—' || signer !== name || blob === undefined) return false
        const signature = bytesOf(blob)
        return signature?.length === 68 && signature.subarray(0, 4).toString('hex') === idHex && verify(null, Buffer.from(text), key, signature.subarray(4))
      })
      return isSigned ? parseBody(text, name) : null
    },
  }
}

/** Only the one spelling of the bytes: what is skipped in reading could differ between two copies of a note. */
function bytesOf(base64: string): Buffer | null {
  const bytes = Buffer.from(base64, 'base64')
  return bytes.toString('base64') === base64 ? bytes : null
}

function parseBody(text: string, name: string): Checkpoint | null {
  const [origin = '', size = '', root64 = ''] = text.split('\n')
  const root = bytesOf(root64)
  if (origin !== name || !/^(?:0|[1-9][0-9]{0,15})$/.test(size) || root?.length !== 32) return null
  return { origin, size: Number(size), root }
}
