/** Real Kafka for tests: the broker of the whole run (SLUICE_TEST_KAFKA), or one of this file's own; null where none can be had. */
import test from 'ava'
import { isKafkaAvailable, startKafka } from '../../infra/deploy/kafka/cluster.ts'

export interface TestKafka {
  readonly bootstrap: string[]
}

/** With SLUICE_REQUIRE_KAFKA=1 it throws instead of returning null. */
export async function kafkaForTests(): Promise<TestKafka | null> {
  const given = process.env['SLUICE_TEST_KAFKA']
  if (given !== undefined && given !== '') return { bootstrap: given.split(',') }
  const { available, reason } = await isKafkaAvailable()
  if (!available) {
    if (process.env['SLUICE_REQUIRE_KAFKA'] === '1') throw new Error(`SLUICE_REQUIRE_KAFKA is set and Kafka cannot be started: ${reason}`)
    return null
  }
  const cluster = await startKafka({ brokers: 1 })
  test.after.always(() => cluster.stop())
  return { bootstrap: cluster.bootstrap }
}
