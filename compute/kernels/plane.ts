/**
 * Rows on the plane of their two directions of largest variance: what a map of high-dimensional rows shows.
 * Orthogonal iteration on the rows themselves: dim x dim numbers are never formed, so wide rows cost no more than they are long.
 * Invariant: a function of the rows; each axis has its largest-magnitude component positive, the first one on ties.
 */

import { meanRow } from './rows.ts'
import { uniform } from './random.ts'

export interface Plane {
  /** Row-major float64, shape [n, 2]. */
  readonly points: Float64Array
  /** Share of the variance along both axes; 0 without variance. */
  readonly explained: readonly [number, number]
}

/** Enough for a picture: axes of nearly equal variance may stay turned in their plane. */
const rounds = 40
const axes = 2

/** @param x - row-major float32, shape [n, dim], finite */
export function principalPlane(x: Float32Array, dim: number): Plane {
  const n = x.length / dim
  const mean = meanRow(x, dim)
  let basis = orthonormal(
    Float64Array.from({ length: axes * dim }, (_, i) => uniform(1, 0, i) - 0.5),
    dim,
  )
  for (let round = 0; round < rounds; round++) {
    const next = new Float64Array(axes * dim)
    for (let row = 0; row < n; row++) {
      for (let a = 0; a < axes; a++) {
        const along = project(x, row * dim, mean, basis, a * dim, dim)
        for (let d = 0; d < dim; d++) next[a * dim + d]! += along * (x[row * dim + d]! - mean[d]!)
      }
    }
    basis = orthonormal(next, dim)
  }
  const points = new Float64Array(n * axes)
  const along = [0, 0]
  let total = 0
  for (let a = 0; a < axes; a++) {
    const sign = signOf(basis.subarray(a * dim, (a + 1) * dim))
    for (let row = 0; row < n; row++) {
      const value = sign * project(x, row * dim, mean, basis, a * dim, dim)
      points[row * axes + a] = value
      along[a]! += value * value
    }
  }
  for (let at = 0; at < x.length; at++) total += (x[at]! - mean[at % dim]!) ** 2
  return { points, explained: total > 0 ? [along[0]! / total, along[1]! / total] : [0, 0] }
}

function project(x: Float32Array, row: number, mean: Float64Array, basis: Float64Array, axis: number, dim: number): number {
  let sum = 0
  for (let d = 0; d < dim; d++) sum += (x[row + d]! - mean[d]!) * basis[axis + d]!
  return sum
}

/** Gram-Schmidt; a direction without length becomes zero. */
function orthonormal(basis: Float64Array, dim: number): Float64Array {
  for (let a = 0; a < axes; a++) {
    const own = basis.subarray(a * dim, (a + 1) * dim)
    const before = length(own)
    for (let b = 0; b < a; b++) {
      let product = 0
      for (let d = 0; d < dim; d++) product += own[d]! * basis[b * dim + d]!
      for (let d = 0; d < dim; d++) own[d]! -= product * basis[b * dim + d]!
    }
    // What is left of a parallel direction is rounding.
    const left = length(own)
    const scale = left > 1e-9 * before ? 1 / left : 0
    for (let d = 0; d < dim; d++) own[d]! *= scale
  }
  return basis
}

function length(vector: Float64Array): number {
  return Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0))
}

function signOf(axis: Float64Array): number {
  let largest = 0
  for (let d = 1; d < axis.length; d++) if (Math.abs(axis[d]!) > Math.abs(axis[largest]!)) largest = d
  return axis[largest]! < 0 ? -1 : 1
}
