/**
 * Finite-scalar quantization as the last level of an ID: what the codewords leave is projected to a few numbers, each of which
 * falls on a fixed grid. There is no codebook, so nothing collapses and nothing moves when the levels before are refitted.
 * Invariant: a digit counts the cuts that its number reaches, a comparison of numbers alone; the same on every machine.
 *
 * The cuts are where the published formula steps (2309.15505): with h = (Q - 1) / 2 a digit of odd Q is
 * floor(h tanh(u) + 1/2) + h; of even Q floor(h tanh(u + tan(1/2 / h))) + Q / 2.
 */

import { SidestreamError } from '../schemas/index.ts'

export interface Fsq {
  /** Values per digit, the most significant digit first; each 2 to 255. */
  readonly digits: readonly number[]
  /** Row-major float32, shape [digits.length, dim]. */
  readonly projection: Float32Array
  /** One per digit: float32, shape [digits[j] - 1], ascending. A digit is the number of its cuts that are at most u_j. */
  readonly cuts: readonly Float32Array[]
}

const mostValues = 255

/**
 * A finite-scalar level with the cuts of the published formula.
 * @param projection - row-major float32, shape [digits.length, dim]
 */
export function fsqOf(digits: readonly number[], projection: Float32Array): Fsq {
  return { digits, projection, cuts: digits.map(cutsOf) }
}

function cutsOf(values: number): Float32Array {
  const half = (values - 1) / 2
  const even = values % 2 === 0
  const shift = even ? Math.tan(0.5 / half) : 0
  return Float32Array.from({ length: Math.max(0, values - 1) }, (_, k) => Math.atanh((k + 1 - values / 2) / half) - shift)
}

/** Codes of the level: the product of its digits' values. */
export function fsqSize({ digits }: Fsq): number {
  return digits.reduce((product, values) => product * values, 1)
}

/** @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE */
export function checkFsq({ digits, projection, cuts }: Fsq, dim: number): void {
  const bad = (what: string): SidestreamError => new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `the finite-scalar level ${what}`)
  if (digits.length < 1) throw bad('needs at least one digit')
  for (const values of digits)
    if (!Number.isInteger(values) || values < 2 || values > mostValues)
      throw bad(`needs 2 to ${mostValues} values per digit, got ${values}`)
  if (projection.length !== digits.length * dim)
    throw bad(`projects ${digits.length} digits of ${dim} dims by ${projection.length} numbers`)
  if (!projection.every(Number.isFinite))
    throw new SidestreamError('SIDESTREAM_VECTOR_NOT_FINITE', 'the projection of the finite-scalar level holds a number that is not finite')
  for (const [j, values] of digits.entries()) {
    const own = cuts[j]
    if (own?.length !== values - 1 || !own.every((cut, k) => Number.isFinite(cut) && (k === 0 || cut >= own[k - 1]!)))
      throw bad(`needs ${values - 1} ascending cuts for digit ${j + 1}`)
  }
}

/**
 * Code of one residual: its digits in mixed radix, the first most significant.
 * @param residual - float64, shape [dim]; products are summed in index order
 */
export function fsqCode({ digits, projection, cuts }: Fsq, residual: Float64Array): number {
  const dim = residual.length
  let code = 0
  for (let j = 0; j < digits.length; j++) {
    let u = 0
    for (let i = 0, at = j * dim; i < dim; i++, at++) u += projection[at]! * residual[i]!
    let digit = 0
    for (const cut of cuts[j]!) if (u >= cut) digit++
    code = code * digits[j]! + digit
  }
  return code
}
