/** Record headers as one blob: for each header two lengths (uint32, little endian), then name and value. Order and repeated names are kept. */
import type { LogHeaders } from '../../../schemas/log.ts'

const LENGTHS_BYTES = 8

/** Null for no headers. */
export function encodeHeaders(headers: LogHeaders | undefined): Buffer | null {
  if (headers === undefined || headers.length === 0) return null
  const parts: Buffer[] = []
  for (const [name, value] of headers) {
    const nameBytes = Buffer.from(name)
    const lengths = Buffer.allocUnsafe(LENGTHS_BYTES)
    lengths.writeUInt32LE(nameBytes.length, 0)
    lengths.writeUInt32LE(value.length, 4)
    parts.push(lengths, nameBytes, value)
  }
  return Buffer.concat(parts)
}

/** The inverse; a RangeError means the blob is not one of ours. */
export function decodeHeaders(blob: Buffer | null): LogHeaders {
  if (blob === null) return []
  const headers: [string, Buffer][] = []
  for (let at = 0; at < blob.length;) {
    const nameEnd = at + LENGTHS_BYTES + blob.readUInt32LE(at)
    const valueEnd = nameEnd + blob.readUInt32LE(at + 4)
    if (valueEnd > blob.length) throw new RangeError('headers are cut short')
    headers.push([blob.toString('utf8', at + LENGTHS_BYTES, nameEnd), blob.subarray(nameEnd, valueEnd)])
    at = valueEnd
  }
  return headers
}
