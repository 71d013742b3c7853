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
 * to[toAt…] += factor * from[fromAt…] over `dim` numbers. Four at a time, here and below: V8 checks bounds of every access, and the
 * processor overlaps what does not wait for one another.
 */
export function addScaled(to: Float64Array, toAt: number, from: Float32Array, fromAt: number, dim: number, factor: number): void {
  const end = toAt + dim
  let at = toAt
  let source = fromAt
  for (; at + 4 <= end; at += 4, source += 4) {
    const a = to[at]! + factor * from[source]!
    const b = to[at + 1]! + factor * from[source + 1]!
    const c = to[at + 2]! + factor * from[source + 2]!
    const d = to[at + 3]! + factor * from[source + 3]!
    to[at] = a
    to[at + 1] = b
    to[at + 2] = c
    to[at + 3] = d
  }
  for (; at < end; at++, source++) to[at] = to[at]! + factor * from[source]!
}

/** to[toAt…] -= from[fromAt…] over `dim` numbers. */
export function subtractRow(to: Float32Array, toAt: number, from: Float32Array, fromAt: number, dim: number): void {
  const end = toAt + dim
  let at = toAt
  let source = fromAt
  for (; at + 4 <= end; at += 4, source += 4) {
    const a = to[at]! - from[source]!
    const b = to[at + 1]! - from[source + 1]!
    const c = to[at + 2]! - from[source + 2]!
    const d = to[at + 3]! - from[source + 3]!
    to[at] = a
    to[at + 1] = b
    to[at + 2] = c
    to[at + 3] = d
  }
  for (; at < end; at++, source++) to[at] = to[at]! - from[source]!
}

/** Squared norm of `dim` numbers from `at` on, in four sums. */
export function squaredNormAt(x: Float32Array, at: number, dim: number): number {
  const end = at + dim
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  for (; at + 4 <= end; at += 4) {
    const v0 = x[at]!
    const v1 = x[at + 1]!
    const v2 = x[at + 2]!
    const v3 = x[at + 3]!
    a += v0 * v0
    b += v1 * v1
    c += v2 * v2
    d += v3 * v3
  }
  for (; at < end; at++) a += x[at]! * x[at]!
  return a + b + (c + d)
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
