/**
 * Codebooks of a residual quantizer and the checks on what is encoded with them.
 * Invariant: a `Codebooks` value made by `codebooksOf` has finite codewords, at least one level and 1 to 65,536 codes per level.
 */

import { SidestreamError } from '../schemas/index.ts'

/** Codewords of every level. */
export interface Codebooks {
  /** Dimension of the vectors. */
  readonly dim: number
  /** Codes per level, first level first. */
  readonly sizes: readonly number[]
  /** One per level: row-major float32, shape [sizes[level], dim]. */
  readonly levels: readonly Float32Array[]
}

/** What an encoder must know beside the codebooks to give the same codes. */
export interface EncodeSettings {
  /**
   * Bring every vector to unit length first (a zero vector stays zero).
   * @default true
   */
  readonly normalize: boolean
  /**
   * A proposed code is decided again in float64 when its lead over the second best is below this share of the squared residual.
   * Higher: more rows are decided twice, slower.
   * @default 1e-5
   */
  readonly recheckTolerance: number
}

export const encodeDefaults: Readonly<EncodeSettings> = { normalize: true, recheckTolerance: 1e-5 }

/** Codes are stored as uint16. */
const mostCodes = 65_536
/** The value header counts levels in one byte. */
const mostLevels = 255

/**
 * Checked codebooks over `levels` (not copied).
 * @param levels - one per level: row-major float32, shape [k, dim]
 * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
 */
export function codebooksOf(dim: number, levels: readonly Float32Array[]): Codebooks {
  if (!Number.isInteger(dim) || dim < 1)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `codebooks need a dimension of at least 1, got ${dim}`)
  if (levels.length < 1 || levels.length > mostLevels) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `codebooks need 1 to ${mostLevels} levels, got ${levels.length}`)
  }
  const sizes = levels.map((level, index) => {
    const size = level.length / dim
    checkSize(size, index)
    requireFinite(level, dim, `codeword of level ${index + 1}`)
    return size
  })
  return { dim, sizes, levels }
}

/** @throws SIDESTREAM_SHAPE_MISMATCH unless every size is a whole number of 1 to 65,536 */
export function checkSizes(sizes: readonly number[]): void {
  if (sizes.length < 1 || sizes.length > mostLevels) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `semantic IDs need 1 to ${mostLevels} levels, got ${sizes.length}`)
  }
  for (const [index, size] of sizes.entries()) checkSize(size, index)
}

function checkSize(size: number, index: number): void {
  if (!Number.isInteger(size) || size < 1 || size > mostCodes) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `level ${index + 1} must hold 1 to ${mostCodes} whole codewords, got ${size}`)
  }
}

/**
 * Number of rows in `vectors`.
 * @param vectors - row-major, shape [rows, dim]
 * @throws SIDESTREAM_SHAPE_MISMATCH when the length is no multiple of `dim`
 */
export function rowsOf(vectors: { readonly length: number }, dim: number): number {
  const rows = vectors.length / dim
  if (!Number.isInteger(rows)) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${vectors.length} numbers are no whole number of vectors of dimension ${dim}`)
  }
  return rows
}

/**
 * Refuses numbers that no distance can be computed with.
 * @param vectors - row-major, shape [rows, dim]
 * @throws SIDESTREAM_VECTOR_NOT_FINITE naming the first bad row
 */
export function requireFinite(vectors: Float32Array, dim: number, what = 'vector'): void {
  // A number less itself is zero unless it is not finite: one pass without a branch for the usual case.
  let zero = 0
  for (let i = 0; i < vectors.length; i++) {
    const value = vectors[i]!
    zero += value - value
  }
  if (zero === 0) return
  for (let i = 0; i < vectors.length; i++) {
    if (!Number.isFinite(vectors[i]!)) {
      throw new SidestreamError(
        'SIDESTREAM_VECTOR_NOT_FINITE',
        `${what} ${Math.floor(i / dim)} holds ${vectors[i]} at position ${i % dim}`,
        {
          row: Math.floor(i / dim),
          position: i % dim,
        },
      )
    }
  }
}
