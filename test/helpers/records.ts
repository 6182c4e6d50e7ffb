/** Log records for tests of the core: everything has a default, `offset` first. */
import type { LogRecord } from '../../schemas/log.ts'

export function record(
  offset: number,
  more: Partial<Omit<LogRecord, 'offset' | 'key' | 'value'>> & { key?: string | Buffer | null; value?: string | Buffer | null } = {},
): LogRecord {
  const bytes = (x: string | Buffer | null | undefined): Buffer | null => (typeof x === 'string' ? Buffer.from(x, 'utf8') : (x ?? null))
  return {
    topic: 'in',
    partition: 0,
    timestampMs: 1_700_000_000_000 + offset,
    appendMs: 1_700_000_000_000 + offset,
    headers: [],
    ...more,
    offset: BigInt(offset),
    key: bytes(more.key),
    value: bytes(more.value),
  }
}
