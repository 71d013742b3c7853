/**
 * Lloyd's rounds for one level, plain or balanced.
 * Invariants: sums are float64, taken in row order; only rows whose code changed touch them. All that decides the result is
 * float64 in fixed order, so it is the same on every machine. A level that goes on from a `LevelState` ends with the same bytes.
 */

import { setImmediate } from 'node:timers/promises'
import { Clusters, squaredNormAt } from '../compute/index.ts'
import { BalancedPrices, squaredDistances, type BalanceOptions } from './balanced.ts'
import type { ResidualRule } from './residual-rule.ts'
import { rowsOfRound } from './round-rows.ts'
import { placeSpares, plusPlusSeeds } from './seeding.ts'

/** A level stops when a round lowers its distortion by less than this share. */
const leastGain = 1e-6
/** How often dead codes are revived after the last round. */
const lastRevivals = 5
/** Rows per code of a balanced batch at least: fewer say little of the shares that codes should have. */
const leastBatchRowsPerCode = 4

export interface LevelFit {
  /** Row-major float32, shape [size, dim]. */
  readonly codebook: Float32Array
  /** Frozen prices of a balanced level, see `BalancedPrices.penalties`. */
  readonly penalties: Float32Array | undefined
  /** Code of each row, shape [rows]. */
  readonly codes: Uint16Array
  readonly iterations: number
  /** Codes without rows. */
  readonly dead: number
}

/** A level after one of its rounds. */
export interface LevelState {
  /** Rounds done, plain and balanced ones. */
  readonly plainRounds: number
  readonly balancedRounds: number
  /** Whether the plain rounds are over. */
  readonly settled: boolean
  /** Sum of squared distances after the last plain round, of the rows that it looked at. */
  readonly left: number
  readonly centroids: Float32Array
  /** Shape [rows]; -1 for rows that no round has looked at. */
  readonly codes: Int32Array
  /** Float64, shape [size, dim]. */
  readonly sums: Float64Array
  /** Running log prices and their unit; empty for a level that is not balanced. */
  readonly prices: Float64Array
  readonly epsilon: number
}

/** Called after every round. `state` copies. */
export type OnRound = (round: number, distortion: number, state: () => LevelState) => void

export interface LevelFitOptions {
  readonly level: number
  readonly seed: number
  /** Rounds at most, balanced ones among them. */
  readonly iterations: number
  readonly balance: Required<BalanceOptions> | undefined
  /** Root mean square norm of the vectors before the first level. */
  readonly scale: number
  readonly rule: ResidualRule
  readonly resume: LevelState | undefined
  readonly onRound: OnRound | undefined
  readonly signal: AbortSignal | undefined
}

/**
 * Fits one level.
 * @param rows - what the levels before left, row-major float32, shape [n, dim], in hash order of the items
 */
export function fitLevel(rows: Float32Array, dim: number, size: number, options: LevelFitOptions): Promise<LevelFit> {
  return new LevelFitting(rows, dim, size, options).run()
}

class LevelFitting {
  readonly #rows: Float32Array
  readonly #options: LevelFitOptions
  readonly #clusters: Clusters
  readonly #prices: BalancedPrices | undefined
  /** Squared norms of the first `#counted` rows. */
  #energy = 0
  #counted = 0
  #plainRounds = 0
  #balancedRounds = 0
  #settled = false
  #left = Infinity

  constructor(rows: Float32Array, dim: number, size: number, options: LevelFitOptions) {
    const { balance, resume } = options
    this.#rows = rows
    this.#options = options
    this.#prices = balance && new BalancedPrices(size, balance)
    if (resume === undefined) {
      this.#clusters = startClusters(rows, dim, size, options)
      return
    }
    this.#clusters = restoredClusters(rows, dim, resume)
    this.#prices?.logPrices.set(resume.prices)
    if (this.#prices) this.#prices.epsilon = resume.epsilon
    this.#plainRounds = resume.plainRounds
    this.#balancedRounds = resume.balancedRounds
    this.#settled = resume.settled
    this.#left = resume.left
  }

  async run(): Promise<LevelFit> {
    const { iterations, balance, signal } = this.#options
    const balancedRounds = balance === undefined ? 0 : Math.min(balance.rounds, iterations)
    const plainRounds = iterations - balancedRounds
    while (!this.#settled && this.#plainRounds < plainRounds) {
      signal?.throwIfAborted()
      await this.#plainRound(plainRounds)
    }
    while (this.#balancedRounds < balancedRounds) {
      signal?.throwIfAborted()
      await this.#balancedRound()
    }
    const penalties = this.#prices && (await this.#freeze(this.#prices))
    if (penalties === undefined) await this.#finish()
    const { centroids, codes } = this.#clusters
    return {
      codebook: centroids,
      penalties,
      codes: new Uint16Array(codes),
      iterations: this.#plainRounds + this.#balancedRounds,
      dead: this.#clusters.dead().length,
    }
  }

  /** @param count - of the first rows */
  async #assign(penalties?: Float32Array, count = this.#clusters.codes.length): Promise<void> {
    const { centroids, dim } = this.#clusters
    const rows = this.#rows.subarray(0, count * dim)
    await this.#options.rule.codesOf(rows, { codebook: centroids, penalties }, (codes, from) => this.#clusters.assign(codes, from))
  }

  async #plainRound(rounds: number): Promise<void> {
    const { size, codes } = this.#clusters
    const count = rowsOfRound(this.#plainRounds, rounds, codes.length, size)
    const before = rowsOfRound(Math.max(0, this.#plainRounds - 1), rounds, codes.length, size)
    await this.#assign(undefined, count)
    this.#clusters.reviveDead(0)
    this.#clusters.moveCentroids()
    const left = unexplainedEnergy(this.#clusters, this.#energyOf(count))
    this.#settled = this.#plainRounds > 0 && before === codes.length && this.#left - left <= leastGain * this.#left
    this.#left = left
    this.#plainRounds++
    this.#tell(left, count)
  }

  /** Sum of the squared norms of the first `count` rows; `count` never falls. */
  #energyOf(count: number): number {
    const { dim } = this.#clusters
    for (; this.#counted < count; this.#counted++) this.#energy += squaredNormAt(this.#rows, this.#counted * dim, dim)
    return this.#energy
  }

  async #balancedRound(): Promise<void> {
    await this.#assignBalanced(this.#prices!)
    this.#clusters.moveCentroids()
    this.#balancedRounds++
    const count = this.#clusters.codes.length
    this.#tell(unexplainedEnergy(this.#clusters, this.#energyOf(count)), count)
  }

  /**
   * Balanced codes of all rows, a batch at a time; rows stand in hash order, so no batch is special.
   * @param anew - whether prices become the mean over these batches, as befits centroids that no longer move
   */
  async #assignBalanced(prices: BalancedPrices, anew = false): Promise<void> {
    const { dim, size, centroids, codes } = this.#clusters
    const batch = Math.max(this.#options.balance!.batch, leastBatchRowsPerCode * size)
    const next = codes.slice()
    const costs = new Float64Array(Math.min(batch, next.length) * size)
    for (let from = 0, done = 0; from < next.length; from += batch, done++) {
      const to = Math.min(from + batch, next.length)
      // Prices of a short last batch say little; it is taken together with rows before it.
      const start = Math.max(0, Math.min(from, to - batch))
      squaredDistances(this.#rows, dim, start, to, centroids, costs)
      prices.assign(costs, next.subarray(start, to), anew ? done / (done + 1) : undefined)
      await setImmediate()
    }
    this.#clusters.assign(next)
  }

  #tell(left: number, rows: number): void {
    this.#options.onRound?.(this.#plainRounds + this.#balancedRounds, left / rows, () => this.#state())
  }

  #state(): LevelState {
    const { centroids, codes, sums } = this.#clusters
    return {
      plainRounds: this.#plainRounds,
      balancedRounds: this.#balancedRounds,
      settled: this.#settled,
      left: this.#left,
      centroids: centroids.slice(),
      codes: codes.slice(),
      sums: sums.slice(),
      prices: this.#prices?.logPrices.slice() ?? new Float64Array(0),
      epsilon: this.#prices?.epsilon ?? 0,
    }
  }

  /** Last codes of a level without prices, with all dead codes revived or set aside. */
  async #finish(): Promise<void> {
    const { scale, seed, level } = this.#options
    const clusters = this.#clusters
    await this.#assign()
    for (let revival = 0; revival < lastRevivals && clusters.counts.includes(0); revival++) {
      if (clusters.reviveDead(0).length === 0) break
      clusters.moveCentroids()
      await this.#assign()
    }
    const spare = clusters.dead()
    if (spare.length === 0) return
    placeSpares(clusters.centroids, clusters.dim, clusters.alive(), spare, scale, seed, level)
    await this.#assign()
  }

  /** Freezes the prices; undefined where there are fewer distinct rows than codes, which nothing can balance. */
  async #freeze(prices: BalancedPrices): Promise<Float32Array | undefined> {
    const clusters = this.#clusters
    // The centroids have moved since the prices did.
    await this.#assignBalanced(prices, true)
    const penalties = prices.penalties()
    await this.#assign(penalties)
    for (let revival = 0; clusters.counts.includes(0); revival++) {
      const revived = revival < lastRevivals ? clusters.reviveDead(0) : []
      if (revived.length === 0) return undefined
      for (const code of revived) penalties[code] = 0
      clusters.moveCentroids()
      await this.#assign(penalties)
    }
    return penalties
  }
}

function startClusters(rows: Float32Array, dim: number, size: number, { level, seed, scale }: LevelFitOptions): Clusters {
  const codebook = new Float32Array(size * dim)
  const seeds = plusPlusSeeds(rows, dim, size, seed, level)
  codebook.set(seeds)
  const seeded = seeds.length / dim
  const codes = Array.from({ length: size }, (_, code) => code)
  placeSpares(codebook, dim, codes.slice(0, seeded), codes.slice(seeded), scale, seed, level)
  return new Clusters(rows, dim, codebook)
}

function restoredClusters(rows: Float32Array, dim: number, { centroids, codes, sums }: LevelState): Clusters {
  const clusters = new Clusters(rows, dim, centroids.slice())
  clusters.codes.set(codes)
  clusters.sums.set(sums)
  for (const code of codes) if (code >= 0) clusters.counts[code]!++
  clusters.masses.set(clusters.counts)
  return clusters
}

/** Sum of squared distances to the means, from the sums alone. */
function unexplainedEnergy({ dim, size, counts, sums }: Clusters, energy: number): number {
  let explained = 0
  for (let code = 0; code < size; code++) {
    const count = counts[code]!
    if (count === 0) continue
    let squared = 0
    for (let at = code * dim; at < (code + 1) * dim; at++) squared += sums[at]! * sums[at]!
    explained += squared / count
  }
  return Math.max(0, energy - explained)
}
