/**
 * The file of the embedded log: opening it, locking it, its tables, and what its errors mean.
 *
 * Owns: the SQLite settings. WAL with `synchronous=FULL`: an acknowledged append is on the disk when its promise resolves (figures in
 * docs/adr/0002-embedded-log.md). `locking_mode=EXCLUSIVE`: SQLite's own file lock keeps a second process out and dies with its holder.
 * A record's row key is `partition id × 2^40 + offset`, so that a partition is one range of the table, in order.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { SluiceError } from '../../../schemas/errors.ts'

export const FILE_NAME = 'log.sqlite'
/** Offsets of one partition below the next partition's row keys. */
export const OFFSETS_PER_PARTITION = 2 ** 40
/** Row keys stay exact as JavaScript numbers. */
export const PARTITION_COUNT_MAX = 2 ** 13
const LAYOUT_VERSION = 1
const PAGE_BYTES = 8192

const TABLES = `
CREATE TABLE topics (name TEXT PRIMARY KEY, spec TEXT NOT NULL) STRICT;
CREATE TABLE partitions (id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL, start_offset INTEGER NOT NULL, end_offset INTEGER NOT NULL) STRICT;
CREATE TABLE records (id INTEGER PRIMARY KEY, timestamp_ms INTEGER NOT NULL, is_compact INTEGER NOT NULL, key BLOB, headers BLOB, value BLOB) STRICT;
CREATE INDEX records_by_key ON records (key) WHERE is_compact = 1;
CREATE INDEX tombstones ON records (timestamp_ms) WHERE is_compact = 1 AND value IS NULL;
CREATE TABLE offsets (consumer_group TEXT, topic TEXT, partition INTEGER, next_offset INTEGER NOT NULL, metadata TEXT NOT NULL,
  PRIMARY KEY (consumer_group, topic, partition)) STRICT, WITHOUT ROWID;
CREATE TABLE fences (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL) STRICT, WITHOUT ROWID;
PRAGMA user_version = ${LAYOUT_VERSION};
`

/** What SQLite's result codes mean for whoever runs the site. */
const MEANINGS: Readonly<Record<number, string>> = {
  5: 'locked: another process has this log open',
  6: 'locked: another part of this process has this log open',
  8: 'read-only',
  10: 'input/output error',
  11: 'damaged: the file is not a sound database; restore it from a copy, or move it away to begin an empty log',
  13: 'full: no space is left for the log',
  14: 'cannot be opened or created',
  26: 'damaged: the file is not a database; restore it from a copy, or move it away to begin an empty log',
}

/** Any failure of the file as SLU_LOG_STORAGE with the file named; errors of ours pass through. */
export function storageError(file: string, thrown: unknown): SluiceError {
  if (thrown instanceof SluiceError) return thrown
  const extended = (thrown as { errcode?: unknown } | null)?.errcode
  const meaning = typeof extended === 'number' ? MEANINGS[extended & 0xff] : undefined
  const system = (thrown as { code?: unknown } | null)?.code
  return new SluiceError('SLU_LOG_STORAGE', `${file}: ${meaning ?? (typeof system === 'string' ? system : 'unexpected failure')}`, thrown)
}

export interface OpenedDatabase {
  readonly file: string
  readonly db: DatabaseSync
}

export type Synchronous = 'FULL' | 'NORMAL'

/** Opens or creates the log of a folder and takes its lock; rejects with SLU_LOG_STORAGE. `bytesMax` bounds the file. */
export function openDatabase(dir: string, bytesMax: number | undefined, synchronous: Synchronous = 'FULL'): OpenedDatabase {
  const file = join(dir, FILE_NAME)
  let db: DatabaseSync | undefined
  try {
    mkdirSync(dir, { recursive: true })
    db = new DatabaseSync(file)
    db.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = ${synchronous}`)
    db.exec('PRAGMA wal_autocheckpoint = 2000; PRAGMA journal_size_limit = 67108864; PRAGMA cache_size = -16384')
    if (bytesMax !== undefined) db.exec(`PRAGMA max_page_count = ${Math.ceil(bytesMax / PAGE_BYTES)}`)
    db.exec('BEGIN IMMEDIATE')
    const version = (db.prepare('PRAGMA user_version').get() as { user_version: number }).user_version
    if (version === 0) db.exec(TABLES)
    else if (version !== LAYOUT_VERSION) throw new SluiceError('SLU_LOG_STORAGE', `${file}: layout ${version}, this version reads ${LAYOUT_VERSION}`)
    db.exec('COMMIT')
    return { file, db }
  } catch (error) {
    db?.close()
    throw storageError(file, error)
  }
}
