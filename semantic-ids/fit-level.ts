/**
 * Lloyd's rounds for one level.
 * Invariant: sums are float64, taken in row order; only rows whose code changed touch them. All that decides the result is
 * float64 in fixed order, so it is the same on every machine.
 */

import { Clusters } from '../compute/index.ts'
import { codebooksOf } from './codebooks.ts'
import type { CodebookWalk } from './codebook-walk.ts'
import { placeSpares, plusPlusSeeds } from './seeding.ts'

/** A level stops when a round lowers its distortion by less than this share. */
const leastGain = 1e-6
/** How often dead codes are revived after the last round. */
const lastRevivals = 5
/** Squared distance, as a share of the squared scale, at which a row counts as standing on its codeword. */
const standsOn = 1e-12
const settings = { normalize: false, recheckTolerance: 1e-5 } as const

export interface LevelFit {
  /** Row-major float32, shape [size, dim]. */
  readonly codebook: Float32Array
  /** Code of each row, shape [rows]. */
  readonly codes: Uint16Array
  readonly iterations: number
  /** Codes without rows. */
  readonly dead: number
}

export interface LevelFitOptions {
  readonly level: number
  readonly seed: number
  readonly iterations: number
  /** Root mean square norm of the vectors before the first level. */
  readonly scale: number
  readonly walk: CodebookWalk
  readonly signal: AbortSignal | undefined
}

/**
 * Fits one level.
 * @param rows - what the levels before left, row-major float32, shape [n, dim], in hash order of the items
 */
export async function fitLevel(rows: Float32Array, dim: number, size: number, options: LevelFitOptions): Promise<LevelFit> {
  const { level, seed, iterations, scale, walk, signal } = options
  const clusters = startClusters(rows, dim, size, options)
  const energy = squareSum(rows)
  const assign = async (): Promise<void> => {
    clusters.assign(await walk.run(rows, codebooksOf(dim, [clusters.centroids]), settings))
  }
  let round = 0
  for (let before = Infinity; round < iterations; round++) {
    signal?.throwIfAborted()
    await assign()
    clusters.reviveDead(standsOn * scale * scale)
    clusters.moveCentroids()
    const left = unexplainedEnergy(clusters, energy)
    if (round > 0 && before - left <= leastGain * before) break
    before = left
  }
  await assign()
  for (let revival = 0; revival < lastRevivals && clusters.counts.includes(0); revival++) {
    if (clusters.reviveDead(standsOn * scale * scale).length === 0) break
    clusters.moveCentroids()
    await assign()
  }
  const spare = clusters.dead()
  if (spare.length > 0) {
    placeSpares(clusters.centroids, dim, clusters.alive(), spare, scale, seed, level)
    await assign()
  }
  return {
    codebook: clusters.centroids,
    codes: new Uint16Array(clusters.codes),
    iterations: Math.min(round + 1, iterations),
    dead: clusters.dead().length,
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

/** Sum of all squared norms. */
function squareSum(rows: Float32Array): number {
  let energy = 0
  for (let at = 0; at < rows.length; at++) energy += rows[at]! * rows[at]!
  return energy
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
