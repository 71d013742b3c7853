/**
 * Native values: header, semantic ID and vector of one item as one run of bytes (layout in `schemas/value-header.ts`).
 * Invariant: encoding is a pure function of the row; what does not pass its checksum is never decoded.
 */

import { crc32c, decodeFloat16, decodeInt8 } from '../compute/index.ts'
import { dtypes, SidestreamError, sidOrigins, valueHeader } from '../schemas/index.ts'
import type { SidOrigin, VectorDtype } from '../schemas/index.ts'

/** Rows of one partition, ready to be packed. Arrays hold at least `rows` rows. */
export interface ValueRows {
  readonly rows: number
  readonly dtype: VectorDtype
  readonly dim: number
  /** Stored numbers, row-major [rows, dim]: float32, float16 bits or int8. */
  readonly stored: Float32Array | Uint16Array | Int8Array
  /** One per row; int8 only. */
  readonly scales?: Float32Array | undefined
  /** 0 = no semantic ID. */
  readonly levels: number
  /** Row-major [rows, levels]. */
  readonly codes: Uint16Array
  readonly origins: readonly SidOrigin[]
  /** Milliseconds, [rows]. */
  readonly eventTs: Float64Array
  readonly stream: number
  /** Source offset of each row, [rows]. */
  readonly offsets: BigUint64Array
}

/** One decoded value. */
export interface Feature {
  readonly deleted: boolean
  /** As a reader computes with it, float32; empty when deleted. */
  readonly vector: Float32Array
  readonly dtype: VectorDtype | 'none'
  /** Codes of the semantic ID, first level first; empty when there is none. */
  readonly sid: Uint16Array
  readonly sidOrigin: SidOrigin
  readonly eventTs: number
  readonly stream: number
  readonly offset: bigint
}

const numberBytes = { f32: 4, f16: 2, i8: 1 } as const

/** Bytes of one value. */
export function valueBytes({ dtype, dim, levels }: Pick<ValueRows, 'dtype' | 'dim' | 'levels'>): number {
  return valueHeader.bytes + padded(levels * 2) + (dtype === 'i8' ? 4 : 0) + dim * numberBytes[dtype]
}

/**
 * Packs rows into values: views into one buffer of their own, one per row.
 * @throws SIDESTREAM_SHAPE_MISMATCH when dim or levels do not fit the header
 */
export function encodeValues(rows: ValueRows): Uint8Array[] {
  const { dim, levels, dtype } = rows
  if (dim > 0xffff || levels > 0xff) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `a value holds at most 65535 dims and 255 levels, not ${dim} and ${levels}`)
  const size = valueBytes(rows)
  // Rows start at multiples of 4, so that codes and numbers are aligned for whoever reads the arena.
  const stride = padded(size)
  const arena = new Uint8Array(rows.rows * stride)
  const view = new DataView(arena.buffer)
  const numbersAt = valueHeader.bytes + padded(levels * 2)
  const source = new Uint8Array(rows.stored.buffer, rows.stored.byteOffset, rows.stored.byteLength)
  const rowBytes = dim * numberBytes[dtype]
  const values = new Array<Uint8Array>(rows.rows)
  for (let row = 0; row < rows.rows; row++) {
    const at = row * stride
    writeHeader(view, at, dtypes[dtype], sidOrigins.indexOf(rows.origins[row] ?? 'none') << 1, rows.stream, rows.offsets[row]!, rows.eventTs[row]!)
    view.setUint16(at + valueHeader.dimAt, dim, true)
    arena[at + valueHeader.levelsAt] = levels
    for (let level = 0; level < levels; level++) view.setUint16(at + valueHeader.bytes + level * 2, rows.codes[row * levels + level]!, true)
    let numbers = at + numbersAt
    if (dtype === 'i8') {
      view.setFloat32(numbers, rows.scales![row]!, true)
      numbers += 4
    }
    arena.set(source.subarray(row * rowBytes, (row + 1) * rowBytes), numbers)
    view.setUint32(at + valueHeader.checksumAt, crc32c(arena, 0, at, at + size), true)
    values[row] = arena.subarray(at, at + size)
  }
  return values
}

/** The value that says an item was deleted. */
export function encodeTombstone({ stream, offset, eventTs }: Pick<Feature, 'stream' | 'offset' | 'eventTs'>): Uint8Array {
  const value = new Uint8Array(valueHeader.bytes)
  const view = new DataView(value.buffer)
  writeHeader(view, 0, dtypes.none, 1, stream, offset, eventTs)
  view.setUint32(valueHeader.checksumAt, crc32c(value), true)
  return value
}

/**
 * Reads a value.
 * @throws SIDESTREAM_STORE_CORRUPT when the bytes are no value of format 1 or fail their checksum
 */
export function decodeValue(value: Uint8Array): Feature {
  const bytes = value.slice()
  const view = new DataView(bytes.buffer)
  if (bytes.length < valueHeader.bytes || bytes[0] !== valueHeader.magic) throw corrupt(`${bytes.length} bytes that start with ${bytes[0] ?? 'nothing'}`)
  if (bytes[1] !== valueHeader.format) throw corrupt(`format ${bytes[1]}, this build reads ${valueHeader.format}`)
  const checksum = view.getUint32(valueHeader.checksumAt, true)
  view.setUint32(valueHeader.checksumAt, 0, true)
  if (crc32c(bytes) !== checksum) throw corrupt('the checksum does not fit: the value was damaged')
  const flags = bytes[valueHeader.flagsAt]!
  const dim = view.getUint16(valueHeader.dimAt, true)
  const levels = bytes[valueHeader.levelsAt]!
  const dtype = (Object.keys(dtypes) as (keyof typeof dtypes)[]).find((name) => dtypes[name] === bytes[valueHeader.dtypeAt])
  if (dtype === undefined) throw corrupt(`dtype ${bytes[valueHeader.dtypeAt]} is unknown`)
  const codesEnd = valueHeader.bytes + padded(levels * 2)
  const expected = dtype === 'none' ? valueHeader.bytes : valueBytes({ dtype, dim, levels })
  if (bytes.length !== expected) throw corrupt(`${bytes.length} bytes, but ${dim} ${dtype} numbers and ${levels} codes take ${expected}`)
  return {
    deleted: (flags & 1) === 1,
    vector: dtype === 'none' ? new Float32Array(0) : readVector(bytes, view, dtype, dim, codesEnd),
    dtype,
    sid: dtype === 'none' ? new Uint16Array(0) : new Uint16Array(bytes.slice(valueHeader.bytes, valueHeader.bytes + levels * 2).buffer),
    sidOrigin: sidOrigins[(flags >> 1) & 3]!,
    eventTs: Number(view.getBigInt64(valueHeader.eventTsAt, true)),
    stream: view.getUint32(valueHeader.streamAt, false),
    offset: view.getBigUint64(valueHeader.offsetAt, false),
  }
}

function readVector(bytes: Uint8Array, view: DataView, dtype: VectorDtype, dim: number, at: number): Float32Array {
  switch (dtype) {
    case 'f32':
      return new Float32Array(bytes.slice(at, at + dim * 4).buffer)
    case 'f16':
      return decodeFloat16(new Uint16Array(bytes.slice(at, at + dim * 2).buffer))
    case 'i8':
      return decodeInt8(new Int8Array(bytes.buffer, at + 4, dim), view.getFloat32(at, true))
  }
}

function writeHeader(view: DataView, at: number, dtype: number, flags: number, stream: number, offset: bigint, eventTs: number): void {
  view.setUint8(at, valueHeader.magic)
  view.setUint8(at + 1, valueHeader.format)
  view.setUint8(at + valueHeader.dtypeAt, dtype)
  view.setUint8(at + valueHeader.flagsAt, flags)
  view.setUint32(at + valueHeader.streamAt, stream, false)
  view.setBigUint64(at + valueHeader.offsetAt, offset, false)
  view.setBigInt64(at + valueHeader.eventTsAt, BigInt(eventTs), true)
}

function padded(bytes: number): number {
  return (bytes + 3) & ~3
}

function corrupt(what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_STORE_CORRUPT', `a stored value cannot be read: ${what}`)
}
