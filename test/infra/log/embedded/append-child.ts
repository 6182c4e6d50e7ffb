/** Appends to the embedded log of argv[2] without end and prints the count acknowledged so far: the process that a test kills. */
import { createEmbeddedDriver } from '../../../../infra/log/embedded/driver.ts'

const driver = createEmbeddedDriver({ dir: process.argv[2] as string })
await driver.admin().createTopics([{ name: 'a', partitions: 1, replication: 1, timestampType: 'CreateTime', cleanup: 'delete', retentionMs: -1, maxMessageBytes: 1000 }])
const producer = driver.producer()
for (let count = 0; ; count += 20) {
  const records = Array.from({ length: 20 }, (_, n) => ({ topic: 'a', key: null, value: Buffer.from(String(count + n)) }))
  await producer.send(records)
  process.stdout.write(`${count + 20}\n`)
}
