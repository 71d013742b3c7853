/**
 * How much each training source is worth for the tasks at hand (SAIL-Embedding, section 3.2): centroids of a sample of both, the
 * transport plan between them, its mean cosine as the score, and a softmax over the scores as sampling probabilities.
 * "Fusion first" is the caller's: hand in fused vectors where both sides have them, and one modality that both have otherwise.
 * Invariants: a source's score depends on its own vectors and the tasks alone; weights sum to 1.
 */
import { setImmediate } from 'node:timers/promises'
import { StreamingKMeans } from '../compute/index.ts'
import { SidestreamError } from '../schemas/index.ts'
import { sinkhorn, sinkhornDefaults, type SinkhornOptions } from './sinkhorn.ts'

/** Vectors drawn from a source, or from the validation set of a task. */
export interface VectorSample {
  readonly name: string
  /** Row-major float32, shape [n, dim]; may be empty. Lengths do not matter, rows of zeros are left out. */
  readonly vectors: Float32Array
}

/** The same, as clusters: what k-means in memory or over a stream gives. */
export interface ClusteredSample {
  readonly name: string
  /** Row-major, shape [k, dim]; no clusters when the sample is empty. */
  readonly centroids: ArrayLike<number>
  /** Rows of each cluster, or their share, above 0, shape [k]. */
  readonly masses: ArrayLike<number>
}

export interface WeightOptions {
  /** Temperature of the softmax over mean scores. Higher: sources are drawn more evenly (stage I: 1). @default 0.1 */
  readonly temperature?: number
  /** Least probability of a source. @default 0.02 */
  readonly floor?: number
}

export interface BalanceOptions extends SinkhornOptions, WeightOptions {}

export interface ClusteringOptions {
  /** Vectors looked at per sample, taken evenly over its rows. Higher: steadier, linear cost. @default 10000 */
  readonly vectors?: number
  /** Centroids per sample. Higher: finer, slower. @default 64 */
  readonly clusters?: number
  /** Seed of k-means; the same for every sample, so that their order does not matter. @default 1 */
  readonly seed?: number
}

export const weightDefaults: Readonly<Required<WeightOptions>> = { temperature: 0.1, floor: 0.02 }
export const balanceDefaults: Readonly<Required<BalanceOptions & ClusteringOptions>> = {
  ...sinkhornDefaults,
  ...weightDefaults,
  vectors: 10_000,
  clusters: 64,
  seed: 1,
}

/** Plain data: goes into run record and report as it is. */
export interface SourceBalance {
  readonly sources: readonly string[]
  /** Tasks with vectors. */
  readonly tasks: readonly string[]
  /** Mean cosine under the plan, per source and task; null without vectors of the source. */
  readonly scores: readonly (readonly (number | null)[])[]
  /** Mean over tasks. */
  readonly means: readonly (number | null)[]
  /** Sampling probability of each source; 0 without vectors. */
  readonly weights: readonly number[]
  /** 1 / sum of squared weights: how many sources an even draw would have. */
  readonly effectiveSources: number
  /** Largest row error of any plan, and most iterations: whether the plans are exact enough. */
  readonly rowError: number
  readonly iterations: number
}

/**
 * Clusters every sample and balances the sources. By streaming k-means; other work gets its turn between chunks of rows.
 * @throws as `balanceClusters`, and SIDESTREAM_SHAPE_MISMATCH when a vector is not finite
 */
export async function balanceSources(
  { sources, tasks, dim }: { readonly sources: readonly VectorSample[]; readonly tasks: readonly VectorSample[]; readonly dim: number },
  options: BalanceOptions & ClusteringOptions = {},
  signal?: AbortSignal,
): Promise<SourceBalance> {
  const clustered: Record<'sources' | 'tasks', ClusteredSample[]> = { sources: [], tasks: [] }
  for (const sample of sources) clustered.sources.push(await clusterSample(sample, dim, options, signal))
  for (const sample of tasks) clustered.tasks.push(await clusterSample(sample, dim, options, signal))
  return balanceClusters({ ...clustered, dim }, options, signal)
}

/** Rows between two turns of other work. */
const chunkRows = 512

async function clusterSample(
  { name, vectors }: VectorSample,
  dim: number,
  options: ClusteringOptions,
  signal: AbortSignal | undefined,
): Promise<ClusteredSample> {
  const { vectors: most, clusters, seed } = { ...balanceDefaults, ...options }
  const fit = new StreamingKMeans(dim, { size: clusters, seed, metric: 'cosine' })
  const rows = thinned(vectors, dim, most)
  for (let at = 0; at < rows.length; at += chunkRows * dim) {
    fit.add(rows.subarray(at, at + chunkRows * dim))
    await setImmediate()
    signal?.throwIfAborted()
  }
  const { centroids, masses } = fit.result()
  return { name, centroids, masses }
}

/** At most `most` rows, evenly over all. */
function thinned(vectors: Float32Array, dim: number, most: number): Float32Array {
  const n = vectors.length / dim
  if (n <= most) return vectors
  const out = new Float32Array(most * dim)
  for (let i = 0; i < most; i++) {
    const row = Math.floor((i * n) / most)
    out.set(vectors.subarray(row * dim, (row + 1) * dim), i * dim)
  }
  return out
}

/**
 * Balances sources from clusters. Other work gets its turn between plans.
 * A source or task without clusters takes no part; without any task all sources weigh the same.
 * @throws SIDESTREAM_ITEMS_TOO_FEW when no source has clusters, SIDESTREAM_CONFIG_INVALID when the floors do not fit,
 *   SIDESTREAM_SHAPE_MISMATCH when shapes differ or numbers are not finite
 */
export async function balanceClusters(
  {
    sources,
    tasks,
    dim,
  }: { readonly sources: readonly ClusteredSample[]; readonly tasks: readonly ClusteredSample[]; readonly dim: number },
  options: BalanceOptions = {},
  signal?: AbortSignal,
): Promise<SourceBalance> {
  const asked = tasks.filter(({ masses }) => masses.length > 0)
  let rowError = 0
  let iterations = 0
  const scores: (number | null)[][] = []
  const means: (number | null)[] = []
  for (const source of sources) {
    const row: number[] = []
    for (const task of source.masses.length === 0 ? [] : asked) {
      const plan = sinkhorn(cosines(source, task, dim), source.masses, task.masses, options)
      rowError = Math.max(rowError, plan.rowError)
      iterations = Math.max(iterations, plan.iterations)
      row.push(plan.score)
      await setImmediate()
      signal?.throwIfAborted()
    }
    scores.push(source.masses.length === 0 ? asked.map(() => null) : row)
    means.push(source.masses.length === 0 ? null : meanOf(row))
  }
  const weights = sourceWeights(means, options)
  return {
    sources: sources.map(({ name }) => name),
    tasks: asked.map(({ name }) => name),
    scores,
    means,
    weights,
    effectiveSources: effectiveSources(weights),
    rowError,
    iterations,
  }
}

/** Mean of a source's scores; 0, the same for all, when there is no task. */
function meanOf(scores: readonly number[]): number {
  return scores.reduce((sum, score) => sum + score, 0) / Math.max(1, scores.length)
}

/**
 * Sampling probabilities: w = softmax(means / temperature), then (1 - S floor) w + floor over the S sources that have a mean.
 * @param means - mean score per source; null: never drawn, weight 0
 * @throws SIDESTREAM_ITEMS_TOO_FEW when no source has a mean, SIDESTREAM_CONFIG_INVALID when S floors reach 1
 */
export function sourceWeights(means: readonly (number | null)[], options: WeightOptions = {}): number[] {
  const { temperature, floor } = { ...weightDefaults, ...options }
  const live = means.filter((mean) => mean !== null)
  if (live.length === 0) {
    throw new SidestreamError('SIDESTREAM_ITEMS_TOO_FEW', `none of ${means.length} training sources has vectors to balance`)
  }
  if (!(live.length * floor < 1) || !(floor >= 0) || !(temperature > 0)) {
    throw new SidestreamError(
      'SIDESTREAM_CONFIG_INVALID',
      `${live.length} sources with a floor of ${floor} each leave nothing to balance: floor x sources must stay below 1, temperature (${temperature}) above 0`,
    )
  }
  const largest = Math.max(...live)
  const exponentials = means.map((mean) => (mean === null ? 0 : Math.exp((mean - largest) / temperature)))
  const total = exponentials.reduce((sum, value) => sum + value, 0)
  return exponentials.map((value, s) => (means[s] === null ? 0 : ((1 - live.length * floor) * value) / total + floor))
}

/** 1 / sum of squared weights. */
export function effectiveSources(weights: readonly number[]): number {
  return 1 / weights.reduce((sum, weight) => sum + weight * weight, 0)
}

/** Cosines of two sets of centroids, row-major float64, shape [k, l]; 0 for a centroid of zeros. */
function cosines(source: ClusteredSample, task: ClusteredSample, dim: number): Float64Array {
  const [k, l] = [source.masses.length, task.masses.length]
  for (const { name, centroids, masses } of [source, task]) {
    if (centroids.length === masses.length * dim) continue
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `${name}: ${masses.length} clusters of ${dim} dims need ${masses.length * dim} numbers, got ${centroids.length}`,
    )
  }
  const out = new Float64Array(k * l)
  for (let i = 0; i < k; i++) {
    for (let j = 0; j < l; j++) {
      let [product, left, right] = [0, 0, 0]
      for (let d = 0; d < dim; d++) {
        const [x, y] = [source.centroids[i * dim + d]!, task.centroids[j * dim + d]!]
        product += x * y
        left += x * x
        right += y * y
      }
      out[i * l + j] = left > 0 && right > 0 ? product / Math.sqrt(left * right) : product
    }
  }
  return out
}
