/**
 * Stochastic specialization (SAIL-Embedding, section 3.3): each step draws one source and fills its whole batch from it.
 * Invariant: the draw is a function of weights, seed, step and which sources have rows; it keeps no state, so a restart repeats it.
 */
import { uniform } from '../compute/index.ts'

/** Random streams: the draw, and the second one when the drawn source has no rows. */
const streams = { draw: 0x50c3, again: 0x50c4 } as const

export interface DrawnSource {
  /** Place of the source in the weights; -1 when no source with weight has rows. */
  readonly source: number
  /** Source that was drawn first but has too few rows, to be counted; -1 when there was none. */
  readonly skipped: number
}

/**
 * Source of one step, drawn with probability proportional to `weights`. When it has too few rows, a second draw is made among those
 * that have enough; in sum that is a draw by weight among those.
 * @param weights - at or above 0, in any scale, one per source
 * @param step - number of the step over the whole run, from 0
 * @param hasRows - whether a source can fill a batch now; every source can when left out
 */
export function drawSource(
  weights: ArrayLike<number>,
  seed: number,
  step: number,
  hasRows: (source: number) => boolean = () => true,
): DrawnSource {
  const first = pick(weights, uniform(seed, streams.draw, step))
  if (first < 0 || hasRows(first)) return { source: first, skipped: -1 }
  const left = Array.from(weights, (weight, source) => (weight > 0 && hasRows(source) ? weight : 0))
  return { source: pick(left, uniform(seed, streams.again, step)), skipped: first }
}

/** The place whose share of the weights holds `at` in [0, 1); -1 when all are 0. */
function pick(weights: ArrayLike<number>, at: number): number {
  let total = 0
  for (let source = 0; source < weights.length; source++) total += weights[source]!
  let left = at * total
  let last = -1
  for (let source = 0; source < weights.length; source++) {
    if (!(weights[source]! > 0)) continue
    last = source
    left -= weights[source]!
    if (left < 0) break
  }
  return last
}
