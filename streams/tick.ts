/**
 * Tick records (W8): how the idleness of a partition is written to the log.
 *
 * Owns: the header `sluice.tick` and its form, decimal epoch ms. A tick moves the watermark for every reader at the same offset and is skipped
 * by all else, so no reader needs a clock to agree on what is closed.
 */
import type { LogRecord } from '../schemas/log.ts'
import type { Outgoing } from './processor.ts'

export const TICK_HEADER = 'sluice.tick'
const DECIMAL = /^\d{1,15}$/

export function isTick(record: Pick<LogRecord, 'headers'>): boolean {
  return record.headers.some(([name]) => name === TICK_HEADER)
}

/** Event time of a tick, epoch ms; null if it is none or its header is not a time (then it moves nothing). */
export function tickTimeMs(record: Pick<LogRecord, 'headers'>): number | null {
  const header = record.headers.find(([name]) => name === TICK_HEADER)
  if (header === undefined) return null
  const text = header[1].toString('latin1')
  return DECIMAL.test(text) ? Number(text) : null
}

/** `topic` is logical; the partition is explicit. */
export function tickRecord(topic: string, partition: number, timeMs: number): Outgoing {
  return { topic, partition, key: null, value: null, headers: [[TICK_HEADER, Buffer.from(String(timeMs), 'latin1')]] }
}
