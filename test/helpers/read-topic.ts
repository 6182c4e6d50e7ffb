/** Reading a topic whole, up to the ends seen at opening. */
import type { LogDriver, LogRecord, TailOptions } from '../../schemas/log.ts'
import { until } from './until.ts'

type Readable = Pick<LogDriver, 'reader'>

export async function readTopic(driver: Readable, topic: string, options: Partial<TailOptions> = {}): Promise<LogRecord[]> {
  const tail = await driver.reader().open({ topic, partitions: 'all', from: 'start', committedOnly: true, untilEnd: true, ...options })
  const records: LogRecord[] = []
  for await (const batch of tail) records.push(...batch.records)
  return records
}

export const valuesOf = async (driver: Readable, topic: string, options: Partial<TailOptions> = {}): Promise<string[]> =>
  (await readTopic(driver, topic, options)).map(({ value }) => String(value))

/** After a transaction: a broker answers before its commit markers are written, so its records are visible soon, not at once. Reads until `count` are. */
export async function committedRecords(driver: Readable, topic: string, count: number): Promise<LogRecord[]> {
  let records: LogRecord[] = []
  await until(
    async () => (records = await readTopic(driver, topic)).length >= count,
    10_000,
    () => `${count} records visible in ${topic}: ${records.length}`,
  )
  return records
}
