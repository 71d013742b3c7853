/**
 * k-means over rows that come once and are not kept: a weighted summary of all rows so far is clustered together with each batch of
 * new ones, after Guha and others, "Clustering data streams". Groups that come one after the other are found as well as mixed ones.
 * Invariants: memory is a multiple of size x dim, however long the stream; the result depends on the order of the rows and the seed, not
 * on how the stream was cut into calls.
 */

import { SidestreamError } from '../../schemas/index.ts'
import { kMeans, type KMeansMetric } from './k-means.ts'
import { normalizeRows } from './rows.ts'

export interface StreamingKMeansOptions {
  /** Clusters at most, k. */
  readonly size: number
  readonly seed: number
  /** @default 'euclidean' */
  readonly metric?: KMeansMetric
  /** Rows in memory, more than `summary`. Higher: nearer to k-means over all rows, more memory. @default 16 x size */
  readonly batch?: number
  /** Weighted rows that stand for all before the batch. Higher: nearer to k-means over all rows, slower. @default 2 x size */
  readonly summary?: number
}

export interface StreamedClusters {
  /** Row-major float32, shape [k, dim]. */
  readonly centroids: Float32Array
  /** Rows of each cluster, shape [k], above 0; they add up to `rows`. */
  readonly masses: Float64Array
  /** Rows taken in. */
  readonly rows: number
  /** Rows of zeros, which have no cosine. */
  readonly dropped: number
}

/** Rounds for a summary, which later rounds refine, and for the result. */
const summaryIterations = 3
const iterations = 20

export class StreamingKMeans {
  readonly #dim: number
  readonly #options: Required<StreamingKMeansOptions>
  /** The summary, then new rows. */
  readonly #rows: Float32Array
  readonly #weights: Float64Array
  #filled = 0
  #taken = 0
  #dropped = 0

  constructor(
    dim: number,
    { size, seed, metric = 'euclidean', batch = 16 * size, summary = Math.min(2 * size, batch - 1) }: StreamingKMeansOptions,
  ) {
    if (summary >= batch)
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `a batch of ${batch} rows has no room beside a summary of ${summary}`)
    this.#dim = dim
    this.#options = { size, seed, metric, batch, summary }
    this.#rows = new Float32Array(batch * dim)
    this.#weights = new Float64Array(batch)
  }

  /**
   * Takes rows in.
   * @param rows - row-major float32, shape [n, dim]; not kept
   * @throws SIDESTREAM_SHAPE_MISMATCH when a row is cut or a number is not finite; nothing is taken in then
   */
  add(rows: Float32Array): void {
    const dim = this.#dim
    if (rows.length % dim !== 0 || !rows.every(Number.isFinite)) {
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `k-means needs whole, finite rows of ${dim} dims; got ${rows.length} numbers`)
    }
    for (let at = 0; at < rows.length; at += dim) {
      if (this.#filled === this.#options.batch) this.#summarize()
      const place = this.#rows.subarray(this.#filled * dim, (this.#filled + 1) * dim)
      place.set(rows.subarray(at, at + dim))
      if (this.#options.metric === 'cosine' && normalizeRows(place, dim) > 0) {
        this.#dropped++
        continue
      }
      this.#weights[this.#filled++] = 1
      this.#taken++
    }
  }

  #summarize(): void {
    const { centroids, masses } = this.#cluster(this.#options.summary, summaryIterations)
    this.#rows.set(centroids)
    this.#weights.set(masses)
    this.#filled = masses.length
  }

  #cluster(size: number, rounds: number): { readonly centroids: Float32Array; readonly masses: Float64Array } {
    const { seed, metric } = this.#options
    const weights = this.#weights.subarray(0, this.#filled)
    return kMeans(this.#rows.subarray(0, this.#filled * this.#dim), this.#dim, { size, seed, metric, iterations: rounds, weights })
  }

  /** Clusters of all rows so far; more may be added afterwards. Without `batch` rows: what `kMeans` gives. */
  result(): StreamedClusters {
    const { centroids, masses } = this.#cluster(this.#options.size, iterations)
    return { centroids, masses, rows: this.#taken, dropped: this.#dropped }
  }
}
