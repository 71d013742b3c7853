/**
 * The reference of residual quantization: float64 direct differences in index order, the lowest index wins ties.
 * Invariant: every faster path gives exactly these codes; with delta 0 or without a parent's codes `encodeSticky` equals `encode`.
 */

import { rowsOf, type Codebooks, type EncodeSettings } from './codebooks.ts'

/** The parent's codes of a batch and what it costs to leave them. */
export interface Sticky {
  /** Row-major, shape [rows, levels]; -1 in the first place of a row that has no parent's codes. */
  readonly old: Int32Array
  /**
   * How much farther (relative, squared distance) the old code may be before the item leaves it; `Infinity` never leaves.
   * Higher: fewer changed IDs, more distortion.
   */
  readonly delta: number
}

/**
 * Greedy codes of every vector (each level: nearest codeword to what is left).
 * @param vectors - row-major float32, shape [rows, dim]
 * @returns codes, row-major, shape [rows, levels]
 */
export function encode(vectors: Float32Array, codebooks: Codebooks, settings: Pick<EncodeSettings, 'normalize'>): Uint16Array {
  return encodeSticky(vectors, codebooks, settings, undefined)
}

/**
 * Codes that prefer the parent's: while the prefix is still the old one the old code stays if d2(old) <= (1 + delta) d2(best);
 * after the first switch the later levels are free.
 * @param vectors - row-major float32, shape [rows, dim]
 * @returns codes, row-major, shape [rows, levels]
 */
export function encodeSticky(
  vectors: Float32Array,
  codebooks: Codebooks,
  settings: Pick<EncodeSettings, 'normalize'>,
  sticky: Sticky | undefined,
): Uint16Array {
  const rows = rowsOf(vectors, codebooks.dim)
  const codes = new Uint16Array(rows * codebooks.sizes.length)
  const residual = new Float64Array(codebooks.dim)
  for (let row = 0; row < rows; row++) walkRow(vectors, row, codebooks, settings.normalize, sticky, residual, codes)
  return codes
}

/**
 * Decides one row: the single place where codes are settled.
 * @param residual - scratch, float64, shape [dim]; afterwards what the codes leave unexplained
 * @param codes - written in place at `row`, shape [rows, levels]
 */
export function walkRow(
  vectors: Float32Array,
  row: number,
  { dim, sizes, levels }: Codebooks,
  normalize: boolean,
  sticky: Sticky | undefined,
  residual: Float64Array,
  codes: Uint16Array,
): void {
  prepare(vectors, row, dim, normalize, residual)
  const at = row * sizes.length
  let onOldPrefix = sticky !== undefined && sticky.old[at]! >= 0
  for (let level = 0; level < sizes.length; level++) {
    const codebook = levels[level]!
    let code = nearest(residual, codebook, sizes[level]!)
    if (onOldPrefix) {
      const old = sticky!.old[at + level]!
      const best = squaredDistance(residual, codebook, code * dim)
      const limit = sticky!.delta === Infinity ? Infinity : (1 + sticky!.delta) * best
      if (squaredDistance(residual, codebook, old * dim) <= limit) code = old
      else onOldPrefix = false
    }
    subtract(residual, codebook, code * dim)
    codes[at + level] = code
  }
}

/** Copies one row to float64, brought to unit length if asked. */
function prepare(vectors: Float32Array, row: number, dim: number, normalize: boolean, out: Float64Array): void {
  const at = row * dim
  let squared = 0
  for (let j = 0; j < dim; j++) {
    const x = vectors[at + j]!
    out[j] = x
    squared += x * x
  }
  if (!normalize || squared === 0) return
  const norm = Math.sqrt(squared)
  for (let j = 0; j < dim; j++) out[j] = out[j]! / norm
}

/** Lowest index of the nearest codeword. */
function nearest(residual: Float64Array, codebook: Float32Array, size: number): number {
  const dim = residual.length
  let best = 0
  let least = Infinity
  for (let code = 0, at = 0; code < size; code++, at += dim) {
    let sum = 0
    for (let j = 0; j < dim; j++) {
      const difference = residual[j]! - codebook[at + j]!
      sum += difference * difference
    }
    if (sum < least) {
      least = sum
      best = code
    }
  }
  return best
}

function squaredDistance(residual: Float64Array, codebook: Float32Array, at: number): number {
  let sum = 0
  for (let j = 0; j < residual.length; j++) {
    const difference = residual[j]! - codebook[at + j]!
    sum += difference * difference
  }
  return sum
}

function subtract(residual: Float64Array, codebook: Float32Array, at: number): void {
  for (let j = 0; j < residual.length; j++) residual[j] = residual[j]! - codebook[at + j]!
}

/**
 * What the quantizer sees of the vectors: float64, unit length if `normalize`.
 * @param vectors - row-major float32, shape [rows, dim]
 * @returns row-major float64, shape [rows, dim]
 */
export function prepared(vectors: Float32Array, dim: number, normalize: boolean): Float64Array {
  const rows = rowsOf(vectors, dim)
  const out = new Float64Array(rows * dim)
  for (let row = 0; row < rows; row++) prepare(vectors, row, dim, normalize, out.subarray(row * dim, (row + 1) * dim))
  return out
}

/** `prepared` rounded to float32, half the memory: for fitting, where the last bits do not decide. */
export function preparedFloat32(vectors: Float32Array, dim: number, normalize: boolean): Float32Array {
  if (!normalize) return vectors
  const out = new Float32Array(vectors.length)
  const row = new Float64Array(dim)
  for (let at = 0; at < vectors.length; at += dim) {
    prepare(vectors, at / dim, dim, true, row)
    out.set(row, at)
  }
  return out
}

/**
 * The vectors that codes stand for: sums of their codewords.
 * @param codes - row-major, shape [rows, levels]
 * @returns row-major float32, shape [rows, dim]
 */
export function decode(codes: Uint16Array, codebooks: Codebooks): Float32Array {
  const { dim, sizes, levels } = codebooks
  const rows = rowsOf(codes, sizes.length)
  const out = new Float32Array(rows * dim)
  const sum = new Float64Array(dim)
  for (let row = 0; row < rows; row++) {
    sum.fill(0)
    for (let level = 0; level < sizes.length; level++) {
      const at = codes[row * sizes.length + level]! * dim
      const codebook = levels[level]!
      for (let j = 0; j < dim; j++) sum[j] = sum[j]! + codebook[at + j]!
    }
    out.set(sum, row * dim)
  }
  return out
}
