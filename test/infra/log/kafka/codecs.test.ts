import { createRequire } from 'node:module'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { compressFrameSync } from 'lz4-napi'
import { compressSync } from 'snappy'
import test from 'ava'
import '../../../../infra/log/kafka/codecs.ts'
import { UNPACKED_BYTES_MAX } from '../../../../infra/log/kafka/codecs.ts'
import type { ErrorCode } from '../../../../schemas/errors.ts'

const require = createRequire(import.meta.url)
const { lookupCodec, Types } = require('kafkajs/src/protocol/message/compression') as {
  lookupCodec(type: number): { compress(e: { buffer: Buffer }): Promise<Buffer>; decompress(b: Buffer): Promise<Buffer> }
  Types: { GZIP: number; Snappy: number; LZ4: number; ZSTD: number }
}
const text = Buffer.from('telemetry '.repeat(1000))
const code = (error: unknown): ErrorCode | undefined => (error as { code?: ErrorCode }).code

/** As the Java client writes it: a header, then blocks that are packed each for itself. */
function xerial(bytes: Buffer<ArrayBuffer>, blockBytes: number): Buffer {
  const parts: Buffer[] = [Buffer.from('82534e41505059000000000100000001', 'hex')]
  for (let at = 0; at < bytes.length; at += blockBytes) {
    const block = compressSync(bytes.subarray(at, at + blockBytes))
    const length = Buffer.alloc(4)
    length.writeUInt32BE(block.length)
    parts.push(length, block)
  }
  return Buffer.concat(parts)
}

for (const type of [Types.GZIP, Types.ZSTD])
  test(`kafka codecs: codec ${type} is one of both directions`, async (t) => {
    const packed = await lookupCodec(type).compress({ buffer: text })
    t.true(packed.length < text.length / 10)
    t.deepEqual(await lookupCodec(type).decompress(packed), text)
  })

const large = Buffer.alloc(UNPACKED_BYTES_MAX + (8 << 20), 97)
const packings: readonly (readonly [string, number, (bytes: Buffer<ArrayBuffer>) => Buffer])[] = [
  ['gzip', Types.GZIP, (bytes) => gzipSync(bytes)],
  ['zstd', Types.ZSTD, (bytes) => zstdCompressSync(bytes)],
  ['lz4', Types.LZ4, (bytes) => compressFrameSync(bytes)],
  ['lz4 with checksums', Types.LZ4, (bytes) => compressFrameSync(bytes, { contentChecksum: true, blockChecksums: true })],
  ['snappy', Types.Snappy, (bytes) => compressSync(bytes)],
  ['snappy of the Java client', Types.Snappy, (bytes) => xerial(bytes, 32 << 10)],
]
for (const [name, type, pack] of packings) {
  test(`kafka codecs: ${name} unpacks to what was packed, also what hardly packs and nothing at all`, async (t) => {
    const noise = Buffer.from(Array.from({ length: 200_000 }, (_, i) => (Math.imul(i, 2654435761) >>> 11) & 0xff))
    for (const bytes of [text, noise, Buffer.concat([noise, text, noise]), Buffer.alloc(0)]) t.deepEqual(await lookupCodec(type).decompress(pack(bytes)), bytes)
  })
  test(`kafka codecs: what ${name} packed is not unpacked beyond the bound, however small it is (C6)`, async (t) => {
    const packed = pack(large)
    t.true(packed.length < UNPACKED_BYTES_MAX / 10)
    const error = await t.throwsAsync(lookupCodec(type).decompress(packed))
    t.is(code(error), 'SLU_LOG_BATCH_TOO_LARGE')
  })
  test(`kafka codecs: damaged ${name} never ends the process, wherever it is damaged or cut`, async (t) => {
    const packed = pack(text)
    for (let at = 0; at < packed.length; at++) {
      const damaged = Buffer.from(packed)
      damaged[at] = damaged[at] === 0xff ? 0 : 0xff
      await lookupCodec(type)
        .decompress(damaged)
        .catch((error: unknown) => t.true(error instanceof Error, String(at)))
      await lookupCodec(type)
        .decompress(packed.subarray(0, at))
        .catch((error: unknown) => t.true(error instanceof Error, String(at)))
    }
    t.pass()
  })
}
