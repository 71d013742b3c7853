/**
 * k-means by Lloyd's rounds from k-means++ starts, over rows in memory and over a stream.
 * Invariant: the same rows in the same order and the same seed give the same centroids on every machine.
 */

import { SidestreamError } from '../../schemas/index.ts'
import { assignNearest, Clusters } from './clusters.ts'
import { plusPlusRows } from './plus-plus.ts'
import { uniform } from './random.ts'
import { normalizeRows } from './rows.ts'

/** `cosine`: rows and centroids are brought to unit length; rows of zeros take no part. */
export type KMeansMetric = 'euclidean' | 'cosine'

export interface KMeansOptions {
  /** Clusters wanted, k; fewer come back when there are fewer distinct rows. */
  readonly size: number
  readonly seed: number
  /** Rounds at most; it ends earlier when no row changes cluster. Higher: slower, slightly tighter clusters. @default 20 */
  readonly iterations?: number
  /** @default 'euclidean' */
  readonly metric?: KMeansMetric
  /** How often each row counts, above 0, shape [n]; all 1 when left out. */
  readonly weights?: ArrayLike<number>
}

export interface KMeansResult {
  /** Row-major float32, shape [k, dim]; every one has rows. */
  readonly centroids: Float32Array
  /** Weight of the rows of each cluster, shape [k]. */
  readonly masses: Float64Array
  /** Nearest centroid of each row, ties by lower number, -1 for a row that takes no part; shape [n]. */
  readonly codes: Int32Array
  /** Weighted mean of squared distances to the centroids. */
  readonly distortion: number
  readonly iterations: number
}

const drawStream = 0x6b2b2b
/** Squared distance, as a share of the mean squared norm, up to which a row counts as standing on its centroid. */
const standsOn = 1e-12

/**
 * Clusters `rows`.
 * @param rows - row-major float32, shape [n, dim]; not changed
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes do not fit, a weight is not above 0 or a number is not finite
 */
export function kMeans(rows: Float32Array, dim: number, options: KMeansOptions): KMeansResult {
  const fit = new KMeans(rows, dim, options)
  while (fit.round());
  return fit.result()
}

/** k-means one round at a time, so that a caller may do other things between two. */
export class KMeans {
  readonly #clusters: Clusters
  /** Row of the input behind each row that takes part. */
  readonly #places: Int32Array
  readonly #n: number
  readonly #codes: Int32Array
  readonly #iterations: number
  readonly #unit: boolean
  readonly #weights: ArrayLike<number> | undefined
  /** Squared distance up to which a row counts as standing on its centroid. */
  readonly #least: number
  #round = 0

  /** Draws the starts; arguments and errors as for `kMeans`. */
  constructor(rows: Float32Array, dim: number, { size, seed, iterations = 20, metric = 'euclidean', weights }: KMeansOptions) {
    this.#n = rows.length / dim
    requireRows(rows, dim, weights)
    this.#iterations = iterations
    this.#unit = metric === 'cosine'
    const { x, places } = this.#unit ? unitRowsOf(rows, dim) : { x: rows, places: Int32Array.from({ length: this.#n }, (_, row) => row) }
    this.#places = places
    this.#weights = weights === undefined ? undefined : Float64Array.from(places, (place) => weights[place]!)
    const distances = new Float64Array(places.length).fill(Infinity)
    const starts = plusPlusRows(x, dim, size, distances, (draw) => uniform(seed, drawStream, draw), this.#weights)
    const centroids = new Float32Array(starts.length * dim)
    starts.forEach((row, code) => centroids.set(x.subarray(row * dim, (row + 1) * dim), code * dim))
    this.#clusters = new Clusters(x, dim, centroids, this.#weights)
    this.#codes = new Int32Array(places.length).fill(-1)
    let squares = 0
    for (let at = 0; at < x.length; at++) squares += x[at]! * x[at]!
    this.#least = (standsOn * squares) / Math.max(1, places.length)
  }

  /** One round; false when nothing is left to do. */
  round(): boolean {
    const clusters = this.#clusters
    if (this.#round >= this.#iterations || clusters.size === 0) return false
    this.#assign(this.#codes)
    const moved = clusters.assign(this.#codes)
    const revived = clusters.reviveDead(this.#least).length
    if (moved === 0 && revived === 0) return false
    this.#codes.set(clusters.codes)
    if (this.#unit) moveDirections(clusters)
    else clusters.moveCentroids()
    this.#round++
    return true
  }

  #assign(codes: Int32Array, distances?: Float64Array): void {
    assignNearest(this.#clusters.rows, this.#clusters.dim, this.#clusters.centroids, codes, distances)
  }

  /** Centroids as they stand, without those that no row is nearest to. */
  result(): KMeansResult {
    const { dim, size, centroids } = this.#clusters
    const codes = this.#codes.slice()
    const distances = new Float64Array(codes.length)
    if (size > 0) this.#assign(codes, distances)
    const masses = new Float64Array(size)
    let [total, distortion] = [0, 0]
    codes.forEach((code, row) => {
      const weight = this.#weights === undefined ? 1 : this.#weights[row]!
      masses[code]! += weight
      total += weight
      distortion += weight * distances[row]!
    })
    const kept: number[] = []
    const numbers = Int32Array.from(masses, (mass, code) => (mass > 0 ? kept.push(code) - 1 : -1))
    const all = new Int32Array(this.#n).fill(-1)
    codes.forEach((code, row) => (all[this.#places[row]!] = numbers[code]!))
    return {
      centroids: pickRows(centroids, dim, kept),
      masses: Float64Array.from(kept, (code) => masses[code]!),
      codes: all,
      distortion: total > 0 ? distortion / total : 0,
      iterations: this.#round,
    }
  }
}

/** Moves centroids to the directions of their means; one whose rows cancel out stays. */
function moveDirections(clusters: Clusters): void {
  const { centroids, dim, size } = clusters
  const before = centroids.slice()
  clusters.moveCentroids()
  for (let code = 0; code < size; code++) {
    const centroid = centroids.subarray(code * dim, (code + 1) * dim)
    if (normalizeRows(centroid, dim) > 0) centroid.set(before.subarray(code * dim, (code + 1) * dim))
  }
}

function requireRows(rows: Float32Array, dim: number, weights: ArrayLike<number> | undefined): void {
  const n = rows.length / dim
  if (!Number.isInteger(n) || (weights !== undefined && weights.length !== n)) {
    throw new SidestreamError(
      'SIDESTREAM_SHAPE_MISMATCH',
      `k-means needs whole rows of ${dim} dims and one weight each; got ${rows.length} numbers and ${weights?.length ?? 'no'} weights`,
    )
  }
  for (let at = 0; at < rows.length; at++) {
    if (!Number.isFinite(rows[at]!)) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `row ${Math.floor(at / dim)} is not finite`)
  }
  for (let row = 0; row < (weights?.length ?? 0); row++) {
    if (!(weights![row]! > 0 && weights![row]! < Infinity)) {
      throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `weight ${row} is ${weights![row]}; leave rows without weight out`)
    }
  }
}

/** Rows that have a direction, at unit length, and where they stood. */
function unitRowsOf(rows: Float32Array, dim: number): { x: Float32Array; places: Int32Array } {
  const units = rows.slice()
  normalizeRows(units, dim)
  const places: number[] = []
  for (let row = 0; row < units.length / dim; row++) {
    if (units.subarray(row * dim, (row + 1) * dim).some((value) => value !== 0)) places.push(row)
  }
  return { x: places.length === rows.length / dim ? units : pickRows(units, dim, places), places: Int32Array.from(places) }
}

function pickRows(x: Float32Array, dim: number, rows: readonly number[]): Float32Array {
  const out = new Float32Array(rows.length * dim)
  rows.forEach((row, place) => out.set(x.subarray(row * dim, (row + 1) * dim), place * dim))
  return out
}
