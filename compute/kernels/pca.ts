/**
 * Principal axes of rows. Invariant: axes by descending variance, each with its largest-magnitude component positive
 * (the first one on ties), so two fits of the same rows agree to the bit.
 */

import { SidestreamError } from '../../schemas/index.ts'
import { mlMatrix } from './ml-matrix.ts'
import { covariance, meanRow } from './rows.ts'

export interface PrincipalAxes {
  /** Float64, shape [dim]. */
  readonly mean: Float64Array
  /** Row-major float64, shape [dim, dim]: row i is the i-th axis, unit length. */
  readonly axes: Float64Array
  /** Variance along each axis (divided by n), never negative, shape [dim]. */
  readonly variances: Float64Array
}

/**
 * Principal axes of `x`.
 * @param x - row-major float32, shape [n, dim], finite
 * @throws SIDESTREAM_ITEMS_TOO_FEW without rows
 */
export function pca(x: Float32Array, n: number, dim: number): PrincipalAxes {
  if (n === 0 || x.length !== n * dim)
    throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `principal axes need rows: got ${x.length} numbers for ${n} x ${dim}`)
  const mean = meanRow(x, dim)
  const { vectors, values } = symmetricEigen(covariance(x, dim, mean), dim)
  return { mean, axes: vectors, variances: values.map((value) => Math.max(0, value)) }
}

/**
 * Eigenvectors of a symmetric matrix, by descending eigenvalue, signs fixed as above.
 * @param matrix - row-major, shape [dim, dim]
 * @returns `vectors` row-major, shape [dim, dim], one eigenvector per row
 */
export function symmetricEigen(matrix: Float64Array, dim: number): { vectors: Float64Array; values: Float64Array } {
  const { EigenvalueDecomposition, Matrix } = mlMatrix()
  const found = new EigenvalueDecomposition(Matrix.from1DArray(dim, dim, matrix), { assumeSymmetric: true })
  const values = found.realEigenvalues
  const columns = found.eigenvectorMatrix
  const order = values.map((_, i) => i).sort((a, b) => values[b]! - values[a]! || a - b)
  const vectors = new Float64Array(dim * dim)
  order.forEach((column, row) => {
    let largest = 0
    for (let i = 0; i < dim; i++) if (Math.abs(columns.get(i, column)) > Math.abs(columns.get(largest, column))) largest = i
    const sign = columns.get(largest, column) < 0 ? -1 : 1
    for (let i = 0; i < dim; i++) vectors[row * dim + i] = sign * columns.get(i, column)
  })
  return { vectors, values: Float64Array.from(order, (i) => values[i]!) }
}
