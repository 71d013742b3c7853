/**
 * What the codes leave unexplained of the vectors.
 * Invariant: float64 sums in row order; a row's part does not depend on the rows beside it.
 */

import { checkCodes, checkRows } from './buckets.ts'
import { type Codebooks, type EncodeSettings } from './codebooks.ts'
import { prepareAt, prepared } from './encode.ts'
import { share } from './quality-usage.ts'

/** What the codes leave unexplained. */
export interface ReconstructionReport {
  /** Mean squared l2 distance to the decoded vector. */
  readonly distortion: number
  /** distortion / dim. */
  readonly meanSquaredError: number
  /** Sum of squared distances / sum of squared distances to the mean; 0 where all vectors are equal and met. */
  readonly fvu: number
  readonly meanCosine: number
  /** After each level: mean norm of what is left. */
  readonly residualNorms: readonly number[]
  /** After each level: fraction of variance unexplained so far; the last one is `fvu`. */
  readonly residualEnergy: readonly number[]
}

/** Rows that are held in float64 at a time. */
const blockRows = 1024

/**
 * Distortion of an assignment, of the vectors as the quantizer sees them (unit length if `normalize`). A level without a codebook
 * leaves the residual as it is; with `normalizeResiduals` a codeword stands for itself times the length of what was left.
 * @param vectors - row-major float32, shape [rows, dim]
 * @param codes - row-major, shape [rows, levels]
 * @param only - counts these rows alone, as if there were no others
 * @throws SIDESTREAM_SHAPE_MISMATCH when shapes do not fit or a code is outside its level
 */
export function reconstruction(
  vectors: Float32Array,
  codes: Uint16Array,
  codebooks: Codebooks,
  settings: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>,
  only?: Uint32Array,
): ReconstructionReport {
  const { dim, sizes } = codebooks
  checkRows(vectors, dim, checkCodes(codes, sizes))
  const rows = only?.length ?? codes.length / sizes.length
  const blocks = new PreparedBlocks(vectors, dim, settings.normalize, only)
  const squares = new Float64Array(sizes.length)
  const norms = new Float64Array(sizes.length)
  const mean = new Float64Array(dim)
  const left = new Float64Array(blockRows * dim)
  let cosines = 0
  for (let from = 0; from < rows; from += blockRows) {
    const x = blocks.at(from)
    left.set(x)
    addRows(mean, x, dim)
    for (let at = 0, row = from; at < x.length; at += dim, row++) {
      const codesAt = (only === undefined ? row : only[row]!) * sizes.length
      takeAway(left, at, codes, codesAt, codebooks, squares, norms, settings.normalizeResiduals ?? false)
      cosines += cosineFromResidual(x, left, at, dim)
    }
  }
  for (let j = 0; j < dim; j++) mean[j] = mean[j]! / rows
  let [variance, energy] = [0, 0]
  for (let from = 0; from < rows; from += blockRows) {
    const part = spreadAround(mean, blocks.at(from), dim)
    variance += part.variance
    energy += part.energy
  }
  const distortion = share(squares.at(-1)!, rows)
  return {
    distortion,
    meanSquaredError: distortion / dim,
    fvu: unexplained(squares.at(-1)!, variance, energy),
    meanCosine: share(cosines, rows),
    residualNorms: Array.from(norms, (sum) => share(sum, rows)),
    residualEnergy: Array.from(squares, (sum) => unexplained(sum, variance, energy)),
  }
}

/** Rows as the quantizer sees them, a block at a time in one scratch. */
class PreparedBlocks {
  readonly #vectors: Float32Array
  readonly #dim: number
  readonly #normalize: boolean
  readonly #only: Uint32Array | undefined
  readonly #block: Float64Array

  constructor(vectors: Float32Array, dim: number, normalize: boolean, only: Uint32Array | undefined) {
    this.#vectors = vectors
    this.#dim = dim
    this.#normalize = normalize
    this.#only = only
    this.#block = new Float64Array(blockRows * dim)
  }

  /** Float64 rows from the one numbered `from` on, as many as a block holds; overwritten by the next call. */
  at(from: number): Float64Array {
    const dim = this.#dim
    const only = this.#only
    const to = Math.min(only?.length ?? this.#vectors.length / dim, from + blockRows)
    const rows = this.#block.subarray(0, (to - from) * dim)
    for (let row = from, at = 0; row < to; row++, at += dim) {
      prepareAt(this.#vectors, (only === undefined ? row : only[row]!) * dim, dim, this.#normalize, rows, at)
    }
    return rows
  }
}

/**
 * Takes a row's codewords away in place, and adds what each level leaves to `squares` and `norms`.
 * @param unit - whether codewords are of residuals at unit length: then each counts as often as what was left is long
 */
function takeAway(
  left: Float64Array,
  at: number,
  codes: Uint16Array,
  codesAt: number,
  { dim, sizes, levels }: Codebooks,
  squares: Float64Array,
  norms: Float64Array,
  unit: boolean,
): void {
  let scale = 1
  if (unit) scale = Math.hypot(...left.subarray(at, at + dim))
  for (let level = 0; level < sizes.length; level++) {
    const codebook = levels[level]
    const from = codes[codesAt + level]! * dim
    let sum = 0
    for (let j = 0; j < dim; j++) {
      const value = left[at + j]! - (codebook === undefined ? 0 : codebook[from + j]! * scale)
      left[at + j] = value
      sum += value * value
    }
    squares[level]! += sum
    norms[level]! += Math.sqrt(sum)
    if (unit) scale = Math.sqrt(sum)
  }
}

/** `distortion` and `fvu` of rows that come in batches, in memory of one batch. Equal to `reconstruction` but for rounding. */
export class RunningDistortion {
  readonly #codebooks: Codebooks
  readonly #settings: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>
  readonly #mean: Float64Array
  #rows = 0
  #squares = 0
  #variance = 0
  #energy = 0

  constructor(codebooks: Codebooks, settings: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>) {
    this.#codebooks = codebooks
    this.#settings = settings
    this.#mean = new Float64Array(codebooks.dim)
  }

  /** @param vectors, codes - as `reconstruction` has them */
  add(vectors: Float32Array, codes: Uint16Array): void {
    const { dim } = this.#codebooks
    const rows = vectors.length / dim
    if (rows === 0) return
    this.#squares += reconstruction(vectors, codes, this.#codebooks, this.#settings).distortion * rows
    const x = prepared(vectors, dim, this.#settings.normalize)
    const mean = meanOf(x, dim)
    const { variance, energy } = spreadAround(mean, x, dim)
    const all = this.#rows + rows
    let apart = 0
    for (let j = 0; j < dim; j++) {
      const step = mean[j]! - this.#mean[j]!
      apart += step * step
      this.#mean[j]! += (step * rows) / all
    }
    this.#variance += variance + (apart * this.#rows * rows) / all
    this.#energy += energy
    this.#rows = all
  }

  result(): Pick<ReconstructionReport, 'distortion' | 'fvu'> {
    return { distortion: share(this.#squares, this.#rows), fvu: unexplained(this.#squares, this.#variance, this.#energy) }
  }
}

/** Cosine of a vector and its decoded form, which is the vector less its residual. */
function cosineFromResidual(x: Float64Array, left: Float64Array, at: number, dim: number): number {
  let [xx, xy, yy] = [0, 0, 0]
  for (let j = at; j < at + dim; j++) {
    const value = x[j]!
    const decoded = value - left[j]!
    xx += value * value
    xy += value * decoded
    yy += decoded * decoded
  }
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy)
}

/**
 * Spread of vectors around their mean.
 * @param x - row-major, shape [rows, dim]
 * @returns `variance` = sum of squared distances to the mean, `energy` = sum of squared norms
 */
export function spreadOf(x: Float64Array | Float32Array, dim: number): { variance: number; energy: number } {
  return spreadAround(meanOf(x, dim), x, dim)
}

function meanOf(x: Float64Array | Float32Array, dim: number): Float64Array {
  const mean = new Float64Array(dim)
  addRows(mean, x, dim)
  for (let j = 0; j < dim; j++) mean[j] = mean[j]! / (x.length / dim)
  return mean
}

function addRows(sum: Float64Array, x: Float64Array | Float32Array, dim: number): void {
  for (let at = 0; at < x.length; at += dim) addRow(sum, x, at)
}

/** A loop of its own: within one over rows it ran several times slower. */
function addRow(sum: Float64Array, x: Float64Array | Float32Array, at: number): void {
  for (let j = 0; j < sum.length; j++) sum[j] = sum[j]! + x[at + j]!
}

function spreadAround(mean: Float64Array, x: Float64Array | Float32Array, dim: number): { variance: number; energy: number } {
  let [variance, energy] = [0, 0]
  for (let at = 0; at < x.length; at += dim) {
    for (let j = 0; j < dim; j++) {
      const value = x[at + j]!
      const difference = value - mean[j]!
      variance += difference * difference
      energy += value * value
    }
  }
  return { variance, energy }
}

/** Share of the energy below which a spread is rounding, not variance: float32 codewords are met to 2^-24 of a number, 3.6e-15 of its square. */
const noSpread = 1e-14

/** Whether vectors differ by more than rounding; see `spreadOf`. */
export function hasSpread({ variance, energy }: { readonly variance: number; readonly energy: number }): boolean {
  return variance > noSpread * energy
}

/** FVU that stays defined where all vectors are equal but for rounding: 0 when they are met, else Infinity. */
export function unexplained(squaredError: number, variance: number, energy: number): number {
  if (hasSpread({ variance, energy })) return squaredError / variance
  return squaredError <= noSpread * energy ? 0 : Infinity
}
