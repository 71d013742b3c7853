/**
 * Stochastic specialization (SAIL-Embedding, section 3.3): each step draws one source and fills its whole batch from it.
 * Invariant: the draw is a function of weights, seed and step; it keeps no state, so a restart repeats it.
 */
import { uniform } from '../compute/index.ts'

/** Random stream of the draw. */
const drawStream = 0x50c3

/**
 * Source of one step, drawn with probability proportional to `weights`.
 * @param weights - at or above 0, in any scale, one per source; 0 for one without rows
 * @param step - number of the step over the whole run, from 0
 * @returns place of the source in the weights; -1 when all are 0
 */
export function drawSource(weights: ArrayLike<number>, seed: number, step: number): number {
  return pick(weights, uniform(seed, drawStream, step))
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
