/** SHA-256 and HMAC-SHA-256 over `node:crypto` as the `Hashing` port. */
import { createHash, createHmac, hash } from 'node:crypto'
import type { Hashing } from '../schemas/ports.ts'

export const nodeHashing: Hashing = {
  sha256: (bytes) => (bytes.length < 1 << 20 ? hash('sha256', bytes, 'buffer') : createHash('sha256').update(bytes).digest()),
  hmacSha256: (key, bytes) => createHmac('sha256', key).update(bytes).digest(),
}
