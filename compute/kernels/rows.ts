/**
 * Row-wise arithmetic over row-major float32 matrices [n, dim]; sums run in float64 in index order.
 * Invariant: the result of a row does not depend on the rows beside it.
 */

/** Rows shorter than this have no direction and become zero, as in the `l2norm` operation. */
const shortestRow = 1e-12

/** Dot product of two vectors of one length. */
export function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

/**
 * Scales every row to length 1 in place; rows shorter than 1e-12 become zero.
 * @returns how many rows became zero
 */
export function normalizeRows(x: Float32Array, dim: number): number {
  let dropped = 0
  for (let start = 0; start < x.length; start += dim) {
    let squares = 0
    for (let i = start; i < start + dim; i++) squares += x[i]! * x[i]!
    const length = Math.sqrt(squares)
    if (length < shortestRow) {
      x.fill(0, start, start + dim)
      dropped++
    } else {
      for (let i = start; i < start + dim; i++) x[i] = x[i]! / length
    }
  }
  return dropped
}

/** Mean row, float64, shape [dim]; zeros when there are no rows. */
export function meanRow(x: Float32Array, dim: number): Float64Array {
  const mean = new Float64Array(dim)
  for (let start = 0; start < x.length; start += dim) for (let i = 0; i < dim; i++) mean[i]! += x[start + i]!
  const n = x.length / dim
  if (n > 0) for (let i = 0; i < dim; i++) mean[i]! /= n
  return mean
}

/** Covariance (divided by n), float64, row-major, shape [dim, dim]. */
export function covariance(x: Float32Array, dim: number, mean: Float64Array = meanRow(x, dim)): Float64Array {
  const sums = new Float64Array(dim * dim)
  const centered = new Float64Array(dim)
  for (let start = 0; start < x.length; start += dim) {
    for (let i = 0; i < dim; i++) centered[i] = x[start + i]! - mean[i]!
    for (let i = 0; i < dim; i++) {
      const factor = centered[i]!
      for (let j = i, at = i * dim + i; j < dim; j++, at++) sums[at]! += factor * centered[j]!
    }
  }
  const n = Math.max(1, x.length / dim)
  for (let i = 0; i < dim; i++) {
    for (let j = i; j < dim; j++) {
      const value = sums[i * dim + j]! / n
      sums[i * dim + j] = value
      sums[j * dim + i] = value
    }
  }
  return sums
}
