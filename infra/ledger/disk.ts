/**
 * The few things a ledger asks of a disk, so that a test can put a failing one in its place.
 *
 * Owns: durable writes. A file is written under another name, flushed, renamed, and its folder flushed; the write-ahead log is appended and
 * flushed. One writer: SQLite's own file lock on `lock`, which dies with its holder whatever kills it (a pid file would not).
 */
import { mkdirSync, openSync, closeSync, fsyncSync } from 'node:fs'
import { open, readFile, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { SluiceError } from '../../schemas/errors.ts'

export interface AppendFile {
  readonly bytes: number
  /** One write and one flush: durable when it resolves. */
  append(bytes: Buffer): Promise<void>
  close(): Promise<void>
}

export interface Disk {
  /** Null when it does not exist. */
  read(path: string): Promise<Buffer | null>
  exists(path: string): Promise<boolean>
  /** Durable when it resolves; readers see the old bytes or the new ones. */
  replace(path: string, bytes: Buffer | string, mode?: number): Promise<void>
  /** Cuts the file to `bytes` first, durably. */
  openAppend(path: string, bytes: number): Promise<AppendFile>
}

async function flushFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

const isMissing = (error: unknown): boolean => (error as NodeJS.ErrnoException | null)?.code === 'ENOENT'

export const nodeDisk: Disk = {
  read: async (path) => {
    try {
      return await readFile(path)
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  },
  exists: async (path) => {
    try {
      await stat(path)
      return true
    } catch (error) {
      if (isMissing(error)) return false
      throw error
    }
  },
  replace: async (path, bytes, mode = 0o644) => {
    const temporary = `${path}.new`
    const handle = await open(temporary, 'w', mode)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    await flushFolder(dirname(path))
  },
  openAppend: async (path, bytes) => {
    const handle = await open(path, 'a+', 0o644)
    let size = (await handle.stat()).size
    if (size !== bytes) {
      await handle.truncate(bytes)
      size = bytes
    }
    await handle.sync()
    await flushFolder(dirname(path))
    return {
      get bytes() {
        return size
      },
      append: async (more) => {
        const { bytesWritten } = await handle.write(more)
        if (bytesWritten !== more.length) throw new Error(`${bytesWritten} of ${more.length} bytes were written`)
        await handle.sync()
        size += more.length
      },
      close: () => handle.close(),
    }
  },
}

/** Makes a folder and flushes its parent. */
export function makeFolder(path: string): void {
  mkdirSync(path, { recursive: true })
  const parent = openSync(dirname(path), 'r')
  try {
    fsyncSync(parent)
  } finally {
    closeSync(parent)
  }
}

/** Takes the lock of a ledger folder; the returned function lets it go, and must be kept: the lock dies with it when it is collected. Throws SLU_LEDGER_UNWRITABLE when another writer has it. */
export function lockFolder(dir: string): () => void {
  let db: DatabaseSync | undefined
  try {
    db = new DatabaseSync(join(dir, 'lock'))
    db.exec('PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
    const held = db
    return () => held.close()
  } catch (cause) {
    db?.close()
    throw new SluiceError('SLU_LEDGER_UNWRITABLE', `${dir}: another writer has it open, or it cannot be written`, cause)
  }
}
