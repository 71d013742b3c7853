/**
 * Compressed batches of other producers: gzip, snappy (plain, or framed as Java does), lz4 frames and zstd, without native code.
 * Invariant: a batch that cannot be decompressed, or would take more than `limitBytes`, ends its reader with an error; nothing of
 * it is skipped or guessed.
 */
import { promisify } from 'node:util'
import { gzip, unzip } from 'node:zlib'
import { Decompress } from 'fzstd'
import kafkajs from 'kafkajs'
import { decompressBlock } from 'lz4js'
import { uncompress } from 'snappyjs'
import { SidestreamError } from '../../schemas/index.ts'

/** Most bytes that one compressed batch may become. */
export const limitBytes = 134_217_728

const asyncGzip = promisify(gzip)
const asyncUnzip = promisify(unzip)

type Decompressor = (bytes: Buffer) => Buffer | Promise<Buffer>

/** By the number in a batch's attributes; 5 to 7 are not given out yet. */
const decompressors: Readonly<Record<number, readonly [name: string, Decompressor]>> = {
  1: ['gzip', (bytes) => asyncUnzip(bytes, { maxOutputLength: limitBytes })],
  2: ['snappy', unsnap],
  3: ['lz4', unlz4],
  4: ['zstd', unzstd],
}

/** Makes them known to kafkajs, once per process; other settings of the process for these codecs are replaced. */
export function registerCodecs(): void {
  const codecs = kafkajs.CompressionCodecs as Record<number, () => unknown>
  for (const [id, [name, decompress]] of Object.entries(decompressors)) {
    const codec = {
      compress: ({ buffer }: { buffer: Buffer }) => asyncGzip(buffer), // the only one that we write
      decompress: (bytes: Buffer) => checked(name, decompress, bytes),
    }
    codecs[Number(id)] = () => codec
  }
  for (const id of [5, 6, 7]) {
    codecs[id] = () => {
      throw new kafkajs.KafkaJSNotImplemented(...([`a batch is compressed with codec ${id}, which is not known here`] as unknown as []))
    }
  }
}

async function checked(name: string, decompress: Decompressor, bytes: Buffer): Promise<Buffer> {
  try {
    return await decompress(bytes)
  } catch (cause) {
    const message = `a batch compressed with ${name} (${bytes.length} bytes) cannot be read: ${(cause as Error).message}`
    const error = new SidestreamError('SIDESTREAM_LOG_CORRUPT', message, { cause })
    throw Object.assign(error, { retriable: false }) // kafkajs would ask for the same bytes again
  }
}

const xerialMagic = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0])

function unsnap(bytes: Buffer): Buffer {
  if (!bytes.subarray(0, 8).equals(xerialMagic)) return uncompress(bytes, limitBytes)
  const parts: Buffer[] = []
  let total = 0
  for (let at = 16; at < bytes.length;) {
    const length = bytes.readInt32BE(at)
    at += 4
    if (length < 0 || at + length > bytes.length) throw new Error('a block ends behind its batch')
    const part = uncompress(bytes.subarray(at, at + length), limitBytes - total)
    total += part.length
    parts.push(part)
    at += length
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, total)
}

const lz4BlockBytes: Readonly<Record<number, number>> = { 4: 65_536, 5: 262_144, 6: 1_048_576, 7: 4_194_304 }

interface Lz4Block {
  readonly start: number
  readonly length: number
  readonly compressed: boolean
}

function unlz4(bytes: Buffer): Buffer {
  const { blocks, mostBytes } = lz4Blocks(bytes)
  if (mostBytes > limitBytes) throw new Error(`it may have ${mostBytes} bytes, more than ${limitBytes}`)
  const target = Buffer.allocUnsafe(mostBytes)
  let end = 0
  for (const { start, length, compressed } of blocks) {
    if (compressed) end = decompressBlock(bytes, target, start, length, end)
    else end += bytes.copy(target, end, start, start + length)
    if (end > mostBytes) throw new Error('a block is longer than its frame allows')
  }
  return target.subarray(0, end)
}

/** The blocks of a frame, and the most bytes that they can become. */
function lz4Blocks(bytes: Buffer): { blocks: Lz4Block[]; mostBytes: number } {
  const flags = bytes[4]!
  const blockBytes = lz4BlockBytes[(bytes[5]! >> 4) & 7]
  if (bytes.readUInt32LE(0) !== 0x184d2204 || flags >> 6 !== 1 || blockBytes === undefined) throw new Error('it is no lz4 frame')
  const blockChecksumBytes = (flags & 0x10) === 0 ? 0 : 4
  const blocks: Lz4Block[] = []
  let mostBytes = 0
  for (let at = (flags & 8) === 0 ? 7 : 15; ;) {
    const word = bytes.readUInt32LE(at)
    at += 4
    if (word === 0) return { blocks, mostBytes }
    const block = { start: at, length: word & 0x7fffffff, compressed: word >>> 31 === 0 }
    if (block.start + block.length > bytes.length) throw new Error('a block ends behind its batch')
    blocks.push(block)
    mostBytes += block.compressed ? blockBytes : block.length
    at += block.length + blockChecksumBytes
  }
}

function unzstd(bytes: Buffer): Buffer {
  if (zstdWindowBytes(bytes) > limitBytes) throw new Error(`its window is larger than ${limitBytes} bytes`)
  const parts: Uint8Array[] = []
  let total = 0
  const stream = new Decompress((part) => {
    total += part.length
    if (total > limitBytes) throw new Error(`it has more than ${limitBytes} bytes`)
    parts.push(part)
  })
  stream.push(bytes, true)
  return Buffer.concat(parts, total)
}

/** Memory that the first frame asks for. */
function zstdWindowBytes(bytes: Buffer): number {
  const descriptor = bytes[4]!
  const single = (descriptor & 0x20) !== 0
  if (!single) {
    const window = 2 ** (10 + (bytes[5]! >> 3))
    return window + (window / 8) * (bytes[5]! & 7)
  }
  const at = 5 + [0, 1, 2, 4][descriptor & 3]!
  const size = [1, 2, 4, 8][descriptor >> 6]!
  if (size === 8) return Number(bytes.readBigUInt64LE(at))
  return size === 2 ? bytes.readUInt16LE(at) + 256 : bytes.readUIntLE(at, size)
}
