/**
 * First codewords of a level: k-means++ over a hash-ordered part of the rows.
 * Invariant: same rows in the same order and same seed give the same codewords on every machine.
 */

import { fillNormal, plusPlusRows, squaredNormAt, uniform, uniformInt } from '../compute/index.ts'

/** Rows whose squared norm is below this share of the mean are no seeds: a seed near zero attracts most rows for good. */
const leastSeedShare = 0.05
/**
 * Share of its way from the mean that a seed keeps. A row carries its own noise: as a codeword it is far from all others, and in many
 * dims most rows crowd at the shortest seeds. Half the way, first clusters go by direction (FVU .595 to .564 on 65,536 x 256, 4 x 256).
 */
const seedReach = 0.5
/** k-means++ looks at this many rows per code, but then at no more than `mostSeedRows`, at four per code and at `leastSeedRows`. */
const seedRowsPerCode = 8
const leastSeedRowsPerCode = 4
const leastSeedRows = 2048
const mostSeedRows = 4096
/**
 * Rows of more dims are compared by a sparse random sketch of this many: a draw needs squared distances as weights only, and those are a
 * quarter off at most of the time, at a fraction of the cost (Johnson and Lindenstrauss; sparse as by Kane and Nelson).
 */
const sketchDims = 32
const sketchBlocks = 4
/** Length of the step that sets a spare codeword apart, as a share of the vectors' root mean square norm. */
const spareStep = 1 / 64
/** Random streams of a level: draws of seeds, steps of spare codewords; directions of sketches, the same at all levels. */
export const seedStreams = { draw: 0x5eed, spare: 0x5ba2e, sketch: 0x5ce7c } as const

/**
 * k-means++: the first seed uniformly, each next one with probability proportional to its squared distance to those before; then all
 * are drawn half the way to the mean of the rows looked at.
 * @param rows - row-major float32, shape [n, dim], in random (hash) order
 * @returns seeds, row-major float32, shape [count, dim]; fewer than `size` when no distinct rows are left
 */
export function plusPlusSeeds(rows: Float32Array, dim: number, size: number, seed: number, level: number): Float32Array {
  const wanted = Math.max(leastSeedRows, Math.min(mostSeedRows, size * seedRowsPerCode), size * leastSeedRowsPerCode)
  const count = Math.min(rows.length / dim, wanted)
  const distances = seedWeights(rows, dim, count)
  const mean = meanOf(rows, dim, count)
  const sketched = sketchOf(rows, dim, count, mean, seed)
  const chosen = plusPlusRows(sketched.rows, sketched.dim, size, distances, (draw) =>
    uniform(seed, seedStreams.draw + level * 0x1_0000, draw),
  )
  const seeds = new Float32Array(chosen.length * dim)
  for (const [index, row] of chosen.entries())
    for (let j = 0; j < dim; j++) seeds[index * dim + j] = mean[j]! + seedReach * (rows[row * dim + j]! - mean[j]!)
  return seeds
}

/**
 * Rows less their mean in fewer dims, scaled so that squared distances are kept on average; equal rows stay equal. Every dim is added to
 * one cell of each block, under a sign of its own.
 */
function sketchOf(rows: Float32Array, dim: number, count: number, mean: Float64Array, seed: number): { rows: Float32Array; dim: number } {
  if (dim <= sketchDims) return { rows, dim }
  const cells = sketchDims / sketchBlocks
  const places = new Uint8Array(dim * sketchBlocks)
  const signs = new Float64Array(dim * sketchBlocks)
  for (let at = 0; at < places.length; at++) {
    const draw = uniformInt(seed, seedStreams.sketch, at, 2 * cells)
    places[at] = (at % sketchBlocks) * cells + (draw >> 1)
    signs[at] = (draw % 2 === 0 ? 1 : -1) / Math.sqrt(sketchBlocks)
  }
  const out = new Float32Array(count * sketchDims)
  const sums = new Float64Array(sketchDims)
  for (let row = 0; row < count; row++) {
    sums.fill(0)
    sketchRow(sums, rows, row * dim, mean, places, signs)
    out.set(sums, row * sketchDims)
  }
  return { rows: out, dim: sketchDims }
}

function sketchRow(
  sums: Float64Array,
  rows: Float32Array,
  from: number,
  mean: Float64Array,
  places: Uint8Array,
  signs: Float64Array,
): void {
  for (let j = 0, at = 0; j < mean.length; j++) {
    const value = rows[from + j]! - mean[j]!
    for (const end = at + sketchBlocks; at < end; at++) sums[places[at]!] = sums[places[at]!]! + signs[at]! * value
  }
}

function meanOf(rows: Float32Array, dim: number, count: number): Float64Array {
  const mean = new Float64Array(dim)
  for (let at = 0; at < count * dim; at++) mean[at % dim]! += rows[at]!
  for (let j = 0; j < dim; j++) mean[j]! /= count
  return mean
}

/** Squared norms where a row may be a seed, else 0. */
function seedWeights(rows: Float32Array, dim: number, count: number): Float64Array {
  const norms = new Float64Array(count)
  let total = 0
  for (let row = 0; row < count; row++) {
    norms[row] = squaredNormAt(rows, row * dim, dim)
    total += norms[row]!
  }
  const least = (leastSeedShare * total) / count
  for (let row = 0; row < count; row++) if (norms[row]! < least || norms[row] === 0) norms[row] = 0
  return norms
}

/**
 * Gives codes that no row wants a codeword of their own: that of a used code and a small seeded step. It wins no row that stands
 * on the used codeword, but near ones that come later.
 * @param codebook - written in place, row-major float32, shape [size, dim]
 * @param used - codes with rows, in index order; may be empty
 * @param scale - root mean square norm of the vectors
 */
export function placeSpares(
  codebook: Float32Array,
  dim: number,
  used: readonly number[],
  spare: readonly number[],
  scale: number,
  seed: number,
  level: number,
): void {
  const step = new Float64Array(dim)
  for (const [index, code] of spare.entries()) {
    fillNormal(step, seed, seedStreams.spare + level * 0x1_0000 + code * 0x1_0000_0000)
    const length = Math.sqrt(step.reduce((sum, value) => sum + value * value, 0))
    const donor = used.length === 0 ? -1 : used[index % used.length]! * dim
    for (let j = 0; j < dim; j++) {
      codebook[code * dim + j] = (donor < 0 ? 0 : codebook[donor + j]!) + (step[j]! / length) * scale * spareStep
    }
  }
}
