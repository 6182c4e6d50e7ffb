/**
 * What it means that nothing can listen where the site says.
 *
 * Owns: telling an address that another process has (SLU_ENV_PORT) from one that nobody here could have (SLU_CONFIG_INVALID).
 */
import { createServer } from 'node:net'
import { SluiceError } from '../schemas/errors.ts'

/** What the system calls it; null where it is no error of a listener. */
function systemCode(thrown: unknown): string | null {
  const told = thrown instanceof SluiceError && thrown.code === 'SLU_ENV_PORT' ? thrown.cause : thrown
  const code = told instanceof Error ? (told as NodeJS.ErrnoException).code : undefined
  return typeof code === 'string' && /^E[A-Z]+(_[A-Z]+)?$/.test(code) ? code : null
}

export const isTaken = (thrown: unknown): boolean => systemCode(thrown) === 'EADDRINUSE'

/** What was thrown on `listen`, the value of the key `field`, as the error to show. */
export function asListenError(thrown: unknown, field: string, listen: string): unknown {
  const code = systemCode(thrown)
  if (code === null) return thrown
  if (code === 'EADDRINUSE') return thrown instanceof SluiceError ? thrown : new SluiceError('SLU_ENV_PORT', `${field} ${listen}`, thrown)
  const fix =
    code === 'EACCES'
      ? 'Take a port from 1024 on, or give this user the right to lower ones.'
      : 'Name an address of this host: 127.0.0.1 for this host alone, 0.0.0.0 for every network it is in.'
  return new SluiceError('SLU_CONFIG_INVALID', `${field}: cannot listen on ${listen}`, thrown instanceof SluiceError ? thrown.cause : thrown, fix)
}

/** Binds and lets go. Rejects with SLU_ENV_PORT, SLU_CONFIG_INVALID. */
export async function listenOnce(field: string, listen: string): Promise<void> {
  const at = listen.lastIndexOf(':')
  const server = createServer()
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(Number(listen.slice(at + 1)), listen.slice(0, at).replace(/^\[|\]$/g, ''), resolve)
    })
  } catch (thrown) {
    throw asListenError(thrown, field, listen)
  }
  await new Promise<void>((resolve) => server.close(() => resolve()))
}
