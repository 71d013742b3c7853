/**
 * Codebooks of a residual quantizer and the checks on what is encoded with them.
 * Invariant: a `Codebooks` value made by `codebooksOf` has finite codewords, at least one level with codewords, 1 to 65,536 codes
 * per level, and penalties of which the least of a level is 0.
 */

import { SidestreamError } from '../schemas/index.ts'
import { checkFsq, fsqSize, type Fsq } from './fsq.ts'
import { inputDimOf, type Network } from './network.ts'

/** Codewords of every level. */
export interface Codebooks {
  /** Dimension of the codewords: that of the vectors, or of what the network makes of them. */
  readonly dim: number
  /** Codes per level, first level first; the finite-scalar level, if there is one, is the last. */
  readonly sizes: readonly number[]
  /** One per level with codewords: row-major float32, shape [sizes[level], dim]. */
  readonly levels: readonly Float32Array[]
  /**
   * What a code costs beside its squared distance, one per level with codewords: float32, shape [sizes[level]], least 0; undefined
   * where every code costs nothing. Frozen prices of balanced training: see `penaltiesOfPrices`.
   */
  readonly penalties?: readonly (Float32Array | undefined)[]
  /** One more level behind those with codewords: what they leave, on a fixed grid. */
  readonly fsq?: Fsq
}

/** Everything that turns a vector into codes. */
export interface Quantizer {
  readonly codebooks: Codebooks
  readonly settings: EncodeSettings
  /** What the vector passes before anything else (the encoder of an RQ-VAE). */
  readonly network?: Network
}

/** What an encoder must know beside the codebooks to give the same codes. */
export interface EncodeSettings {
  /**
   * Bring every vector to unit length first (a zero vector stays zero).
   * @default true
   */
  readonly normalize: boolean
  /**
   * A proposed code is decided again in float64 when its lead over the second best is below this share of the squared residual.
   * Higher: more rows are decided twice, slower.
   * @default 1e-5
   */
  readonly recheckTolerance: number
  /**
   * Bring what is left to unit length before every level, the first one too (TorchEasyRec's `normalize_residuals`).
   * @default false
   */
  readonly normalizeResiduals?: boolean
  /**
   * How many partial IDs are followed from level to level; 1 is greedy. Higher: slower, slightly less distortion, other IDs.
   * @default 1
   */
  readonly beam?: number
  /**
   * What an item of the parent's table keeps. `prefix`: code after code, until the first that changes. `whole`: all of its codes or none,
   * which leaves less distortion at the same churn. By beam always `whole`; a refresh sets `whole`.
   * @default 'prefix'
   */
  readonly sticky?: 'prefix' | 'whole'
}

export const encodeDefaults: Readonly<Required<EncodeSettings>> = {
  normalize: true,
  recheckTolerance: 1e-5,
  normalizeResiduals: false,
  beam: 1,
  sticky: 'prefix',
}

/** The settings that decide codes; the others decide how much work that is. */
export type WalkSettings = Pick<EncodeSettings, 'normalize' | 'normalizeResiduals' | 'beam' | 'sticky'>

/** Codes are stored as uint16. */
const mostCodes = 65_536
/** The value header counts levels in one byte. */
const mostLevels = 255
/** Wider beams have no use and cost memory by their width. */
const widestBeam = 256

/**
 * Checked codebooks over `levels` (not copied).
 * @param levels - one per level: row-major float32, shape [k, dim]
 * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_VECTOR_NOT_FINITE
 */
export function codebooksOf(
  dim: number,
  levels: readonly Float32Array[],
  { penalties, fsq }: Pick<Codebooks, 'penalties' | 'fsq'> = {},
): Codebooks {
  if (!Number.isInteger(dim) || dim < 1)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `codebooks need a dimension of at least 1, got ${dim}`)
  if (levels.length < 1 || levels.length > mostLevels) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `codebooks need 1 to ${mostLevels} levels, got ${levels.length}`)
  }
  const sizes = levels.map((level, index) => {
    const size = level.length / dim
    checkSize(size, index)
    requireFinite(level, dim, `codeword of level ${index + 1}`)
    return size
  })
  if (penalties !== undefined) checkPenalties(penalties, sizes)
  if (fsq !== undefined) {
    checkFsq(fsq, dim)
    sizes.push(fsqSize(fsq))
    checkSizes(sizes)
  }
  return { dim, sizes, levels, ...(penalties?.some((level) => level !== undefined) && { penalties }), ...(fsq && { fsq }) }
}

function checkPenalties(penalties: readonly (Float32Array | undefined)[], sizes: readonly number[]): void {
  const bad = (what: string): SidestreamError => new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `penalties ${what}`)
  if (penalties.length !== sizes.length) throw bad(`of ${penalties.length} levels came with ${sizes.length} codebooks`)
  for (const [level, costs] of penalties.entries()) {
    if (costs === undefined) continue
    if (costs.length !== sizes[level]) throw bad(`of level ${level + 1} are ${costs.length}, its codes ${sizes[level]}`)
    if (!costs.every((cost) => cost >= 0 && cost < Infinity) || !costs.includes(0)) {
      throw bad(`of level ${level + 1} must be finite numbers of at least 0, the least of them 0`)
    }
  }
}

/**
 * Penalties that stand for prices: argmin of distance - price is argmin of distance + penalty, and no cost is negative.
 * @param prices - of one level's codes, in squared distance, shape [size]
 */
export function penaltiesOfPrices(prices: ArrayLike<number>): Float32Array {
  let most = -Infinity
  for (let code = 0; code < prices.length; code++) most = Math.max(most, prices[code]!)
  return Float32Array.from(prices, (price) => most - price)
}

/**
 * Checks that settings, codebooks and network go together.
 * @throws SIDESTREAM_SHAPE_MISMATCH, SIDESTREAM_USAGE_INVALID for a beam or a sticky rule that does not fit
 */
export function checkQuantizer({ codebooks, settings, network }: Quantizer): void {
  const { beam = 1, normalizeResiduals = false, recheckTolerance, sticky = 'prefix' } = settings
  if (!Number.isInteger(beam) || beam < 1 || beam > widestBeam)
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `a beam is 1 to ${widestBeam} wide, got ${beam}`)
  if (beam > 1 && normalizeResiduals) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      'a beam compares total errors, which residuals brought to unit length no longer add up to: use a beam of 1, or normalizeResiduals false',
    )
  }
  if (sticky === 'whole' && normalizeResiduals) {
    throw new SidestreamError(
      'SIDESTREAM_USAGE_INVALID',
      'whole IDs are kept by their total errors, which residuals brought to unit length no longer add up to: keep prefixes, or normalizeResiduals false',
    )
  }
  if (!(recheckTolerance >= 0))
    throw new SidestreamError('SIDESTREAM_USAGE_INVALID', `a recheck tolerance is at least 0, got ${recheckTolerance}`)
  const out = network?.layers.at(-1)!.bias.length
  if (out !== undefined && out !== codebooks.dim)
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `the network gives ${out} dims, the codebooks have ${codebooks.dim}`)
}

/** Dimension of the vectors that a quantizer reads. */
export function vectorDimOf(codebooks: Codebooks, network: Network | undefined): number {
  return network === undefined ? codebooks.dim : inputDimOf(network)
}

/** @throws SIDESTREAM_SHAPE_MISMATCH unless every size is a whole number of 1 to 65,536 */
export function checkSizes(sizes: readonly number[]): void {
  if (sizes.length < 1 || sizes.length > mostLevels) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `semantic IDs need 1 to ${mostLevels} levels, got ${sizes.length}`)
  }
  for (const [index, size] of sizes.entries()) checkSize(size, index)
}

function checkSize(size: number, index: number): void {
  if (!Number.isInteger(size) || size < 1 || size > mostCodes) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `level ${index + 1} must hold 1 to ${mostCodes} whole codewords, got ${size}`)
  }
}

/**
 * Number of rows in `vectors`.
 * @param vectors - row-major, shape [rows, dim]
 * @throws SIDESTREAM_SHAPE_MISMATCH when the length is no multiple of `dim`
 */
export function rowsOf(vectors: { readonly length: number }, dim: number): number {
  const rows = vectors.length / dim
  if (!Number.isInteger(rows)) {
    throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', `${vectors.length} numbers are no whole number of vectors of dimension ${dim}`)
  }
  return rows
}

/**
 * Refuses numbers that no distance can be computed with.
 * @param vectors - row-major, shape [rows, dim]
 * @throws SIDESTREAM_VECTOR_NOT_FINITE naming the first bad row
 */
export function requireFinite(vectors: Float32Array, dim: number, what = 'vector'): void {
  if (allFinite(vectors)) return
  for (let i = 0; i < vectors.length; i++) {
    if (!Number.isFinite(vectors[i]!)) {
      throw new SidestreamError(
        'SIDESTREAM_VECTOR_NOT_FINITE',
        `${what} ${Math.floor(i / dim)} holds ${vectors[i]} at position ${i % dim}`,
        {
          row: Math.floor(i / dim),
          position: i % dim,
        },
      )
    }
  }
}

/** Float32 numbers never overflow a float64 sum, so it is finite just when all of them are: one pass without a branch, in four sums, since one would wait for itself. */
function allFinite(numbers: Float32Array): boolean {
  let a = 0
  let b = 0
  let c = 0
  let d = 0
  let i = 0
  for (; i + 4 <= numbers.length; i += 4) {
    a += numbers[i]!
    b += numbers[i + 1]!
    c += numbers[i + 2]!
    d += numbers[i + 3]!
  }
  for (; i < numbers.length; i++) a += numbers[i]!
  return Number.isFinite(a + b + c + d)
}
