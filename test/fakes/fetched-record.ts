/** Records as a fetch brings them, without a broker. */
import { FetchedRecord, type BatchContext } from '../../infra/log/kafka/record.ts'

export const BATCH: BatchContext = {
  firstOffset: '0',
  firstTimestamp: '0',
  maxTimestamp: '0',
  lastOffsetDelta: 0,
  timestampType: 0,
  producerId: '-1',
  inTransaction: false,
  isControlBatch: false,
  magicByte: 2,
}

export const fetchedRecord = (offset: bigint, of: { key?: Buffer | null; value?: Buffer | null } = {}, context: Partial<BatchContext> = {}): FetchedRecord =>
  new FetchedRecord(offset, 1, of.key ?? null, of.value ?? null, [], { ...BATCH, ...context })
