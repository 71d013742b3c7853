/**
 * Byte layout of a stored value, native format 1. Header, semantic ID and vector are one value, so they never tear.
 * Invariant: bytes 4 to 16 are the source as big-endian (stream, offset), so comparing those twelve bytes compares
 * age; store drivers rely on nothing else.
 *
 * | bytes | field |
 * |---|---|
 * | 0 | magic 0x53 |
 * | 1 | format, 1 |
 * | 2 | dtype: 0 none, 1 float32, 2 float16, 3 int8 with one float32 scale |
 * | 3 | flags: bit 0 tombstone; bits 1-2 origin of the semantic ID: 0 none, 1 encoded, 2 kept, 3 moved |
 * | 4-7 | stream, uint32 big-endian |
 * | 8-15 | source offset, uint64 big-endian |
 * | 16-23 | event time, milliseconds, int64 little-endian |
 * | 24-25 | dim, uint16 little-endian |
 * | 26 | levels, uint8 |
 * | 27 | reserved, 0 |
 * | 28-31 | CRC-32C of the whole value with these four bytes zero, uint32 little-endian |
 * | 32… | levels x uint16 little-endian codes, zero padding to a multiple of 4, (int8: float32 scale), vector |
 */

export const valueHeader = {
  magic: 0x53,
  format: 1,
  bytes: 32,
  dtypeAt: 2,
  flagsAt: 3,
  sourceAt: 4,
  sourceBytes: 12,
  streamAt: 4,
  offsetAt: 8,
  eventTsAt: 16,
  dimAt: 24,
  levelsAt: 26,
  checksumAt: 28,
} as const

export const dtypes = { none: 0, f32: 1, f16: 2, i8: 3 } as const
export type VectorDtype = 'f32' | 'f16' | 'i8'

export const sidOrigins = ['none', 'encoded', 'kept', 'moved'] as const
export type SidOrigin = (typeof sidOrigins)[number]

/**
 * Order of two values' sources: negative when `a` is older than `b`, 0 when equal.
 * @param a, b - value bytes with a native header
 */
export function compareSource(a: Uint8Array, b: Uint8Array): number {
  const end = valueHeader.sourceAt + valueHeader.sourceBytes
  for (let i = valueHeader.sourceAt; i < end; i++) {
    const difference = a[i]! - b[i]!
    if (difference !== 0) return difference
  }
  return 0
}
