/**
 * Optimal transport between two weighted sets of points, entropy-regularized. Sinkhorn's iterations are products with the plan of an
 * earlier one as long as its rows and columns need factors of ordinary size, and done in the log domain where they do not: there a small
 * epsilon neither overflows nor loses mass, and an iteration takes five times as long.
 * Invariants: float64 in a fixed order; column sums are exact after every iteration, `rowError` says how far the rows are off.
 */
import { SidestreamError } from '../schemas/index.ts'

export interface SinkhornOptions {
  /** Strength of the entropy, in units of cosine. Lower: nearer to the best match, more iterations. @default 0.05 */
  readonly epsilon?: number
  /** Iterations at most. Higher: slower where rows are not yet exact. @default 2000 */
  readonly maxIterations?: number
  /** It ends when the rows' masses are off by less, summed over rows; 0: never before `maxIterations`. @default 1e-6 */
  readonly tolerance?: number
}

export const sinkhornDefaults: Readonly<Required<SinkhornOptions>> = { epsilon: 0.05, maxIterations: 2000, tolerance: 1e-6 }

export interface TransportPlan {
  /** Mass that goes from row point i to column point k, row-major float64, shape [n, m]; sums to 1. */
  readonly plan: Float64Array
  /** Potentials of rows, shape [n], and columns, shape [m]: plan = exp(-(1 - similarity) / epsilon + f + g). */
  readonly f: Float64Array
  readonly g: Float64Array
  readonly iterations: number
  /** |row sum - row mass| summed over rows, after the last iteration. */
  readonly rowError: number
  /** sum(plan * similarity). */
  readonly score: number
}

/**
 * Plan for the cost 1 - similarity. With M = -(1 - C) / epsilon each iteration is f = ln a - lse_k(M + g), g = ln b - lse_i(M + f).
 * @param similarity - cosines C, row-major float64, shape [n, m]
 * @param rowMass - above 0, shape [n]; brought to sum 1, as `columnMass`, shape [m]
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes differ, a mass is not above 0 or a number is not finite
 */
export function sinkhorn(
  similarity: Float64Array,
  rowMass: ArrayLike<number>,
  columnMass: ArrayLike<number>,
  options: SinkhornOptions = {},
): TransportPlan {
  const { epsilon, maxIterations, tolerance } = { ...sinkhornDefaults, ...options }
  const a = shares(rowMass)
  const b = shares(columnMass)
  const [n, m] = [a.length, b.length]
  if (similarity.length !== n * m || !similarity.every(Number.isFinite) || !(epsilon > 0)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `Sinkhorn needs ${n} x ${m} finite similarities and an epsilon above 0; got ${similarity.length}, epsilon ${epsilon}`,
    )
  }
  const logits = similarity.map((cosine) => -(1 - cosine) / epsilon)
  const f = new Float64Array(n)
  const g = new Float64Array(m)
  // The plan as it stands is u kernel v; the potentials are f + ln u and g + ln v.
  const kernel = new Float64Array(n * m)
  const u = new Float64Array(n).fill(1)
  const v = new Float64Array(m).fill(1)
  const rows = new Float64Array(n)
  const columns = new Float64Array(m)
  let iterations = 0
  let rowError = Infinity
  for (;;) {
    if (iterations > 0) {
      multiplyRows(kernel, v, rows)
      rowError = sum(n, (i) => Math.abs(u[i]! * rows[i]! - a[i]!))
    }
    if (iterations >= maxIterations || rowError < tolerance) break
    const isNear = iterations > 0 && divide(a, rows, u) && (multiplyColumns(kernel, u, columns), divide(b, columns, v))
    if (!isNear) {
      for (let k = 0; k < m; k++) g[k] = g[k]! + Math.log(v[k]!)
      for (let i = 0; i < n; i++) f[i] = Math.log(a[i]!) - logSumExp(logits, g, i * m, 1)
      for (let k = 0; k < m; k++) g[k] = Math.log(b[k]!) - logSumExp(logits, f, k, m)
      planOf(logits, f, g, kernel)
      u.fill(1)
      v.fill(1)
    }
    iterations++
  }
  for (let i = 0; i < n; i++) f[i] = f[i]! + Math.log(u[i]!)
  for (let k = 0; k < m; k++) g[k] = g[k]! + Math.log(v[k]!)
  planOf(logits, f, g, kernel)
  return { plan: kernel, f, g, iterations, rowError, score: sum(n * m, (at) => kernel[at]! * similarity[at]!) }
}

/** out = exp(logits + f + g), shape [n, m]. */
function planOf(logits: Float64Array, f: Float64Array, g: Float64Array, out: Float64Array): void {
  for (let i = 0, at = 0; i < f.length; i++) for (let k = 0; k < g.length; k++, at++) out[at] = Math.exp(logits[at]! + f[i]! + g[k]!)
}

/** out_i = sum_k kernel_ik v_k */
function multiplyRows(kernel: Float64Array, v: Float64Array, out: Float64Array): void {
  for (let i = 0, at = 0; i < out.length; i++) {
    let total = 0
    for (let k = 0; k < v.length; k++, at++) total += kernel[at]! * v[k]!
    out[i] = total
  }
}

/** out_k = sum_i kernel_ik u_i */
function multiplyColumns(kernel: Float64Array, u: Float64Array, out: Float64Array): void {
  out.fill(0)
  for (let i = 0, at = 0; i < u.length; i++) {
    const factor = u[i]!
    for (let k = 0; k < out.length; k++, at++) out[k] = out[k]! + kernel[at]! * factor
  }
}

/** Factors beyond it either way are taken into the potentials: what underflows in the kernel is then far from counting. */
const largestFactor = 1e20

/** out = masses / sums; false, and nothing is written, when one is beyond `largestFactor`. */
function divide(masses: Float64Array, sums: Float64Array, out: Float64Array): boolean {
  for (let i = 0; i < out.length; i++) {
    const factor = masses[i]! / sums[i]!
    if (!(factor < largestFactor && factor > 1 / largestFactor)) return false
  }
  for (let i = 0; i < out.length; i++) out[i] = masses[i]! / sums[i]!
  return true
}

/** ln sum_j exp(logits[start + j * step] + potential[j]). */
function logSumExp(logits: Float64Array, potential: Float64Array, start: number, step: number): number {
  let largest = -Infinity
  for (let j = 0, at = start; j < potential.length; j++, at += step) largest = Math.max(largest, logits[at]! + potential[j]!)
  let total = 0
  for (let j = 0, at = start; j < potential.length; j++, at += step) total += Math.exp(logits[at]! + potential[j]! - largest)
  return largest + Math.log(total)
}

function shares(masses: ArrayLike<number>): Float64Array {
  const out = Float64Array.from(masses)
  const total = out.reduce((before, mass) => before + mass, 0)
  if (!out.every((mass) => mass > 0) || !Number.isFinite(total)) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', 'Sinkhorn needs masses above 0 on both sides; leave empty clusters out')
  }
  return out.map((mass) => mass / total)
}

function sum(count: number, term: (i: number) => number): number {
  let total = 0
  for (let i = 0; i < count; i++) total += term(i)
  return total
}
