/** The embedded log, on its real file: truncation closes it, drops the oldest records as retention does, and opens it again. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import test from 'ava'
import { createEmbeddedDriver } from '../../infra/log/embedded/driver.ts'
import { FILE_NAME, OFFSETS_PER_PARTITION } from '../../infra/log/embedded/database.ts'
import type { ConformanceLog } from './log-conformance.ts'
import { logConformance } from './log-conformance.ts'

/** Drops the oldest records in the file of a closed log, as retention leaves it. */
function dropBelow(file: string, topic: string, partition: number, startOffset: bigint): void {
  const db = new DatabaseSync(file)
  const { id } = db.prepare('SELECT id FROM partitions WHERE topic = ? AND partition = ?').get(topic, partition) as { id: number }
  db.prepare('UPDATE partitions SET start_offset = ? WHERE id = ?').run(startOffset, id)
  db.prepare('DELETE FROM records WHERE id >= ? AND id < ?').run(id * OFFSETS_PER_PARTITION, id * OFFSETS_PER_PARTITION + Number(startOffset))
  db.close()
}

async function embeddedLog(): Promise<ConformanceLog> {
  const dir = mkdtempSync(join(tmpdir(), 'sluice-log-'))
  let driver = createEmbeddedDriver({ dir })
  const forwarded = { ...driver }
  return {
    driver: () => forwarded,
    topic: async (name, partitions, timestampType) => {
      await driver.admin().createTopics([{ name, partitions, replication: 1, timestampType, cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1_000_000 }])
    },
    truncate: async (topic, partition, startOffset) => {
      await driver.close()
      dropBelow(join(dir, FILE_NAME), topic, partition, startOffset)
      driver = createEmbeddedDriver({ dir })
      Object.assign(forwarded, driver)
    },
    cleanup: async () => {
      await driver.close()
      rmSync(dir, { recursive: true })
    },
  }
}

logConformance(test, 'embedded', embeddedLog)
