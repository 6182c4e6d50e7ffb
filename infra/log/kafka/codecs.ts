/**
 * The four codecs that a producer may compress a batch with, each bounded: a few kilobytes can say that they unpack to gigabytes (C6, D6).
 *
 * Owns: putting them in the place of kafkajs' own, which has gzip alone and without a bound. gzip and zstd through the platform; lz4 (the frame format)
 * and snappy (raw, or in blocks as the Java client writes it) through lz4-napi and snappy, which are platform packages and so optional: without them
 * SLU_LOG_CODEC. We write none of the two. What unpacks to more than `UNPACKED_BYTES_MAX` is refused with SLU_LOG_BATCH_TOO_LARGE before it is in memory.
 */
import { createRequire } from 'node:module'
import { gzip, unzip, zstdCompress, zstdDecompress } from 'node:zlib'
import { promisify } from 'node:util'
import type * as Lz4Package from 'lz4-napi'
import type * as SnappyPackage from 'snappy'
import { SluiceError } from '../../../schemas/errors.ts'

/** Of one batch. Batches that a producer fills up are of a mebibyte at most, unpacked; a single record may be larger. */
export const UNPACKED_BYTES_MAX = 64 << 20

type Lz4 = typeof Lz4Package
type Snappy = typeof SnappyPackage
type Unpack = (bytes: Buffer) => Promise<Buffer>

const require = createRequire(import.meta.url)

const tooLarge = (cause?: unknown): SluiceError => new SluiceError('SLU_LOG_BATCH_TOO_LARGE', `more than ${UNPACKED_BYTES_MAX >> 20} MiB`, cause)

function load(name: 'lz4-napi' | 'snappy', codec: string): unknown {
  try {
    return require(name)
  } catch (cause) {
    throw new SluiceError('SLU_LOG_CODEC', `${codec}: the package ${name} cannot be loaded`, cause)
  }
}

/** zlib stops at the bound by itself. */
const ofPlatform =
  (unpack: (bytes: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>): Unpack =>
  async (bytes) => {
    try {
      return await unpack(bytes, { maxOutputLength: UNPACKED_BYTES_MAX })
    } catch (error) {
      throw (error as { code?: string }).code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge(error) : error
    }
  }

const LZ4_HEADER_BYTES = 7
const LZ4_BLOCK_BYTES_MIN = 1 << 16
/** Of one byte the format makes 255 at most. */
const LZ4_RATIO_MAX = 255

/** What the blocks of a frame can unpack to at most. */
function lz4BytesMax(frame: Buffer): number {
  if (frame.length < LZ4_HEADER_BYTES) return 0
  const flags = frame.readUInt8(4)
  const hasBlockChecksum = (flags & 0x10) !== 0
  const blockBytesMax = LZ4_BLOCK_BYTES_MIN << (2 * Math.max(0, ((frame.readUInt8(5) >> 4) & 7) - 4))
  let at = LZ4_HEADER_BYTES + ((flags & 0x08) === 0 ? 0 : 8) + ((flags & 0x01) === 0 ? 0 : 4)
  let sum = 0
  while (at + 4 <= frame.length) {
    const word = frame.readUInt32LE(at)
    if (word === 0) break
    const bytes = word & 0x7fffffff
    sum += word > 0x7fffffff ? bytes : Math.min(blockBytesMax, bytes * LZ4_RATIO_MAX)
    at += 4 + bytes + (hasBlockChecksum ? 4 : 0)
  }
  return sum
}

const unpackLz4: Unpack = async (bytes) => {
  const { decompressFrame } = load('lz4-napi', 'lz4') as Lz4
  if (lz4BytesMax(bytes) > UNPACKED_BYTES_MAX) throw tooLarge()
  return decompressFrame(bytes)
}

/** Of the Java client's snappy: its name, a version and the oldest version that can read it. */
const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0x00])
const XERIAL_HEADER_BYTES = 16

function* snappyBlocks(bytes: Buffer): Generator<Buffer> {
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) {
    yield bytes
    return
  }
  for (let at = XERIAL_HEADER_BYTES; at < bytes.length;) {
    const from = at + 4
    at = from + bytes.readUInt32BE(at)
    if (at > bytes.length) throw new RangeError('a snappy block is cut short')
    yield bytes.subarray(from, at)
  }
}

/** A block says at its beginning, as a varint, what it unpacks to. */
function snappyBytes(block: Buffer): number {
  let value = 0
  for (let i = 0; i < 5; i++) {
    const byte = block.readUInt8(i)
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return value
  }
  throw new RangeError('the length of a snappy block is no varint')
}

const unpackSnappy: Unpack = async (bytes) => {
  const { uncompress } = load('snappy', 'snappy') as Snappy
  const blocks = [...snappyBlocks(bytes)]
  if (blocks.reduce((sum, block) => sum + snappyBytes(block), 0) > UNPACKED_BYTES_MAX) throw tooLarge()
  return Buffer.concat(await Promise.all(blocks.map(async (block) => (await uncompress(block, { asBuffer: true })) as Buffer)))
}

type Pack = (encoder: { readonly buffer: Buffer }) => Promise<Buffer>
const [packGzip, packZstd] = [promisify<Buffer, Buffer>(gzip), promisify<Buffer, Buffer>(zstdCompress)]
const packNone: Pack = () => Promise.reject(new SluiceError('SLU_INTERNAL', 'nothing is written in this codec'))

const { Codecs, Types } = require('kafkajs/src/protocol/message/compression') as {
  Codecs: Record<number, () => object>
  Types: Readonly<Record<'GZIP' | 'Snappy' | 'LZ4' | 'ZSTD', number>>
}
const install = (type: number, compress: Pack, decompress: Unpack): void => {
  Codecs[type] = () => ({ compress, decompress })
}
install(Types.GZIP, ({ buffer }) => packGzip(buffer), ofPlatform(promisify(unzip)))
install(Types.ZSTD, ({ buffer }) => packZstd(buffer), ofPlatform(promisify(zstdDecompress)))
install(Types.LZ4, packNone, unpackLz4)
install(Types.Snappy, packNone, unpackSnappy)
