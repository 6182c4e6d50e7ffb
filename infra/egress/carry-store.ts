/**
 * The carry folder: a directory as an object store, for sites without an uplink (egress.md §7).
 *
 * Owns: first write wins (W11). An object is written beside its place, flushed, and linked into it, which fails when something is there;
 * the folders on the way are flushed, so that an acknowledged object survives a power cut. Nothing is ever overwritten or removed.
 */
import { createHash, randomUUID } from 'node:crypto'
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import type { HeadOutcome, ObjectStore, PutOutcome } from '../../schemas/ports.ts'

/** Keys are made of closed enums; anything else never reaches a path (E04). */
const KEY = /^[a-z0-9-]{1,32}\/[a-z][a-z0-9._]{0,127}\/[0-9]{1,6}(?:ms|s|m|h)\/[0-9]{1,16}\/[a-z0-9-]{1,32}\.json$/

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException | null)?.code ?? 'unknown error'
const sha256Of = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Flushes every folder from that of `path` up to `root`. */
async function flushFolders(root: string, path: string): Promise<void> {
  for (let dir = dirname(path); ; dir = dirname(dir)) {
    await flush(dir)
    if (relative(root, dir) === '' || relative(root, dir).split(sep)[0] === '..') return
  }
}

async function writeDurably(path: string, bytes: Buffer): Promise<void> {
  const handle = await open(path, 'wx', 0o644)
  try {
    await handle.writeFile(bytes)
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** An object store over `dir`; the folder is made at the first write. Neither call rejects. */
export function createCarryStore(options: { readonly name: string; readonly dir: string }): ObjectStore {
  const { name, dir } = options

  const compare = async (path: string, sha256: string): Promise<PutOutcome> => {
    const found = sha256Of(await readFile(path))
    return found === sha256 ? { kind: 'exists-same', etag: '', checksum: found } : { kind: 'exists-other', reason: `another object lies there, SHA-256 ${found}` }
  }

  const put: ObjectStore['put'] = async ({ key, bytes, sha256 }, signal) => {
    if (!KEY.test(key)) return { kind: 'hold', reason: 'not a key of a summary' }
    if (signal.aborted) return { kind: 'retry', reason: 'aborted before anything was written' }
    const path = join(dir, key)
    const temporary = join(dirname(path), `.${randomUUID()}.new`)
    try {
      await mkdir(dirname(path), { recursive: true })
      await writeDurably(temporary, bytes)
      try {
        await link(temporary, path)
      } catch (error) {
        if (codeOf(error) === 'EEXIST') return await compare(path, sha256.toString('hex'))
        throw error
      } finally {
        await unlink(temporary)
      }
      await flushFolders(dir, path)
      return { kind: 'stored', etag: '', checksum: sha256.toString('hex') }
    } catch (error) {
      return { kind: 'hold', reason: `the carry folder cannot be written: ${codeOf(error)}` }
    }
  }

  const head = async (key: string): Promise<HeadOutcome> => {
    if (!KEY.test(key)) return { kind: 'unknown', reason: 'not a key of a summary' }
    try {
      const bytes = await readFile(join(dir, key))
      return { kind: 'present', bytes: bytes.length, sha256: sha256Of(bytes) }
    } catch (error) {
      return codeOf(error) === 'ENOENT' ? { kind: 'absent' } : { kind: 'unknown', reason: codeOf(error) }
    }
  }

  return { name, kind: 'carry', put, head, close: async () => {} }
}
