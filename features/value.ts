/**
 * Native values: header, semantic ID and vector of one item as one run of bytes (layout in `schemas/value-header.ts`).
 * Invariants: encoding is a pure function of the row; nothing that is not finite is encoded; what does not pass its
 * checksum is never decoded. Bytes are little-endian and so must the machine be.
 */

import { crc32c, decodeFloat16, fromFloat16 } from '../compute/index.ts'
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
  /** Whole milliseconds, [rows]. */
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
const dtypeNames = ['none', 'f32', 'f16', 'i8'] as const
const originNumbers = new Map<SidOrigin | undefined, number>(sidOrigins.map((origin, i) => [origin, i]))
const tombstoneFlag = 1
const fourZeros = new Uint8Array(4)

/** Bytes of one value. */
export function valueBytes({ dtype, dim, levels }: Pick<ValueRows, 'dtype' | 'dim' | 'levels'>): number {
  return vectorAt(dtype, levels) + dim * numberBytes[dtype]
}

/**
 * Packs rows into values: views into one buffer of their own, so keeping one keeps all of them in memory.
 * @throws SIDESTREAM_SHAPE_MISMATCH when arrays do not fit the sizes or sizes do not fit the header;
 * SIDESTREAM_VECTOR_NOT_FINITE names the row
 */
export function encodeValues(batch: ValueRows): Uint8Array[] {
  checkShapes(batch)
  checkFinite(batch)
  const { rows, dim, levels, dtype, stored, codes, origins, eventTs, stream, offsets } = batch
  const size = valueBytes(batch)
  // Rows start at multiples of 4, so that codes and numbers are aligned for whoever reads the arena.
  const stride = padded(size)
  const arena = new Uint8Array(rows * stride)
  const view = new DataView(arena.buffer)
  const numbersAt = vectorAt(dtype, levels)
  const source = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength)
  const rowBytes = dim * numberBytes[dtype]
  const offsetWords = new Uint32Array(offsets.buffer, offsets.byteOffset, rows * 2) // a bigint per row would be an allocation
  const values: Uint8Array[] = []
  for (let row = 0; row < rows; row++) {
    const at = row * stride
    const flags = (originNumbers.get(origins[row]) ?? 0) << 1
    writeHeader(view, at, dtypes[dtype], flags, stream, offsetWords[2 * row + 1]!, offsetWords[2 * row]!, eventTs[row]!)
    view.setUint16(at + valueHeader.dimAt, dim, true)
    arena[at + valueHeader.levelsAt] = levels
    for (let level = 0; level < levels; level++) view.setUint16(at + valueHeader.bytes + level * 2, codes[row * levels + level]!, true)
    if (dtype === 'i8') view.setFloat32(at + numbersAt - 4, batch.scales![row]!, true)
    arena.set(source.subarray(row * rowBytes, (row + 1) * rowBytes), at + numbersAt)
    view.setUint32(at + valueHeader.checksumAt, crc32c(arena, 0, at, at + size), true)
    values.push(arena.subarray(at, at + size))
  }
  return values
}

/** The value that says an item was deleted. */
export function encodeTombstone({ stream, offset, eventTs }: Pick<Feature, 'stream' | 'offset' | 'eventTs'>): Uint8Array {
  const value = new Uint8Array(valueHeader.bytes)
  const view = new DataView(value.buffer)
  writeHeader(view, 0, dtypes.none, tombstoneFlag, stream, Number(offset >> 32n), Number(offset & 0xffffffffn), eventTs)
  view.setUint32(valueHeader.checksumAt, crc32c(value), true)
  return value
}

/** Whether a value says that its item was deleted, without decoding it. */
export function isTombstone(value: Uint8Array): boolean {
  return (value[valueHeader.flagsAt]! & tombstoneFlag) !== 0
}

/**
 * Reads a value, whatever its alignment.
 * @throws SIDESTREAM_STORE_CORRUPT when the bytes are no value of format 1 or fail their checksum
 */
export function decodeValue(value: Uint8Array): Feature {
  const view = new DataView(value.buffer, value.byteOffset, value.length)
  const dtype = checkValue(value, view)
  const flags = value[valueHeader.flagsAt]!
  const levels = dtype === 'none' ? 0 : value[valueHeader.levelsAt]!
  const sid = new Uint16Array(levels)
  for (let level = 0; level < levels; level++) sid[level] = view.getUint16(valueHeader.bytes + level * 2, true)
  const vector = new Float32Array(dtype === 'none' ? 0 : view.getUint16(valueHeader.dimAt, true))
  if (dtype !== 'none') readVector(value, view, dtype, vectorAt(dtype, levels), vector)
  return {
    deleted: (flags & tombstoneFlag) !== 0,
    vector,
    dtype,
    sid,
    sidOrigin: sidOrigins[(flags >> 1) & 3]!,
    eventTs: view.getInt32(valueHeader.eventTsAt + 4, true) * 2 ** 32 + view.getUint32(valueHeader.eventTsAt, true),
    stream: view.getUint32(valueHeader.streamAt, false),
    offset: view.getBigUint64(valueHeader.offsetAt, false),
  }
}

function readVector(value: Uint8Array, view: DataView, dtype: VectorDtype, at: number, out: Float32Array): void {
  const dim = out.length
  if (dtype === 'f32') for (let i = 0; i < dim; i++) out[i] = view.getFloat32(at + 4 * i, true)
  else if (dtype === 'i8') {
    const scale = view.getFloat32(at - 4, true)
    for (let i = 0; i < dim; i++) out[i] = view.getInt8(at + i) * scale
  } else if ((value.byteOffset + at) % 2 === 0) decodeFloat16(new Uint16Array(value.buffer, value.byteOffset + at, dim), out)
  else for (let i = 0; i < dim; i++) out[i] = fromFloat16(value[at + 2 * i]! | (value[at + 2 * i + 1]! << 8))
}

function checkValue(value: Uint8Array, view: DataView): VectorDtype | 'none' {
  if (value.length < valueHeader.bytes || value[0] !== valueHeader.magic) {
    throw corrupt(`${value.length} bytes that start with ${value[0] ?? 'nothing'}`)
  }
  if (value[1] !== valueHeader.format) throw corrupt(`format ${value[1]}, this build reads ${valueHeader.format}`)
  const { checksumAt } = valueHeader
  const before = crc32c(fourZeros, crc32c(value, 0, 0, checksumAt))
  if (crc32c(value, before, checksumAt + 4) !== view.getUint32(checksumAt, true)) {
    throw corrupt('the checksum does not fit: the value was damaged')
  }
  const dtype = dtypeNames[value[valueHeader.dtypeAt]!]
  if (dtype === undefined) throw corrupt(`dtype ${value[valueHeader.dtypeAt]} is unknown`)
  const dim = view.getUint16(valueHeader.dimAt, true)
  const levels = value[valueHeader.levelsAt]!
  const expected = dtype === 'none' ? valueHeader.bytes : valueBytes({ dtype, dim, levels })
  if (value.length !== expected) throw corrupt(`${value.length} bytes, but ${dim} ${dtype} numbers and ${levels} codes take ${expected}`)
  return dtype
}

/** Where the vector starts: behind the codes, padded to 4 bytes, and the scale of int8. */
function vectorAt(dtype: VectorDtype, levels: number): number {
  return valueHeader.bytes + padded(levels * 2) + (dtype === 'i8' ? 4 : 0)
}

function writeHeader(
  view: DataView,
  at: number,
  dtype: number,
  flags: number,
  stream: number,
  offsetHigh: number,
  offsetLow: number,
  eventTs: number,
): void {
  view.setUint8(at, valueHeader.magic)
  view.setUint8(at + 1, valueHeader.format)
  view.setUint8(at + valueHeader.dtypeAt, dtype)
  view.setUint8(at + valueHeader.flagsAt, flags)
  view.setUint32(at + valueHeader.streamAt, stream, false)
  view.setUint32(at + valueHeader.offsetAt, offsetHigh, false)
  view.setUint32(at + valueHeader.offsetAt + 4, offsetLow, false)
  const high = Math.floor(eventTs / 2 ** 32)
  view.setUint32(at + valueHeader.eventTsAt, eventTs - high * 2 ** 32, true)
  view.setInt32(at + valueHeader.eventTsAt + 4, high, true)
}

function checkShapes({ rows, dim, levels, dtype, stored, scales, codes, eventTs, offsets }: ValueRows): void {
  if (dim > 0xffff || levels > 0xff) throw mismatch(`a value holds at most 65535 dims and 255 levels, not ${dim} and ${levels}`)
  if (stored.BYTES_PER_ELEMENT !== numberBytes[dtype]) throw mismatch(`${dtype} numbers cannot come from a ${stored.constructor.name}`)
  if (dtype === 'i8' && (scales?.length ?? 0) < rows) throw mismatch(`${rows} rows of int8 numbers need as many scales`)
  if (stored.length < rows * dim || codes.length < rows * levels || eventTs.length < rows || offsets.length < rows) {
    throw mismatch(
      `${rows} rows of ${dim} numbers and ${levels} codes do not fit ${stored.length} numbers, ${codes.length} codes, ` +
        `${eventTs.length} event times and ${offsets.length} offsets`,
    )
  }
}

function checkFinite({ rows, dim, dtype, stored, scales }: ValueRows): void {
  const count = rows * dim
  if (dtype === 'f16') {
    for (let i = 0; i < count; i++) if ((stored[i]! & 0x7c00) === 0x7c00) throw notFinite(Math.floor(i / dim))
  } else if (dtype === 'f32') {
    for (let i = 0; i < count; i++) if (!Number.isFinite(stored[i]!)) throw notFinite(Math.floor(i / dim))
  } else {
    for (let row = 0; row < rows; row++) if (!Number.isFinite(scales![row]!)) throw notFinite(row)
  }
}

function mismatch(message: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', message)
}

function notFinite(row: number): SidestreamError {
  return new SidestreamError(
    'SIDESTREAM_VECTOR_NOT_FINITE',
    `row ${row} holds a number that is not finite as it is stored: not published`,
    { row },
  )
}

function corrupt(what: string): SidestreamError {
  return new SidestreamError('SIDESTREAM_STORE_CORRUPT', `a stored value is damaged (${what}): rebuild the version from the log`)
}

function padded(bytes: number): number {
  return (bytes + 3) & ~3
}
