/**
 * Moves every codeword to the mean of what its items leave at that level, first level first.
 * Invariant: float64 sums in row order; codes without rows keep their codeword.
 */

import { codebooksOf, type Codebooks } from './codebooks.ts'

/**
 * Codebooks refitted under given codes.
 * @param x - vectors as the quantizer sees them (`preparedFloat32`), row-major float32, shape [rows, dim]
 * @param codes - row-major, shape [rows, levels]; a row that starts with -1 takes no part
 */
export function refit(x: Float32Array, codes: Uint16Array | Int32Array, codebooks: Codebooks): Codebooks {
  const { dim, sizes } = codebooks
  const residual = new Float64Array(dim)
  const levels: Float32Array[] = []
  for (let level = 0; level < sizes.length; level++) {
    const { sums, counts } = sumResiduals(x, codes, levels, level, sizes, residual)
    const codebook = codebooks.levels[level]!.slice()
    for (let code = 0; code < sizes[level]!; code++) {
      const count = counts[code]!
      if (count === 0) continue
      for (let at = code * dim; at < (code + 1) * dim; at++) codebook[at] = sums[at]! / count
    }
    levels.push(codebook)
  }
  return codebooksOf(dim, levels)
}

/** Sums per code of `level` of what the refitted levels before it leave; residuals are formed row by row, never stored. */
function sumResiduals(
  x: Float32Array,
  codes: Uint16Array | Int32Array,
  before: readonly Float32Array[],
  level: number,
  sizes: readonly number[],
  residual: Float64Array,
): { sums: Float64Array; counts: Int32Array } {
  const dim = residual.length
  const levels = sizes.length
  const sums = new Float64Array(sizes[level]! * dim)
  const counts = new Int32Array(sizes[level]!)
  for (let row = 0, at = 0; at < x.length; row++, at += dim) {
    if (codes[row * levels]! < 0) continue
    for (let j = 0; j < dim; j++) residual[j] = x[at + j]!
    for (let earlier = 0; earlier < level; earlier++) {
      const codebook = before[earlier]!
      const from = codes[row * levels + earlier]! * dim
      for (let j = 0; j < dim; j++) residual[j] = residual[j]! - codebook[from + j]!
    }
    const code = codes[row * levels + level]!
    counts[code] = counts[code]! + 1
    for (let j = 0, to = code * dim; j < dim; j++, to++) sums[to] = sums[to]! + residual[j]!
  }
  return { sums, counts }
}
