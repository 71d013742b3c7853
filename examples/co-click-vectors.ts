/**
 * ID embeddings made of nothing but who used what: the strongest axes of the items' co-use, a truncated singular value
 * decomposition of the users × items matrix, each item's row divided by the root of its users so that much-used items do not
 * fill every axis.
 * Invariant: what is given decides the result; give it train interactions alone.
 */
import { fillNormal, symmetricEigen } from '../compute/index.ts'

export interface CoClickVectors {
  readonly dim: number
  /** Of items with at least one user; lengths are the singular values' share. */
  readonly vectors: ReadonlyMap<string, Float32Array>
  /** Users of each item. */
  readonly users: ReadonlyMap<string, number>
}

/** Rounds of the power iteration: the axes that matter are far apart long before. */
const rounds = 16

/** @param liked - distinct items of each user */
export function coClickVectors(liked: Iterable<readonly string[]>, dim: number, seed = 0): CoClickVectors {
  const numbers = new Map<string, number>()
  const rows = Array.from(liked, (ids) =>
    ids.map((id) => {
      const known = numbers.get(id) ?? numbers.size
      numbers.set(id, known)
      return known
    }),
  )
  const items = numbers.size
  const users = new Float64Array(items)
  for (const row of rows) for (const item of row) users[item]!++
  const scale = users.map((count) => 1 / Math.sqrt(count))
  const start = new Float32Array(items * dim)
  fillNormal(start, seed, 0)
  let basis = orthonormal(Float64Array.from(start), items, dim)
  for (let round = 0; round < rounds; round++) basis = orthonormal(timesCoUse(basis, rows, scale, dim), items, dim)
  // Inside the space that was found, the axes and their strengths.
  const image = timesCoUse(basis, rows, scale, dim)
  const small = new Float64Array(dim * dim)
  for (let i = 0; i < items; i++) {
    for (let a = 0; a < dim; a++) for (let b = 0; b < dim; b++) small[a * dim + b]! += basis[i * dim + a]! * image[i * dim + b]!
  }
  const { vectors: axes, values } = symmetricEigen(small, dim)
  const vectors = new Map<string, Float32Array>()
  for (const [id, i] of numbers) {
    const vector = new Float32Array(dim)
    for (let k = 0; k < dim; k++) {
      let along = 0
      for (let a = 0; a < dim; a++) along += basis[i * dim + a]! * axes[k * dim + a]!
      vector[k] = along * Math.sqrt(Math.max(0, values[k]!))
    }
    vectors.set(id, vector)
  }
  return { dim, vectors, users: new Map([...numbers].map(([id, i]) => [id, users[i]!])) }
}

/** (D X' X D) times a basis, row-major [items, dim]. */
function timesCoUse(basis: Float64Array, rows: readonly (readonly number[])[], scale: Float64Array, dim: number): Float64Array {
  const out = new Float64Array(basis.length)
  const sum = new Float64Array(dim)
  for (const row of rows) {
    sum.fill(0)
    for (const i of row) for (let k = 0; k < dim; k++) sum[k]! += scale[i]! * basis[i * dim + k]!
    for (const i of row) for (let k = 0; k < dim; k++) out[i * dim + k]! += scale[i]! * sum[k]!
  }
  return out
}

/** Columns made orthonormal, one after the other. */
function orthonormal(x: Float64Array, rows: number, dim: number): Float64Array {
  for (let k = 0; k < dim; k++) {
    for (let earlier = 0; earlier < k; earlier++) {
      let dot = 0
      for (let i = 0; i < rows; i++) dot += x[i * dim + k]! * x[i * dim + earlier]!
      for (let i = 0; i < rows; i++) x[i * dim + k]! -= dot * x[i * dim + earlier]!
    }
    let squares = 0
    for (let i = 0; i < rows; i++) squares += x[i * dim + k]! ** 2
    const length = Math.sqrt(squares)
    for (let i = 0; i < rows; i++) x[i * dim + k]! /= length
  }
  return x
}
