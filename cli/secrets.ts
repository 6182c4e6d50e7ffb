/** The site's pseudonym key: from the environment, or a file of mode 0600 that is made once where the site asks for it. */
import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { SluiceError } from '../schemas/errors.ts'
import type { LoadedSite } from './load-site.ts'
import { secret, type Environment } from './open-log.ts'

const KEY_BYTES = 32

/** Throws SLU_ENV_SECRET naming the variable or file. */
export function pseudonymKey(loaded: LoadedSite, environment: Environment): Buffer {
  const { keyEnv, keyFile, create } = loaded.site.pseudonyms
  if (keyEnv !== undefined) return Buffer.from(secret(environment, keyEnv), 'utf8')
  const path = loaded.pathOf(keyFile as string)
  try {
    if (create) {
      mkdirSync(dirname(path), { recursive: true })
      writeFileSync(path, `${randomBytes(KEY_BYTES).toString('hex')}\n`, { flag: 'wx', mode: 0o600 })
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw new SluiceError('SLU_ENV_SECRET', path, error)
  }
  try {
    const key = readFileSync(path, 'utf8').trim()
    if (key.length < 16) throw new SluiceError('SLU_ENV_SECRET', `${path}: shorter than 16 characters`)
    return Buffer.from(key, 'utf8')
  } catch (error) {
    if (error instanceof SluiceError) throw error
    throw new SluiceError('SLU_ENV_SECRET', path, error)
  }
}
