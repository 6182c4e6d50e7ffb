/**
 * The carry folder: a destination for sites without an uplink (egress.md §7). Same keys and bytes as in S3, to be carried elsewhere.
 *
 * Owns: first write wins (W11). The object is written under a temporary name, flushed, and linked to its key: the link fails when the key
 * exists, so no reader sees half an object and no writer overwrites one. Neither call rejects. Keys are checked again here: nothing is
 * written outside the folder.
 */
import { createHash, randomUUID } from 'node:crypto'
import { link, mkdir, open, readFile, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import type { HeadOutcome, ObjectStore, PutOutcome } from '../../schemas/ports.ts'

/** (F) site/metric/grid/window/cell.json */
const KEY = /^[a-z0-9-]{1,32}\/[a-z][a-z0-9_]*(?:\.[a-z0-9_]+)*\/[1-9][0-9]*(?:ms|s|m|h)\/[0-9]{1,16}\/[a-z0-9-]{1,32}\.json$/

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException | null)?.code ?? 'unexpected failure'

async function flush(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Flushes the folders from `from` up to `root`, so that a new path is durable. */
async function flushUpTo(from: string, root: string): Promise<void> {
  for (let at = from; ; at = dirname(at)) {
    await flush(at)
    if (at === root || at === dirname(at)) return
  }
}

export function createCarryStore(name: string, folder: string): ObjectStore {
  const dir = resolve(folder)

  const head = async (key: string): Promise<HeadOutcome> => {
    if (!KEY.test(key)) return { kind: 'unknown', reason: 'not a key of this store' }
    try {
      const bytes = await readFile(join(dir, key))
      return { kind: 'present', bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') }
    } catch (error) {
      return codeOf(error) === 'ENOENT' ? { kind: 'absent' } : { kind: 'unknown', reason: codeOf(error) }
    }
  }

  const existing = async (key: string, sha256: string): Promise<PutOutcome> => {
    const found = await head(key)
    if (found.kind !== 'present') return { kind: 'hold', reason: 'an object that exists cannot be read' }
    if (found.sha256 !== sha256) return { kind: 'exists-other', reason: 'other bytes stand under this key' }
    return { kind: 'exists-same', etag: '', checksum: sha256 }
  }

  const put: ObjectStore['put'] = async ({ key, bytes, sha256 }, signal) => {
    if (!KEY.test(key)) return { kind: 'hold', reason: 'not a key of this store' }
    if (signal.aborted) return { kind: 'retry', reason: 'aborted' }
    const path = join(dir, key)
    const folder = dirname(path)
    const checksum = sha256.toString('hex')
    const temporary = join(folder, `.${randomUUID()}`)
    try {
      await mkdir(folder, { recursive: true })
      try {
        const handle = await open(temporary, 'wx', 0o644)
        try {
          await handle.writeFile(bytes)
          await handle.sync()
        } finally {
          await handle.close()
        }
        await link(temporary, path)
      } finally {
        await unlink(temporary).catch(() => {})
      }
      await flushUpTo(folder, dir)
      return { kind: 'stored', etag: '', checksum }
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return existing(key, checksum)
      // A full disk, a missing right: nothing may be assumed, and the partition waits until somebody saw to it.
      return { kind: 'hold', reason: `${dir}: ${codeOf(error)}` }
    }
  }

  return { name, kind: 'carry', put, head, close: () => Promise.resolve() }
}
