/** The conformance suite on real Apache Kafka. */
import test from 'ava'
import { Kafka, logLevel } from 'kafkajs'
import { createKafkaDriver } from '../../infra/log/kafka/driver.ts'
import type { LogDriver } from '../../schemas/log.ts'
import { kafkaForTests } from '../helpers/kafka.ts'
import { until } from '../helpers/until.ts'
import { logConformance } from './log-conformance.ts'

const kafka = await kafkaForTests()
if (kafka === null) test.skip('conformance of the Kafka driver: no Kafka can be started here', () => {})
else {
  const client = new Kafka({ brokers: kafka.bootstrap, logLevel: logLevel.NOTHING })
  logConformance(test, 'kafka', async () => {
    const admin = client.admin()
    await admin.connect()
    const drivers: LogDriver[] = []
    return {
      driver: () => {
        const driver = createKafkaDriver({ brokers: kafka.bootstrap, sessionMs: 6000 })
        drivers.push(driver)
        return driver
      },
      topic: async (name, partitions, timestampType) => {
        await admin.createTopics({
          // Waited for below: this client gives up when a broker has not heard of the topic yet.
          waitForLeaders: false,
          topics: [
            {
              topic: name,
              numPartitions: partitions,
              replicationFactor: 1,
              configEntries: [
                { name: 'message.timestamp.type', value: timestampType },
                { name: 'retention.ms', value: '-1' },
                { name: 'max.message.bytes', value: '1000000' },
              ],
            },
          ],
        })
        await until(
          () =>
            admin.fetchTopicOffsets(name).then(
              () => true,
              () => false,
            ),
          30_000,
          `the leaders of ${name}`,
        )
      },
      truncate: async (topic, partition, startOffset) => {
        // A client of its own: the shared one may not know the leader yet, and then names no broker at all.
        const own = client.admin()
        await own.connect()
        await own.fetchTopicOffsets(topic)
        await own.deleteTopicRecords({ topic, partitions: [{ partition, offset: String(startOffset) }] })
        await own.disconnect()
      },
      cleanup: async () => {
        await Promise.all(drivers.map((d) => d.close()))
        await admin.disconnect()
      },
    }
  })
}
