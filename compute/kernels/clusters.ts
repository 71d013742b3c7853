/**
 * Rows grouped around centroids: what every form of k-means here stands on.
 * Invariant: sums are float64, taken in row order, and only rows whose cluster changed touch them; all that decides a result runs
 * in a fixed order, so it is the same on every machine.
 */

import { addScaled } from './rows.ts'

/** Rows, their clusters and the clusters' sums while centroids are fitted. */
export class Clusters {
  readonly rows: Float32Array
  readonly dim: number
  readonly size: number
  /** Row-major float32, shape [size, dim]. */
  readonly centroids: Float32Array
  /** Cluster under which each row stands in `sums`; -1 before an `assign` of it. Shape [n]. */
  readonly codes: Int32Array
  /** Rows per cluster, shape [size]. */
  readonly counts: Int32Array
  /** Weight per cluster, shape [size]; the count without weights. */
  readonly masses: Float64Array
  /** Weighted sum of the rows of each cluster, row-major float64, shape [size, dim]. */
  readonly sums: Float64Array
  readonly #weights: ArrayLike<number> | undefined

  /**
   * @param rows - row-major float32, shape [n, dim]
   * @param centroids - first ones, row-major float32, shape [size, dim]; moved in place
   * @param weights - above 0, shape [n]; all 1 when left out
   */
  constructor(rows: Float32Array, dim: number, centroids: Float32Array, weights?: ArrayLike<number>) {
    this.rows = rows
    this.dim = dim
    this.size = centroids.length / dim
    this.centroids = centroids
    this.codes = new Int32Array(rows.length / dim).fill(-1)
    this.counts = new Int32Array(this.size)
    this.masses = new Float64Array(this.size)
    this.sums = new Float64Array(this.size * dim)
    this.#weights = weights
  }

  /**
   * Takes over new codes.
   * @param codes - of the rows from row `from` on
   * @returns how many rows changed cluster
   */
  assign(codes: Uint16Array | Int32Array, from = 0): number {
    let moved = 0
    for (let at = 0; at < codes.length; at++) {
      if (codes[at] === this.codes[from + at]) continue
      this.#move(from + at, codes[at]!)
      moved++
    }
    return moved
  }

  #move(row: number, to: number): void {
    const { rows, dim, codes, counts, masses, sums } = this
    const weight = this.#weights === undefined ? 1 : this.#weights[row]!
    const from = codes[row]!
    const at = row * dim
    if (from >= 0) {
      counts[from]!--
      masses[from]! -= weight
      addScaled(sums, from * dim, rows, at, dim, -weight)
    }
    counts[to]!++
    masses[to]! += weight
    addScaled(sums, to * dim, rows, at, dim, weight)
    codes[row] = to
  }

  /** Every centroid with rows becomes their mean; the others stay. */
  moveCentroids(): void {
    const { dim, size, centroids, counts, masses, sums } = this
    for (let code = 0; code < size; code++) {
      if (counts[code] === 0) continue
      const mass = masses[code]!
      for (let at = code * dim; at < (code + 1) * dim; at++) centroids[at] = sums[at]! / mass
    }
  }

  /** Clusters without rows, ascending. */
  dead(): number[] {
    return this.#codesWith((count) => count === 0)
  }

  /** Clusters with rows, ascending. */
  alive(): number[] {
    return this.#codesWith((count) => count > 0)
  }

  #codesWith(wanted: (count: number) => boolean): number[] {
    const codes: number[] = []
    for (let code = 0; code < this.size; code++) if (wanted(this.counts[code]!)) codes.push(code)
    return codes
  }

  /**
   * Each cluster without rows takes the row farthest from the centroid of the cluster with most rows at that moment (ties: lower row,
   * lower cluster). Clusters whose rows all stand on their centroid give none.
   * @param standsOn - squared distance up to which a row counts as standing on its centroid
   * @returns the clusters that got a row
   */
  reviveDead(standsOn: number): number[] {
    const { counts, size } = this
    const dead = this.dead()
    if (dead.length === 0) return []
    const members = this.#rowsByCode()
    const given = new Uint8Array(size)
    const revived: number[] = []
    for (const code of dead) {
      for (;;) {
        let largest = -1
        for (let other = 0; other < size; other++) {
          if (given[other] === 0 && counts[other]! > 1 && (largest < 0 || counts[other]! > counts[largest]!)) largest = other
        }
        if (largest < 0) return revived
        const row = this.#farthestRow(members.order.subarray(members.starts[largest]!, members.starts[largest + 1]!), largest, standsOn)
        if (row < 0) {
          given[largest] = 1
          continue
        }
        this.#move(row, code)
        revived.push(code)
        break
      }
    }
    return revived
  }

  /** Rows sorted by cluster: those of cluster c are `order[starts[c]] … order[starts[c + 1] - 1]`. */
  #rowsByCode(): { order: Int32Array; starts: Int32Array } {
    const starts = new Int32Array(this.size + 1)
    for (let code = 0; code < this.size; code++) starts[code + 1] = starts[code]! + this.counts[code]!
    const next = starts.slice()
    const order = new Int32Array(this.codes.length)
    for (let row = 0; row < this.codes.length; row++) if (this.codes[row]! >= 0) order[next[this.codes[row]!]!++] = row
    return { order, starts }
  }

  /** Farthest of `members` still in the cluster, -1 when none is farther than `least`. */
  #farthestRow(members: Int32Array, code: number, least: number): number {
    let farthest = -1
    let most = least
    for (const row of members) {
      if (this.codes[row] !== code) continue
      const distance = squaredDistance(this.rows, row, this.centroids, code, this.dim)
      if (distance > most) {
        most = distance
        farthest = row
      }
    }
    return farthest
  }
}

/** Squared Euclidean distance of row `a` of `x` and row `b` of `y`, summed in index order. */
export function squaredDistance(x: Float32Array, a: number, y: Float32Array, b: number, dim: number): number {
  let sum = 0
  for (let j = 0; j < dim; j++) {
    const difference = x[a * dim + j]! - y[b * dim + j]!
    sum += difference * difference
  }
  return sum
}

/** Dims added up before four distances are given up that are too large already. */
const stretch = 32

/**
 * Nearest centroid of every row by Euclidean distance, equal ones by lower number. Exact: distances are given up only once their partial
 * sums are larger than the best. Four at a time, since one sum would wait for itself.
 * @param codes - in: where to look first (-1: anywhere), e.g. the codes of the round before; out: the nearest; shape [n]
 * @param distances - squared, written when given, shape [n]
 */
export function assignNearest(rows: Float32Array, dim: number, centroids: Float32Array, codes: Int32Array, distances?: Float64Array): void {
  const last = centroids.length / dim - 1
  const x = new Float64Array(dim)
  for (let row = 0; row < codes.length; row++) {
    for (let j = 0, at = row * dim; j < dim; j++, at++) x[j] = rows[at]!
    let code = Math.max(0, codes[row]!)
    let best = squaredDistance(rows, row, centroids, code, dim)
    for (let first = 0; first <= last; first += 4) {
      let at0 = first * dim
      let at1 = Math.min(first + 1, last) * dim
      let at2 = Math.min(first + 2, last) * dim
      let at3 = Math.min(first + 3, last) * dim
      let [sum0, sum1, sum2, sum3] = [0, 0, 0, 0]
      for (let j = 0; j < dim && (sum0 <= best || sum1 <= best || sum2 <= best || sum3 <= best);) {
        for (const end = Math.min(dim, j + stretch); j < end; j++) {
          const value = x[j]!
          const d0 = value - centroids[at0++]!
          const d1 = value - centroids[at1++]!
          const d2 = value - centroids[at2++]!
          const d3 = value - centroids[at3++]!
          sum0 += d0 * d0
          sum1 += d1 * d1
          sum2 += d2 * d2
          sum3 += d3 * d3
        }
      }
      const nearest = Math.min(sum0, sum1, sum2, sum3)
      if (nearest > best) continue
      const found = first + (sum0 === nearest ? 0 : sum1 === nearest ? 1 : sum2 === nearest ? 2 : 3)
      if (nearest < best || found < code) code = found
      best = nearest
    }
    codes[row] = code
    if (distances) distances[row] = best
  }
}
