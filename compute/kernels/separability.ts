/**
 * How far the scores of positives stand above those of negatives, exact, with negatives that come as a stream.
 * Invariant: memory is that of the positives, however many negatives there are; the order of the negatives changes no
 * figure beyond rounding, and the AUC not at all.
 */

import { SidestreamError } from '../../schemas/index.ts'

export interface Separability {
  readonly positives: number
  readonly negatives: number
  readonly meanPositive: number
  readonly meanNegative: number
  /** Gap of the means / sqrt of the mean of both variances (n - 1); NaN with fewer than two scores on a side. */
  readonly dPrime: number
  /** Chance that a positive outranks a negative, ties half; NaN when a side is empty. */
  readonly auc: number
}

/** Bins that narrow the search among the positives; a hundred thousand positives leave a few per bin. */
const bins = 65_536

/** Takes the positives at once and the negatives as they come. */
export class SeparabilityCounter {
  readonly #positives: Float64Array
  /** `#first[bin]` = how many positives lie in lower bins, shape [bins + 1]. */
  readonly #first = new Uint32Array(bins + 1)
  readonly #low: number
  readonly #scale: number
  readonly #meanPositive: number
  #negatives = 0
  /** Pairs won, doubled, so that a tie is a whole number. */
  #won = 0
  // Moments about the positives' mean: near enough to the data that nothing cancels.
  #sum = 0
  #squares = 0

  /** @throws SIDESTREAM_SHAPE_MISMATCH when a score is not finite */
  constructor(positives: ArrayLike<number>) {
    this.#positives = Float64Array.from(positives).sort()
    const finite = this.#positives.every(Number.isFinite)
    if (!finite) throw new SidestreamError('SIDESTREAM_SHAPE_MISMATCH', 'a score of a positive is not a finite number')
    const span = this.#positives.length > 0 ? this.#positives.at(-1)! - this.#positives[0]! : 0
    this.#low = this.#positives[0] ?? 0
    this.#scale = span > 0 ? bins / span : 0
    for (const score of this.#positives) this.#first[this.#binOf(score) + 1]!++
    for (let bin = 0; bin < bins; bin++) this.#first[bin + 1]! += this.#first[bin]!
    this.#meanPositive = this.#positives.reduce((sum, score) => sum + score, 0) / this.#positives.length
  }

  /** Counts one negative. NaN wins and loses nothing, and makes the means NaN. */
  add(score: number): void {
    this.#negatives++
    const deviation = score - (this.#positives.length > 0 ? this.#meanPositive : 0)
    this.#sum += deviation
    this.#squares += deviation * deviation
    const bin = this.#binOf(score)
    const from = this.#first[bin]!
    const until = this.#first[bin + 1]!
    const below = this.#firstAtLeast(score, from, until)
    let notAbove = below
    while (notAbove < until && this.#positives[notAbove] === score) notAbove++
    this.#won += 2 * (this.#positives.length - notAbove) + (notAbove - below)
  }

  result(): Separability {
    const p = this.#positives.length
    const n = this.#negatives
    const meanNegative = (p > 0 ? this.#meanPositive : 0) + this.#sum / n
    const deviations = this.#positives.reduce((sum, score) => sum + (score - this.#meanPositive) ** 2, 0)
    const variances = deviations / (p - 1) + (this.#squares - this.#sum ** 2 / n) / (n - 1)
    return {
      positives: p,
      negatives: n,
      meanPositive: this.#meanPositive,
      meanNegative,
      dPrime: p > 1 && n > 1 ? (this.#meanPositive - meanNegative) / Math.sqrt(variances / 2) : NaN,
      auc: this.#won / (2 * p * n),
    }
  }

  /** Rises with the score, so that a lower bin never holds a larger one. */
  #binOf(score: number): number {
    const at = (score - this.#low) * this.#scale
    return at > 0 ? Math.min(bins - 1, Math.floor(at)) : 0
  }

  /** First positive in [from, until) that is not below the score, else `until`. */
  #firstAtLeast(score: number, from: number, until: number): number {
    let [low, high] = [from, until]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#positives[middle]! < score) low = middle + 1
      else high = middle
    }
    return low
  }
}
