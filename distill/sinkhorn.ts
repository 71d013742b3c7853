/**
 * Optimal transport between two weighted sets of points, entropy-regularized: Sinkhorn's iterations in the log domain, where a
 * small epsilon neither overflows nor loses mass.
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
  const next = new Float64Array(n)
  let iterations = 0
  let rowError = Infinity
  for (;;) {
    for (let i = 0; i < n; i++) next[i] = Math.log(a[i]!) - logSumExp(logits, g, i * m, 1)
    // The row sums of the plan as it stands are a exp(f - next): known without building it.
    if (iterations > 0) rowError = sum(n, (i) => a[i]! * Math.abs(Math.exp(f[i]! - next[i]!) - 1))
    if (iterations >= maxIterations || rowError < tolerance) break
    f.set(next)
    for (let k = 0; k < m; k++) g[k] = Math.log(b[k]!) - logSumExp(logits, f, k, m)
    iterations++
  }
  const plan = logits.map((logit, at) => Math.exp(logit + f[Math.floor(at / m)]! + g[at % m]!))
  return { plan, f, g, iterations, rowError, score: sum(plan.length, (at) => plan[at]! * similarity[at]!) }
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
