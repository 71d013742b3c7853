/**
 * The collaborative term of a fit: each vector is pulled toward the mean of those it is consumed with, so that codebooks are laid where
 * such items stand together.
 * Invariant: only the fit sees pulled vectors; an item's code stays a function of its own vector, so that new items need no history.
 */

import { SidestreamError } from '../schemas/index.ts'
import { requireFinite } from './codebooks.ts'
import { preparedFloat32 } from './encode.ts'

export interface Attraction {
  /** Items consumed together, (a, b) and (b, a) being the same; a pair that comes twice counts twice. Unknown items are left out. */
  readonly pairs: readonly (readonly [a: string, b: string])[]
  /** How far a vector is moved toward the mean of its partners, 0 (not) to 1 (all the way). */
  readonly weight: number
}

/**
 * Pulled vectors: (1 - weight) x + weight * mean of the partners' x; those without partners stay.
 * @param vectors - row-major float32, shape [ids.length, dim]
 * @param normalize - whether x are the vectors at unit length
 * @returns row-major float32, shape [ids.length, dim]
 * @throws SIDESTREAM_SHAPE_MISMATCH for a weight out of range; SIDESTREAM_VECTOR_NOT_FINITE
 */
export function attractedTo(
  vectors: Float32Array,
  ids: readonly string[],
  dim: number,
  normalize: boolean,
  { pairs, weight }: Attraction,
): Float32Array {
  if (!(weight >= 0 && weight <= 1))
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `a weight of attraction is 0 to 1, got ${weight}`)
  requireFinite(vectors, dim)
  const x = preparedFloat32(vectors, dim, normalize)
  const rowOf = new Map(ids.map((id, row) => [id, row]))
  const sums = new Float64Array(x.length)
  const partners = new Uint32Array(ids.length)
  for (const [a, b] of pairs) {
    const [one, other] = [rowOf.get(a), rowOf.get(b)]
    if (one === undefined || other === undefined || one === other) continue
    addRow(sums, one, x, other, dim)
    addRow(sums, other, x, one, dim)
    partners[one]!++
    partners[other]!++
  }
  return x.map((value, at) => {
    const count = partners[Math.floor(at / dim)]!
    return count === 0 ? value : (1 - weight) * value + (weight * sums[at]!) / count
  })
}

function addRow(sums: Float64Array, to: number, x: Float32Array, from: number, dim: number): void {
  for (let j = 0; j < dim; j++) sums[to * dim + j] = sums[to * dim + j]! + x[from * dim + j]!
}
