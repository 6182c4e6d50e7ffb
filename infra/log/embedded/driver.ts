/**
 * The embedded log: a durable LogDriver for one process on `node:sqlite`, so that a whole site runs without Kafka.
 *
 * Owns: putting store, groups and housekeeping together. What it promises and what not: docs/adr/0002-embedded-log.md.
 */
import { SluiceError } from '../../../schemas/errors.ts'
import type { LogDriver } from '../../../schemas/log.ts'
import type { Clock } from '../../../schemas/ports.ts'
import { systemClock } from '../../clock.ts'
import type { Synchronous } from './database.ts'
import { openDatabase, storageError } from './database.ts'
import { Housekeeping } from './housekeeping.ts'
import { createLocalDriver } from './local-driver.ts'
import { createLocalLog } from './local-log.ts'
import { SqliteStore } from './sqlite-store.ts'
import type { FetchLimits } from './store.ts'

export interface EmbeddedOptions {
  /** Folder of the log; made if missing. One process at a time. */
  readonly dir: string
  readonly clock?: Clock
  /** Bound of the file's size; beyond it appends reject with SLU_LOG_STORAGE. None by default. */
  readonly bytesMax?: number
  /** How often retention and compaction look; 30,000 ms by default. */
  readonly housekeepingMs?: number
  /** FULL by default. NORMAL loses acknowledged records on a power cut (not on a crash of the process); for measuring. */
  readonly synchronous?: Synchronous
}

const LIMITS: FetchLimits = { recordsMax: 500, bytesMax: 1 << 20 }

/** Opens the log; throws SLU_LOG_STORAGE when the folder cannot be used, is open elsewhere, or its file is damaged. */
export function createEmbeddedDriver(options: EmbeddedOptions): LogDriver {
  const clock = options.clock ?? systemClock
  const opened = openDatabase(options.dir, options.bytesMax, options.synchronous)
  let store: SqliteStore
  try {
    store = new SqliteStore(opened, clock)
  } catch (error) {
    opened.db.close()
    throw storageError(opened.file, error)
  }
  const log = createLocalLog({ store, clock, later: (run) => void setImmediate(run), limits: () => LIMITS })
  const housekeeping = new Housekeeping(store, clock, options.housekeepingMs ?? 30_000, (error) => process.emitWarning(asWarning(error)))
  housekeeping.start()
  return createLocalDriver('embedded', log, async () => {
    housekeeping.stop()
    await store.close()
  })
}

/** Housekeeping that fails costs room, not records: it is said and tried again; a full disk then shows at the next append. */
function asWarning(error: unknown): Error {
  return error instanceof Error ? error : new SluiceError('SLU_LOG_STORAGE', 'housekeeping', error)
}
