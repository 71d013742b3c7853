/** The orthogonal map between two sets of paired rows. */

import { SidestreamError } from '../../schemas/index.ts'
import { mlMatrix } from './ml-matrix.ts'

/**
 * Orthogonal Q with the least sum of |from[i] Q - to[i]|^2 (Schoenemann's solution: U V' of from' to = U S V'); it may reflect.
 * With fewer independent pairs than dims the directions that no pair shows are mapped onto one another in some fixed way.
 * @param from, to - row-major float32, shape [rows, dim], paired by row
 * @returns row-major float64, shape [dim, dim]; a row vector is mapped by x Q
 * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
 */
export function procrustes(from: Float32Array, to: Float32Array, dim: number): Float64Array {
  if (from.length !== to.length || from.length % dim !== 0)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${from.length} and ${to.length} numbers are no pairs of rows of ${dim}`)
  const cross = new Float64Array(dim * dim)
  for (let at = 0; at < from.length; at += dim) {
    for (let i = 0; i < dim; i++) {
      const value = from[at + i]!
      if (value === 0) continue
      for (let j = 0, row = i * dim; j < dim; j++) cross[row + j] = cross[row + j]! + value * to[at + j]!
    }
  }
  if (!cross.every(Number.isFinite))
    throw new SidestreamError('SIDESTREAM_VECTOR_NOT_FINITE', 'vectors to be rotated hold a number that is not finite')
  const { Matrix, SingularValueDecomposition } = mlMatrix()
  const { leftSingularVectors: u, rightSingularVectors: v } = new SingularValueDecomposition(Matrix.from1DArray(dim, dim, cross))
  return Float64Array.from(u.mmul(v.transpose()).to1DArray())
}
