/**
 * What a move costs: how far items are from their decoded vectors, and from every code of the last level.
 * Invariant: float64 sums in index order over one row, so that the order of items changes no bit.
 */

import type { Codebooks, EncodeSettings } from './codebooks.ts'
import { prepared } from './encode.ts'
import type { Fsq } from './fsq.ts'

/** Distances of the rows of a table. */
export class CollisionDistances {
  readonly #vectors: Float32Array
  readonly #codes: Uint16Array
  readonly #codebooks: Codebooks
  readonly #settings: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>
  readonly #costs: Float64Array

  /**
   * @param vectors - what entered the walk, row-major float32, shape [rows, dim]
   * @param codes - row-major, shape [rows, levels]
   */
  constructor(
    vectors: Float32Array,
    codes: Uint16Array,
    codebooks: Codebooks,
    settings: Pick<EncodeSettings, 'normalize' | 'normalizeResiduals'>,
  ) {
    this.#vectors = vectors
    this.#codes = codes
    this.#codebooks = codebooks
    this.#settings = settings
    this.#costs = new Float64Array(codebooks.sizes.at(-1)!)
  }

  /** Squared distance of a row to its decoded vector; a finite-scalar level decodes nothing. */
  error(row: number): number {
    return squaredLength(this.#left(row, this.#codebooks.levels.length).left)
  }

  /**
   * Squared distance of what the codes before the last leave of a row to every code of the last level; of a finite-scalar level, to the
   * cell of each code in the space of its numbers. Overwritten by the next call.
   */
  costs(row: number): Float64Array {
    const { dim, levels, sizes, fsq } = this.#codebooks
    const last = sizes.length - 1
    const { left, scale } = this.#left(row, last)
    if (fsq !== undefined) {
      cellCosts(fsq, left, this.#settings.normalizeResiduals ? scale : 1, this.#costs)
      return this.#costs
    }
    const codebook = levels[last]!
    for (let code = 0, at = 0; code < this.#costs.length; code++) {
      let sum = 0
      for (let j = 0; j < dim; j++, at++) {
        const difference = left[j]! - codebook[at]! * scale
        sum += difference * difference
      }
      this.#costs[code] = sum
    }
    return this.#costs
  }

  /** What the first codes leave, and what the next codeword is multiplied with. */
  #left(row: number, levels: number): { left: Float64Array; scale: number } {
    const { dim, sizes } = this.#codebooks
    const isUnit = this.#settings.normalizeResiduals ?? false
    const left = prepared(this.#vectors.subarray(row * dim, (row + 1) * dim), dim, this.#settings.normalize)
    let scale = isUnit ? Math.sqrt(squaredLength(left)) : 1
    for (let level = 0; level < levels; level++) {
      const codebook = this.#codebooks.levels[level]!
      const from = this.#codes[row * sizes.length + level]! * dim
      for (let j = 0; j < dim; j++) left[j] = left[j]! - codebook[from + j]! * scale
      if (isUnit) scale = Math.sqrt(squaredLength(left))
    }
    return { left, scale }
  }
}

function squaredLength(x: Float64Array): number {
  let sum = 0
  for (let j = 0; j < x.length; j++) sum += x[j]! * x[j]!
  return sum
}

/** Squared distance of the projected residual to the cell of every code: 0 in its own, else to the nearest cut around the cell. */
function cellCosts({ digits, projection, cuts }: Fsq, left: Float64Array, length: number, out: Float64Array): void {
  const dim = left.length
  out.fill(0)
  let below = out.length
  for (let digit = 0; digit < digits.length; digit++) {
    let u = 0
    for (let j = 0; j < dim; j++) u += (projection[digit * dim + j]! * left[j]!) / (length === 0 ? 1 : length)
    const own = cuts[digit]!
    below /= digits[digit]!
    for (let code = 0; code < out.length; code++) {
      const value = Math.floor(code / below) % digits[digit]!
      const distance = Math.max(0, value > 0 ? own[value - 1]! - u : 0, value < own.length ? u - own[value]! : 0)
      out[code] = out[code]! + distance * distance
    }
  }
}
