/** The in-memory twin keeps what the drivers keep. */
import test from 'ava'
import { systemClock } from '../../infra/clock.ts'
import { createMemoryLog } from '../fakes/memory-log.ts'
import { logConformance } from './log-conformance.ts'

logConformance(test, 'memory', async () => {
  const log = createMemoryLog({ clock: systemClock })
  return {
    driver: () => log.driver(),
    topic: async (name, partitions, timestampType) => log.create(name, partitions, { timestampType, maxMessageBytes: 1_000_000 }),
    truncate: async (topic, partition, startOffset) => log.truncate({ topic, partition }, startOffset),
    cleanup: async () => {},
  }
})
