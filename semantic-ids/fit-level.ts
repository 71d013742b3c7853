/**
 * Lloyd's rounds for one level.
 * Invariant: sums are float64, taken in row order; only rows whose code changed touch them. All that decides the result is
 * float64 in fixed order, so it is the same on every machine.
 */

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

/** Clusters while they are fitted. */
interface Clusters {
  readonly rows: Float32Array
  readonly dim: number
  readonly size: number
  readonly codebook: Float32Array
  /** Code each row's share of `sums` stands under; -1 before the first round. */
  readonly codes: Int32Array
  readonly counts: Int32Array
  readonly sums: Float64Array
  /** Sum of all squared norms. */
  readonly energy: number
}

/**
 * Fits one level.
 * @param rows - what the levels before left, row-major float32, shape [n, dim], in hash order of the items
 */
export async function fitLevel(rows: Float32Array, dim: number, size: number, options: LevelFitOptions): Promise<LevelFit> {
  const { level, seed, iterations, scale, walk, signal } = options
  const clusters = startClusters(rows, dim, size, options)
  const assign = async (): Promise<void> => moveRows(clusters, await walk.run(rows, codebooksOf(dim, [clusters.codebook]), settings))
  let round = 0
  for (let before = Infinity; round < iterations; round++) {
    signal?.throwIfAborted()
    await assign()
    reviveDead(clusters, scale)
    moveCodewords(clusters)
    const left = unexplainedEnergy(clusters)
    if (round > 0 && before - left <= leastGain * before) break
    before = left
  }
  await assign()
  for (let revival = 0; revival < lastRevivals && clusters.counts.includes(0); revival++) {
    if (reviveDead(clusters, scale).length === 0) break
    moveCodewords(clusters)
    await assign()
  }
  const spare = codesWith(clusters.counts, (count) => count === 0)
  if (spare.length > 0) {
    placeSpares(
      clusters.codebook,
      dim,
      codesWith(clusters.counts, (count) => count > 0),
      spare,
      scale,
      seed,
      level,
    )
    await assign()
  }
  return {
    codebook: clusters.codebook,
    codes: new Uint16Array(clusters.codes),
    iterations: Math.min(round + 1, iterations),
    dead: codesWith(clusters.counts, (count) => count === 0).length,
  }
}

function startClusters(rows: Float32Array, dim: number, size: number, { level, seed, scale }: LevelFitOptions): Clusters {
  const codebook = new Float32Array(size * dim)
  const seeds = plusPlusSeeds(rows, dim, size, seed, level)
  codebook.set(seeds)
  const seeded = seeds.length / dim
  const codes = Array.from({ length: size }, (_, code) => code)
  placeSpares(codebook, dim, codes.slice(0, seeded), codes.slice(seeded), scale, seed, level)
  let energy = 0
  for (let at = 0; at < rows.length; at++) energy += rows[at]! * rows[at]!
  return {
    rows,
    dim,
    size,
    codebook,
    codes: new Int32Array(rows.length / dim).fill(-1),
    counts: new Int32Array(size),
    sums: new Float64Array(size * dim),
    energy,
  }
}

function codesWith(counts: Int32Array, wanted: (count: number) => boolean): number[] {
  const codes: number[] = []
  for (let code = 0; code < counts.length; code++) if (wanted(counts[code]!)) codes.push(code)
  return codes
}

function moveRows(clusters: Clusters, codes: Uint16Array): void {
  for (let row = 0; row < codes.length; row++) if (codes[row] !== clusters.codes[row]) moveRow(clusters, row, codes[row]!)
}

function moveRow({ rows, dim, codes, counts, sums }: Clusters, row: number, to: number): void {
  const from = codes[row]!
  const at = row * dim
  if (from >= 0) {
    counts[from] = counts[from]! - 1
    for (let j = 0; j < dim; j++) sums[from * dim + j] = sums[from * dim + j]! - rows[at + j]!
  }
  counts[to] = counts[to]! + 1
  for (let j = 0; j < dim; j++) sums[to * dim + j] = sums[to * dim + j]! + rows[at + j]!
  codes[row] = to
}

/** Every codeword with rows becomes their mean. */
function moveCodewords({ dim, size, codebook, counts, sums }: Clusters): void {
  for (let code = 0; code < size; code++) {
    const count = counts[code]!
    if (count === 0) continue
    for (let at = code * dim; at < (code + 1) * dim; at++) codebook[at] = sums[at]! / count
  }
}

/** Sum of squared distances to the means, from the sums alone. */
function unexplainedEnergy({ dim, size, counts, sums, energy }: Clusters): number {
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

/**
 * Each code without rows takes the row farthest from the codeword of the currently largest cluster (ties: lower row, lower code).
 * Clusters whose rows all stand on their codeword give none.
 * @returns the codes that got a row
 */
function reviveDead(clusters: Clusters, scale: number): number[] {
  const { codes, counts, size } = clusters
  const dead = codesWith(counts, (count) => count === 0)
  if (dead.length === 0) return []
  const members = rowsByCode(codes, counts, size)
  const given = new Uint8Array(size)
  const revived: number[] = []
  for (const code of dead) {
    for (;;) {
      let largest = -1
      for (let other = 0; other < size; other++) {
        if (given[other] === 0 && counts[other]! > 1 && (largest < 0 || counts[other]! > counts[largest]!)) largest = other
      }
      if (largest < 0) return revived
      const row = farthestRow(
        clusters,
        members.order,
        members.starts[largest]!,
        members.starts[largest + 1]!,
        largest,
        standsOn * scale * scale,
      )
      if (row < 0) {
        given[largest] = 1
        continue
      }
      moveRow(clusters, row, code)
      revived.push(code)
      break
    }
  }
  return revived
}

/** Rows sorted by code: those of code c are `order[starts[c]] … order[starts[c + 1] - 1]`. */
function rowsByCode(codes: Int32Array, counts: Int32Array, size: number): { order: Int32Array; starts: Int32Array } {
  const starts = new Int32Array(size + 1)
  for (let code = 0; code < size; code++) starts[code + 1] = starts[code]! + counts[code]!
  const next = starts.slice()
  const order = new Int32Array(codes.length)
  for (let row = 0; row < codes.length; row++) {
    const code = codes[row]!
    order[next[code]!] = row
    next[code] = next[code]! + 1
  }
  return { order, starts }
}

/** Farthest row still in the cluster, -1 when none is farther than `least`. */
function farthestRow(
  { rows, dim, codebook, codes }: Clusters,
  order: Int32Array,
  from: number,
  to: number,
  code: number,
  least: number,
): number {
  let farthest = -1
  let most = least
  for (let i = from; i < to; i++) {
    const row = order[i]!
    if (codes[row] !== code) continue
    let sum = 0
    for (let j = 0; j < dim; j++) {
      const difference = rows[row * dim + j]! - codebook[code * dim + j]!
      sum += difference * difference
    }
    if (sum > most) {
      most = sum
      farthest = row
    }
  }
  return farthest
}
