/**
 * The frame: one record as it stands in a segment. All numbers little-endian.
 *
 *  0 u32 length of what follows the checksum      24 u32 position in its batch (offset - position = batch id)
 *  4 u32 CRC-32C of what follows                  28 u8  format, 1
 *  8 u64 offset                                   29 u8  flags: 1 last of its batch, 2 key null, 4 value null
 * 16 i64 time, milliseconds since epoch           30 u16 number of headers
 * 32 u32 key bytes, 36 u32 value bytes, then key, value, and per header: u16 name bytes, u32 value bytes, name, value
 *
 * Invariant: a frame is whole, or its length or checksum says so. A batch whose last frame is missing never happened.
 */
import { crc32c } from '../../compute/index.ts'
import type { LogHeader, LogRecord, ProducerRecord } from './log.ts'

/** Bytes of a frame before key, value and headers. */
const frameFixedBytes = 40
/** Most headers of one record, and most bytes of a header's name. */
export const frameHeaderLimit = 0xffff

const format = 1
const flagLast = 1
const flagNullKey = 2
const flagNullValue = 4
const high = 0x1_0000_0000
const noHeaders: readonly LogHeader[] = []

/** Bytes with a view over the same memory, made once per block. */
export interface Block {
  readonly bytes: Buffer
  readonly view: DataView
}

/** A block of `size` bytes with any content; never from Node's shared pool, since records point into it. */
export function allocateBlock(size: number): Block {
  return blockOf(Buffer.allocUnsafeSlow(size))
}

function blockOf(bytes: Buffer): Block {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) }
}

/** Bytes the record takes in a segment. */
export function frameBytes({ key, value, headers }: ProducerRecord): number {
  let bytes = frameFixedBytes + (key === null ? 0 : key.length) + (value === null ? 0 : value.length)
  if (headers !== undefined) for (const [name, content] of headers) bytes += 6 + Buffer.byteLength(name) + content.length
  return bytes
}

/** Where a record stands, decided by the appender. */
export interface FrameStamp {
  offset: number
  /** Milliseconds since epoch, whole. */
  time: number
  /** 0 for the first record of a batch. */
  position: number
  last: boolean
}

/**
 * Writes one frame at `at`; the caller has made room (`frameBytes`).
 * @returns position after the frame
 */
export function writeFrame({ bytes, view }: Block, at: number, { key, value, headers }: ProducerRecord, stamp: FrameStamp): number {
  let end = at + frameFixedBytes
  if (key !== null) {
    bytes.set(key, end)
    end += key.length
  }
  if (value !== null) {
    bytes.set(value, end)
    end += value.length
  }
  if (headers !== undefined) {
    for (const [name, content] of headers) {
      const named = bytes.write(name, end + 6)
      view.setUint16(end, named, true)
      view.setUint32(end + 2, content.length, true)
      bytes.set(content, end + 6 + named)
      end += 6 + named + content.length
    }
  }
  setInteger(view, at + 8, stamp.offset)
  setInteger(view, at + 16, stamp.time)
  view.setUint32(at + 24, stamp.position, true)
  view.setUint8(at + 28, format)
  view.setUint8(at + 29, (stamp.last ? flagLast : 0) | (key === null ? flagNullKey : 0) | (value === null ? flagNullValue : 0))
  view.setUint16(at + 30, headers?.length ?? 0, true)
  view.setUint32(at + 32, key?.length ?? 0, true)
  view.setUint32(at + 36, value?.length ?? 0, true)
  view.setUint32(at, end - at - 8, true)
  view.setUint32(at + 4, crc32c(bytes, 0, at + 8, end), true)
  return end
}

/** Whole length of the frame at `at` as it claims; 0 when fewer than 4 bytes are left, -1 when no frame can be that short. */
export function frameLength({ view }: Block, at: number, end: number): number {
  if (at + 4 > end) return 0
  const length = view.getUint32(at, true) + 8
  return length < frameFixedBytes ? -1 : length
}

/** True when checksum, format and inner lengths of a frame that lies wholly in the block agree. */
export function frameIsSound({ bytes, view }: Block, at: number, length: number): boolean {
  if (view.getUint32(at + 4, true) !== crc32c(bytes, 0, at + 8, at + length)) return false
  if (view.getUint8(at + 28) !== format) return false
  let used = frameFixedBytes + view.getUint32(at + 32, true) + view.getUint32(at + 36, true)
  for (let headers = view.getUint16(at + 30, true); headers > 0; headers--) {
    if (used + 6 > length) return false
    used += 6 + view.getUint16(at + used, true) + view.getUint32(at + used + 2, true)
  }
  return used === length
}

export function frameOffset({ view }: Block, at: number): number {
  return getInteger(view, at + 8)
}

export function framePosition({ view }: Block, at: number): number {
  return view.getUint32(at + 24, true)
}

export function frameIsLast({ view }: Block, at: number): boolean {
  return (view.getUint8(at + 29) & flagLast) !== 0
}

/** Key of a sound frame, as a view into the block. */
export function frameKey({ bytes, view }: Block, at: number): Uint8Array | null {
  if ((view.getUint8(at + 29) & flagNullKey) !== 0) return null
  return bytes.subarray(at + frameFixedBytes, at + frameFixedBytes + view.getUint32(at + 32, true))
}

export function frameIsTombstone({ view }: Block, at: number): boolean {
  return (view.getUint8(at + 29) & flagNullValue) !== 0
}

/** The record of a sound frame; key, value and header values are views into the block. */
export function frameRecord(block: Block, at: number): LogRecord {
  const { bytes, view } = block
  const flags = view.getUint8(at + 29)
  const keyStart = at + frameFixedBytes
  const valueStart = keyStart + view.getUint32(at + 32, true)
  const headersStart = valueStart + view.getUint32(at + 36, true)
  const count = view.getUint16(at + 30, true)
  return {
    key: (flags & flagNullKey) === 0 ? viewOf(bytes, keyStart, valueStart) : null,
    value: (flags & flagNullValue) === 0 ? viewOf(bytes, valueStart, headersStart) : null,
    headers: count === 0 ? noHeaders : readHeaders(block, headersStart, count),
    timestamp: getInteger(view, at + 16),
    offset: BigInt(getInteger(view, at + 8)),
  }
}

function readHeaders({ bytes, view }: Block, start: number, count: number): LogHeader[] {
  const headers: LogHeader[] = []
  for (let at = start; headers.length < count;) {
    const name = at + 6
    const value = name + view.getUint16(at, true)
    const end = value + view.getUint32(at + 2, true)
    headers.push([bytes.toString('utf8', name, value), viewOf(bytes, value, end)])
    at = end
  }
  return headers
}

function viewOf(bytes: Buffer, from: number, to: number): Uint8Array {
  return new Uint8Array(bytes.buffer, bytes.byteOffset + from, to - from)
}

/** Signed whole number below 2^53 as 64 bits, without a BigInt per record. */
function setInteger(view: DataView, at: number, value: number): void {
  const upper = Math.floor(value / high)
  view.setUint32(at, value - upper * high, true)
  view.setInt32(at + 4, upper, true)
}

function getInteger(view: DataView, at: number): number {
  return view.getInt32(at + 4, true) * high + view.getUint32(at, true)
}
