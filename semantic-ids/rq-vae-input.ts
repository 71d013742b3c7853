/**
 * The unit in which a network sees vectors: less their mean, over one scale for all dims. It is folded into the first and last layer, so
 * that what comes out of a training reads vectors as they are.
 */

import { meanRow } from '../compute/index.ts'
import type { NetworkLayer } from './network.ts'

export class InputScale {
  readonly #mean: Float64Array
  readonly #scale: number

  private constructor(mean: Float64Array, scale: number) {
    this.#mean = mean
    this.#scale = scale
  }

  /** Mean of the rows, and the root of their mean variance per dim; 1 where all rows are equal. */
  static of(rows: Float32Array, dim: number): InputScale {
    const mean = meanRow(rows, dim)
    let sum = 0
    for (let at = 0; at < rows.length; at++) sum += (rows[at]! - mean[at % dim]!) ** 2
    return new InputScale(mean, sum > 0 ? Math.sqrt(sum / rows.length) : 1)
  }

  apply(rows: Float32Array): Float32Array {
    return rows.map((value, at) => (value - this.#mean[at % this.#mean.length]!) / this.#scale)
  }

  /** The same encoder over rows that were not scaled. */
  intoEncoder([first, ...others]: readonly NetworkLayer[]): NetworkLayer[] {
    const dim = this.#mean.length
    const weights = first!.weights.map((weight) => weight / this.#scale)
    const bias = first!.bias.map((value, out) => {
      let shift = 0
      for (let j = 0; j < dim; j++) shift += weights[out * dim + j]! * this.#mean[j]!
      return value - shift
    })
    return [{ weights, bias }, ...others]
  }

  /** The same decoder with its result in the unit of the rows. */
  intoDecoder(layers: readonly NetworkLayer[]): NetworkLayer[] {
    const { weights, bias } = layers.at(-1)!
    const last = {
      weights: weights.map((weight) => weight * this.#scale),
      bias: bias.map((value, out) => value * this.#scale + this.#mean[out]!),
    }
    return [...layers.slice(0, -1), last]
  }
}
