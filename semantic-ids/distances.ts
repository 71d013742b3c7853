/** Distances and steps of one float64 residual, sums in index order: what the reference walks are made of. */

/**
 * Lowest index of the code of least cost.
 * @param residual - float64, shape [dim]
 * @param codebook - row-major float32, shape [size, dim]
 * @param penalties - float32, shape [size]
 */
export function cheapest(residual: Float64Array, codebook: Float32Array, size: number, penalties: Float32Array | undefined): number {
  const dim = residual.length
  let best = 0
  let least = Infinity
  for (let code = 0, at = 0; code < size; code++, at += dim) {
    let sum = 0
    for (let j = 0; j < dim; j++) {
      const difference = residual[j]! - codebook[at + j]!
      sum += difference * difference
    }
    if (penalties !== undefined) sum += penalties[code]!
    if (sum < least) {
      least = sum
      best = code
    }
  }
  return best
}

/** Squared distance of a residual to the codeword at `at`. */
export function squaredDistance(residual: Float64Array, codebook: Float32Array, at: number): number {
  let sum = 0
  for (let j = 0; j < residual.length; j++) {
    const difference = residual[j]! - codebook[at + j]!
    sum += difference * difference
  }
  return sum
}

/** Takes the codeword at `at` away, in place. */
export function subtract(residual: Float64Array, codebook: Float32Array, at: number): void {
  for (let j = 0; j < residual.length; j++) residual[j] = residual[j]! - codebook[at + j]!
}

/** Brings a row to unit length in place; a zero row stays zero. */
export function toUnitLength(row: Float64Array): void {
  let squared = 0
  for (let j = 0; j < row.length; j++) squared += row[j]! * row[j]!
  if (squared === 0) return
  const norm = Math.sqrt(squared)
  for (let j = 0; j < row.length; j++) row[j] = row[j]! / norm
}
